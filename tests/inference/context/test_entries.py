"""A file of clinical facts counts whole or not at all, and what is said of a faulty one holds nothing of a patient."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.context.entries import FACTS, SELECTORS, FaultCode, FaultyFileError, read_entries

HEAD = "patient_id,issuer_of_patient_id,accession_number,histology,tissue_egfr_mutant,tissue_pdl1_tps_percent\n"


def _json(document: Any) -> list[dict[str, str]]:
    return [e.stated for e in read_entries(json.dumps(document).encode(), comma_separated=False)]


def _fault(data: str | bytes, *, comma_separated: bool = True) -> FaultyFileError:
    with pytest.raises(FaultyFileError) as caught:
        read_entries(data if isinstance(data, bytes) else data.encode(), comma_separated=comma_separated)
    return caught.value


def test_json_of_one_subject_states_what_it_names() -> None:
    """What is left out is not stated; null and "unknown" take a fact back."""
    given = {"patient_id": "0042", "histology": "adenocarcinoma", "tissue_egfr_mutant": None}
    assert _json(given) == [{"histology": '"adenocarcinoma"', "tissue_egfr_mutant": "null"}]
    assert _json({"patient_id": "0042", "histology": "Unknown"}) == [{"histology": "null"}]


def test_json_of_several_subjects() -> None:
    """A list; each entry of a patient, an examination, or both."""
    text = json.dumps(
        [
            {"patient_id": " 0042 ", "issuer_of_patient_id": "HIS", "tissue_pdl1_tps_percent": 60},
            {"accession_number": "A1", "treatment_began": True},
            {"patient_id": "0042", "accession_number": "A1", "treatment_started_on": "2025-01-31"},
        ]
    )
    entries = read_entries(text.encode(), comma_separated=False)
    assert [e.subject for e in entries] == [("0042", "HIS", ""), ("", "", "A1"), ("0042", "", "A1")]
    assert [e.stated for e in entries] == [
        {"tissue_pdl1_tps_percent": "60.0"},
        {"treatment_began": "true"},
        {"treatment_started_on": '"2025-01-31"'},
    ]


@pytest.mark.parametrize("delimiter", [",", ";"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "with a byte order mark"])
def test_csv_as_spreadsheets_write_it(delimiter: str, line_end: str, mark: bytes) -> None:
    """An empty cell states nothing, `unknown` takes back; leading zeros stay."""
    rows = HEAD + '0042,,,adenocarcinoma,yes,\n,,"A 1",unknown,,1\n\n'
    data = mark + rows.replace(",", delimiter).replace("\n", line_end).encode()
    first, second = read_entries(data, comma_separated=True)
    assert first.subject == ("0042", "", "")
    assert first.stated == {"histology": '"adenocarcinoma"', "tissue_egfr_mutant": "true"}
    assert second.subject == ("", "", "A 1")
    assert second.stated == {"histology": "null", "tissue_pdl1_tps_percent": "1.0"}


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"histology": "adenocarcinoma"}, "names nobody"),
        ({"patient_id": "  ", "histology": "adenocarcinoma"}, "names nobody"),
        ({"patient_id": 42, "histology": "adenocarcinoma"}, "patient_id: Input should be a valid string"),
        ({"patient_id": "42"}, "states nothing"),
        ({"patient_id": "42", "histologie": "other"}, "unknown key; known: patient_id"),
        ({"patient_id": "42", "histology": "small cell"}, "histology: Input should be"),
        ({"patient_id": "42", "tissue_pdl1_tps_percent": 100.5}, "less than or equal to 100"),
        ({"patient_id": "42", "tissue_pdl1_tps_percent": True}, "must be a number from 0 to 100"),
        ({"patient_id": "42", "tissue_egfr_mutant": "L858R"}, "tissue_egfr_mutant"),
        ({"patient_id": "42", "treatment_began": True}, "needed: its accession_number, or treatment_started_on"),
        ({"patient_id": "42", "treatment_started_on": 20250131}, "must be a date as 2026-01-31"),
        ({"patient_id": "42", "treatment_started_on": "31.01.2025"}, "must be a date as 2026-01-31"),
        ({"patient_id": "42", "treatment_started_on": "2025-02-31"}, "treatment_started_on"),
        ({"accession_number": "1", "issuer_of_patient_id": "HIS", "histology": "other"}, "without patient_id"),
        ("adenocarcinoma", "valid dictionary"),
    ],
)
def test_a_wrong_entry_says_which_and_what(entry: object, said: str) -> None:
    """With its place in the file; the sound entry before it does not count either."""
    fault = _fault(json.dumps([{"patient_id": "1", "histology": "other"}, entry]), comma_separated=False)
    assert (fault.code, fault.place) == (FaultCode.ENTRY, 2)
    assert said in str(fault)


@pytest.mark.parametrize(
    ("data", "comma_separated", "code", "place"),
    [
        ("", False, FaultCode.NO_JSON, None),
        ('{"patient_id": "1", "histology": "oth', False, FaultCode.NO_JSON, None),
        ('{"patient_id": "1", "patient_id": "2", "histology": "other"}', False, FaultCode.NO_JSON, None),
        ('{"patient_id": "1", "tissue_pdl1_tps_percent": NaN}', False, FaultCode.NO_JSON, None),
        ("[" * 100_000, False, FaultCode.NO_JSON, None),
        (b"\xff\xfe\x00", False, FaultCode.NO_TEXT, None),
        ("", True, FaultCode.CUT_OFF, None),
        (HEAD + "42,,,other,,8", True, FaultCode.CUT_OFF, None),  # may have been 80
        (HEAD + "42,,,other\n", True, FaultCode.NO_CSV, 2),
        (HEAD + '42,,,"other,,\n', True, FaultCode.NO_CSV, 2),
        (HEAD.replace("histology", "diagnosis"), True, FaultCode.NO_CSV, 1),
        ("patient_id,histology,histology\n", True, FaultCode.NO_CSV, 1),
        (HEAD + "42,,,other,,\n7,,,other,,\n42,,,adenocarcinoma,,\n", True, FaultCode.TWICE, 4),
    ],
    ids=lambda value: None if isinstance(value, (str, bytes)) else str(value),
)
def test_a_wrong_file_says_what_is_wrong(
    data: str | bytes, comma_separated: bool, code: FaultCode, place: int | None
) -> None:
    fault = _fault(data, comma_separated=comma_separated)
    assert (fault.code, fault.place) == (code, place)


def test_a_table_without_rows_states_nothing() -> None:
    assert read_entries(HEAD.encode(), comma_separated=True) == ()


MARK = "QZXJ"  # in no sentence of ours


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from([*SELECTORS, *FACTS, f"{MARK} key"]),
            st.one_of(st.none(), st.booleans(), st.floats(), st.just(f"{MARK}7"), st.lists(st.just(MARK))),
        ),
        max_size=3,
    )
)
@settings(max_examples=200, deadline=None)
def test_no_value_and_no_foreign_key_is_ever_said(document: list[dict[str, Any]]) -> None:
    """What a fault says goes into logs: it names our keys and places only, whatever the file holds."""
    rows = [MARK + ",".join(map(str, entry)) + "\n" for entry in document]
    for data, comma_separated in ((json.dumps(document), False), ("".join(rows), True)):
        try:
            read_entries(data.encode(), comma_separated=comma_separated)
        except FaultyFileError as fault:
            assert MARK not in str(fault)
