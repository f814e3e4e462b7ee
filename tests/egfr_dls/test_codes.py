"""The coded concepts: complete, legal, and the standard's own where the standard has one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydicom.sr._concepts_dict import concepts
from pydicom.sr.coding import Code

from egfr_dls import codes
from egfr_dls.refusals import RefusalCode
from egfr_dls.study import Pathway, RoiSource

# Right codes that pydicom's dictionary does not list
NOT_IN_PYDICOM = {("UCUM", "g"), ("UCUM", "{pixels}"), ("UCUM", "{-1:1}"), ("UMLS", "C0034375")}


def all_codes() -> Iterator[Code]:
    for value in vars(codes).values():
        if isinstance(value, Code):
            yield value
        elif isinstance(value, dict):
            yield from (code for code in value.values() if isinstance(code, Code))


PRIVATE = sorted({c for c in all_codes() if c.scheme_designator == codes.PRIVATE_SCHEME}, key=lambda c: c.value)
STANDARD = sorted(
    {
        c
        for c in all_codes()
        if c.scheme_designator != codes.PRIVATE_SCHEME and (c.scheme_designator, c.value) not in NOT_IN_PYDICOM
    },
    key=lambda c: c.value,
)


@pytest.mark.parametrize("code", RefusalCode)
def test_every_refusal_code_has_a_place_in_the_report(code: RefusalCode) -> None:
    assert code in codes.NOT_SCORED_CODES
    assert codes.not_scored_code(code.value).value.startswith("NS-")


def test_a_refusal_code_newer_than_the_table_is_filed_as_other() -> None:
    assert codes.not_scored_code("SOMETHING_NEW") == codes.NS_OTHER


@pytest.mark.parametrize("code", PRIVATE, ids=lambda c: c.value)
def test_private_codes_fit_their_value_representations(code: Code) -> None:
    """Longer values silently become Long Code Value, longer or non-ASCII meanings fail in some readers."""
    assert 1 <= len(code.value) <= 16
    assert 1 <= len(code.meaning) <= 64
    assert (code.value + code.meaning).isascii()


def test_no_private_code_value_has_two_meanings() -> None:
    assert len({code.value for code in PRIVATE}) == len({(code.value, code.meaning) for code in PRIVATE})


@pytest.mark.parametrize("code", STANDARD, ids=lambda c: f"{c.scheme_designator}-{c.value}")
def test_standard_codes_are_in_the_dictionary_with_this_meaning(code: Code) -> None:
    known = [v[code.value][0] for v in concepts[code.scheme_designator].values() if code.value in v]
    assert code.meaning.lower() in [meaning.lower().removesuffix(" (attribute)") for meaning in known]


def test_every_pathway_and_roi_source_has_a_code() -> None:
    assert set(codes.PATHWAYS) == set(Pathway)
    assert set(codes.ROI_SOURCES) == set(RoiSource)
