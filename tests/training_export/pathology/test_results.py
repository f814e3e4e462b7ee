"""Pathology results from CSV and FHIR: codes by table, days in their window, and nobody named in any message."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from egfr_dls.errors import UsageError
from training_export.cohort.key import CohortKey
from training_export.cohort.labels import KnownLabels, Window, match
from training_export.cohort.patients import Fault, Identity, StudyPlace, faults
from training_export.pathology.from_csv import read_csv
from training_export.pathology.from_fhir import read_fhir
from training_export.pathology.labels import read_labels
from training_export.pathology.results import Reading, TissueTest

KEY = CohortKey.of_site(b"k" * 32)
HEAD = "patient_id,taken_on,test,result\n"
NAME = "ZWINGENBERGER"


def place(number: int, patient_id: str = "0042", day: str = "2025-01-01", **identity: str) -> StudyPlace:
    """Return a study of a patient."""
    who = {"issuer": "", "name": "", "birth_date": "", **identity}
    return StudyPlace(f"1.2.{number}", Identity(patient_id, **who), date.fromisoformat(day) if day else None)


def csv_of(tmp_path: Path, rows: str, head: str = HEAD) -> Reading:
    """Read rows as a file of results."""
    file = tmp_path / "results.csv"
    file.write_text(head + rows)
    return read_csv(file)


def matched(tmp_path: Path, rows: str, *places: StudyPlace, window: Window = Window()) -> KnownLabels:  # noqa: B008  # frozen
    """Match rows of results to studies."""
    return match(places, KEY, {}, [csv_of(tmp_path, rows)], window)


# --- CSV --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("test", "result", "positive"),
    [
        ("egfr", "mutant", True), ("egfr", "Wild type", False), ("egfr", "negative", False),
        ("pdl1", "0", False), ("pdl1", "0.9", False), ("pdl1", "1", True), ("pdl1", "60 %", True), ("pdl1", "negative", False),
    ],
)  # fmt: skip
def test_results_as_they_are_written(tmp_path: Path, test: str, result: str, positive: bool) -> None:
    (found,) = csv_of(tmp_path, f"0042,2025-01-01,{test},{result}\n").results
    assert (found.test, found.positive, found.taken_on) == (TissueTest(test), positive, date(2025, 1, 1))


@pytest.mark.parametrize(
    ("rows", "head", "said"),
    [
        (f"{NAME},2025-01-01,egfr,NaN\n", HEAD, "line 2: : result: must be one of"),
        (f"{NAME},2025-01-01,pdl1,101\n", HEAD, "line 2"),
        (f"{NAME},2025-01-01,pdl1,nan\n", HEAD, "line 2"),
        (f"{NAME},01.02.2025,egfr,mutant\n", HEAD, "taken_on: must be a date as 2026-01-31"),
        (f"{NAME},2025-01-01,kras,mutant\n", HEAD, "test"),
        (f"{NAME},2025-01-01,egfr\n", HEAD, "3 cells; needed: 4"),
        (f"{NAME},x\n", f"patient_id,{NAME}\n", "column 2 has an unknown name"),
        ("", "patient_id,patient_id\n", "a column is there twice"),
        ("", "patient_id,test,result\n", "column taken_on is missing"),
        ("", "", "column patient_id is missing"),
        (f'"{NAME}', HEAD, "is not CSV"),
    ],
)
def test_a_wrong_row_is_named_by_line_and_its_patient_is_not(tmp_path: Path, rows: str, head: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        csv_of(tmp_path, rows, head)
    assert said in str(error.value) and NAME not in str(error.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "results.csv"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="UTF-8"):
        read_csv(file)


def test_the_decimal_comma_s_separator_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    file = tmp_path / "results.csv"
    file.write_bytes(b"\xef\xbb\xbfpatient_id;taken_on;test;result\r\n0042;2025-01-01;egfr;mutant\r\n;;;\r\n")
    assert len(read_csv(file).results) == 1


# --- FHIR -------------------------------------------------------------------------------------------------------------


def coded(system: str, code: str) -> dict[str, Any]:
    """Return a CodeableConcept."""
    return {"coding": [{"system": system, "code": code}]}


def observation(code: dict[str, Any], **values: Any) -> dict[str, Any]:
    """Return an Observation of patient 0042."""
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": code,
        "subject": {"identifier": {"value": "0042"}},
        "effectiveDateTime": "2025-01-01T09:00:00+01:00",
        **values,
    }


EGFR_FOUND = coded("http://loinc.org", "21665-5")
VARIANT = coded("http://loinc.org", "69548-6")
TPS = coded("http://loinc.org", "83053-9")
PRESENT, ABSENT = coded("http://loinc.org", "LA9633-4"), coded("http://loinc.org", "LA9634-2")
OF_EGFR = {
    "code": coded("http://loinc.org", "48018-6"),
    "valueCodeableConcept": coded("http://www.genenames.org", "HGNC:3236"),
}
OF_KRAS = {
    "code": coded("http://loinc.org", "48018-6"),
    "valueCodeableConcept": coded("http://www.genenames.org", "HGNC:6407"),
}
L858R = {
    "code": coded("http://loinc.org", "48005-3"),
    "valueCodeableConcept": coded("http://varnomen.hgvs.org", "p.Leu858Arg"),
}


def fhir(tmp_path: Path, *resources: Any, lines: bool = False) -> Reading:
    """Read resources as a file."""
    file = tmp_path / "results.json"
    bundle = {"resourceType": "Bundle", "entry": [{"resource": resource} for resource in resources]}
    file.write_text("\n".join(map(json.dumps, resources)) if lines else json.dumps(bundle))
    return read_fhir(file)


@pytest.mark.parametrize(
    ("given", "test", "positive"),
    [
        (observation(EGFR_FOUND, valueCodeableConcept=PRESENT), "egfr", True),
        (observation(EGFR_FOUND, valueCodeableConcept=coded("http://snomed.info/sct", "260415000")), "egfr", False),
        (observation(EGFR_FOUND, valueCodeableConcept=coded("http://varnomen.hgvs.org", "p.Leu858Arg")), "egfr", True),
        (observation(VARIANT, valueCodeableConcept=PRESENT, component=[OF_EGFR, L858R]), "egfr", True),
        (observation(VARIANT, valueCodeableConcept=ABSENT, component=[OF_EGFR]), "egfr", False),
        (observation(TPS, valueQuantity={"value": 60, "code": "%"}), "pdl1", True),
        (observation(TPS, valueQuantity={"value": 0.5, "code": "%"}), "pdl1", False),
        (observation(TPS, valueQuantity={"value": 1, "comparator": "<", "code": "%"}), "pdl1", False),
        (observation(TPS, valueQuantity={"value": 1, "comparator": ">=", "code": "%"}), "pdl1", True),
        (observation({}, component=[{"code": TPS, "valueQuantity": {"value": 80, "unit": "%"}}]), "pdl1", True),
    ],
)
def test_codes_that_are_results(tmp_path: Path, given: dict[str, Any], test: str, positive: bool) -> None:
    (found,) = fhir(tmp_path, given).results
    assert (found.test, found.positive, found.taken_on) == (TissueTest(test), positive, date(2025, 1, 1))


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (observation(VARIANT, valueCodeableConcept=PRESENT, component=[OF_KRAS]), "another test"),
        (observation(coded("http://loinc.org", "21666-3"), valueCodeableConcept=PRESENT), "another test"),
        (observation(EGFR_FOUND, valueCodeableConcept=PRESENT, status="preliminary"), "not final"),
        (observation(EGFR_FOUND, valueCodeableConcept=PRESENT, status="entered-in-error"), "not final"),
        (observation(EGFR_FOUND, valueString="EGFR mutant"), "value not in the tables"),
        (observation(VARIANT, valueCodeableConcept=ABSENT, component=[OF_EGFR, L858R]), "value not in the tables"),
        (observation(TPS, valueQuantity={"value": 5, "comparator": "<", "code": "%"}), "value not in the tables"),
        (observation(TPS, valueQuantity={"value": True, "code": "%"}), "value not in the tables"),
        (observation(TPS, valueQuantity={"value": 0.6, "code": "1"}), "value not in the tables"),
        (observation(EGFR_FOUND, valueCodeableConcept=PRESENT, subject={"display": NAME}), "patient not identified"),
        (observation(EGFR_FOUND, valueCodeableConcept=PRESENT, subject=7), "patient not identified"),
    ],
)
def test_what_says_nothing_is_counted_by_its_reason(tmp_path: Path, given: dict[str, Any], why: str) -> None:
    assert fhir(tmp_path, given) == Reading((), {why: 1})


@pytest.mark.parametrize("lines", [True, False])
def test_patients_and_specimens_are_found_by_reference(tmp_path: Path, lines: bool) -> None:
    patient = {"resourceType": "Patient", "id": "p1", "identifier": [{"value": "0042"}], "name": [{"family": NAME}]}
    specimen = {"resourceType": "Specimen", "id": "s1", "collection": {"collectedDateTime": "2024-12-20"}}
    given = observation(
        EGFR_FOUND,
        valueCodeableConcept=PRESENT,
        subject={"reference": "Patient/p1"},
        specimen={"reference": "Specimen/s1"},
    )
    (found,) = fhir(tmp_path, patient, specimen, given, lines=lines).results
    assert (found.subject.patient_id, found.taken_on) == ("0042", date(2024, 12, 20))
    assert "0042" not in repr(found) and NAME not in repr(found)


@pytest.mark.parametrize("text", ["{", "[1, 2]", "NaN", '{"resourceType": "Bundle", "entry": 5}', "[" * 100_000, ""])
def test_a_file_without_observations_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "results.json"
    file.write_text(text)
    with pytest.raises(UsageError):
        read_fhir(file)


# --- to studies -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("taken_on", "label"),
    [("2024-01-01", ""), ("2024-01-02", "1"), ("2025-01-01", "1"), ("2025-04-01", "1"), ("2025-04-02", "")],
)
def test_a_result_counts_in_its_window_only(tmp_path: Path, taken_on: str, label: str) -> None:
    """365 days before the scan to 90 days after it."""
    known = matched(tmp_path, f"0042,{taken_on},egfr,mutant\n", place(1))
    assert known.of_study["1.2.1"] == {"label": label, "pdl1_label": ""}
    assert known.counts["outside_window"] == (label == "")


def test_who_is_nobody_s_is_counted(tmp_path: Path) -> None:
    known = matched(tmp_path, "42,2025-01-01,egfr,mutant\n0042,2025-01-01,egfr,mutant\n", place(1), place(2, "7"))
    assert (known.counts["pathology"], known.counts["unmatched"]) == (2, 1)
    assert known.of_study["1.2.2"] == {"label": "", "pdl1_label": ""}


def test_one_id_of_two_issuers_must_be_told_apart(tmp_path: Path) -> None:
    places = (place(1, issuer="A"), place(2, issuer="B"))
    with pytest.raises(UsageError, match="2 issuers"):
        matched(tmp_path, "0042,2025-01-01,egfr,mutant\n", *places)
    head = "patient_id,issuer_of_patient_id,taken_on,test,result\n"
    known = match(places, KEY, {}, [csv_of(tmp_path, "0042,B,2025-01-01,egfr,mutant\n", head)], Window())
    assert [known.of_study[f"1.2.{n}"]["label"] for n in (1, 2)] == ["", "1"]


def test_contradictions_name_pseudonym_and_lines(tmp_path: Path) -> None:
    rows = "0042,2025-01-01,pdl1,60\n0042,2025-01-05,pdl1,0\n"
    with pytest.raises(UsageError) as error:
        matched(tmp_path, rows, place(1))
    pseudonym = KEY.patient("", "0042")
    assert f"{pseudonym}: pdl1 is positive in results.csv, line 2 and negative in results.csv, line 3" in str(
        error.value
    )
    assert "0042" not in str(error.value).replace(pseudonym, "")
    assert matched(tmp_path, rows, place(1, day="2023-01-01")).counts["outside_window"] == 2


def test_a_stated_label_and_a_result_must_agree(tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("patient_id,label,histology,pfs_months\n0042,0,adenocarcinoma,7.5\n0042,0,adenocarcinoma,7.5\n")
    stated = read_labels(labels)
    known = match([place(1)], KEY, stated, [], Window())
    assert known.of_study["1.2.1"]["label"] == "0"
    assert known.of_patient[KEY.patient("", "0042")].stated == {
        "label": "0", "histology": "adenocarcinoma", "pfs_months": "7.5",
    }  # fmt: skip
    with pytest.raises(
        UsageError, match=r"egfr is wild type in labels\.csv, line 2 and mutant in results\.csv, line 2"
    ):
        match([place(1)], KEY, stated, [csv_of(tmp_path, "0042,2025-01-01,egfr,mutant\n")], Window())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"patient_id,label\n{NAME},1\n{NAME},0\n", "labels.csv, line 3: is of the same patient as labels.csv, line 2"),
        (f"patient_id,label\n{NAME},NaN\n", "line 2: label"),
        (f"patient_id,pfs_months\n{NAME},nan\n", "line 2: pfs_months"),
        (f"patient_id,pfs_months\n{NAME},-1\n", "line 2: pfs_months"),
        (f"patient_id,pfs_months,pfs_days\n{NAME},1,30\n", "pfs_months and pfs_days are both given"),
        (f"patient_id,pfs_months,pfs_days\n{NAME},1,\nB,,30\n", "one of them throughout"),
        (f"patient_id,cohort\nA,{NAME} clinic\n", "line 2: cohort"),
    ],
)
def test_a_wrong_label_is_named_by_line_and_its_patient_is_not(tmp_path: Path, text: str, said: str) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text(text)
    with pytest.raises(UsageError) as error:
        read_labels(labels)
    assert said in str(error.value) and NAME not in str(error.value)


def test_one_person_is_never_two_and_two_are_never_one() -> None:
    same = {"name": "DOE^JANE", "birth_date": "19440404"}
    found = faults(
        [
            place(1, "A", **same), place(2, "B", **{**same, "name": "doe^jane"}),
            place(3, "C", birth_date="19500101"), place(4, "C", birth_date="19510101"),
            place(5, "D", name="DOE^JANE"), place(6, "E", name="DOE^JANE"),
        ]
    )  # fmt: skip
    assert found == {
        "1.2.1": Fault.PATIENT_TWO_IDS, "1.2.2": Fault.PATIENT_TWO_IDS,
        "1.2.3": Fault.PATIENT_AMBIGUOUS, "1.2.4": Fault.PATIENT_AMBIGUOUS,
    }  # fmt: skip
