"""Which stored regions are tumours: the rule table, row by row."""

from __future__ import annotations

import pytest
from pydicom.sr._concepts_dict import concepts
from pydicom.sr._snomed_dict import mapping

from egfr_dls.errors import ConfigurationError
from egfr_dls.study import RoiSource
from inference.roi.stored import INTERPRETED_TYPE, CodedConcept, Reference, RoiFacts
from inference.roi.tumour_rules import OTHER_TYPES, TUMOUR_CODES, TUMOUR_WORDS, choose_tumours

TISSUE = CodedConcept("85756007", "SCT", "Tissue")
PRIMARY = CodedConcept("M-80003", "SRT", "Neoplasm, Primary")


def facts(label: str = "Segment_1", number: int = 1, *concepts: CodedConcept) -> RoiFacts:
    return RoiFacts(
        label=label,
        number=number,
        source=RoiSource.STORED_SEG,
        sop_instance_uid="1.2.3",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.66.4",
        content_datetime=None,
        tracking_uid=None,
        concepts=concepts or (TISSUE,),
        reference=Reference(frozenset(), frozenset()),
    )


@pytest.mark.parametrize(
    "label",
    [
        "Tumor",
        "lung tumour",
        "LESION 1",
        "nodule_rul",
        "hilar Mass",
        "Lung cancer",
        "carcinoma",
        "Metastasis",
        "GTV_PET",
    ],
)
def test_words_of_the_label(label: str) -> None:
    (chosen,) = choose_tumours([facts(), facts(label, 2)], None)
    assert chosen.facts.label == label
    assert "word" in chosen.why


@pytest.mark.parametrize("word", TUMOUR_WORDS)
def test_every_word_of_the_table(word: str) -> None:
    (chosen,) = choose_tumours([facts(f"Left_{word.upper()}2")], None)
    assert chosen.why == f"its label holds the word {word!r}"


@pytest.mark.parametrize(
    "label",
    [
        "Lungs-GTV", "Lung_L - GTV", "lungs minus tumour", "no_lesion", "Non-tumor", "liver excl. mass", "lungs sub GTVp",
        "BilatLung-iGTV", "Lungs w/o GTV", "Lung_wo_GTV", "Lungs-(GTV)", "Lung\u2013GTV", "lung exc GTV", "lung ex mass",
        "GTV_excluded_lung", "GTVp excl", "Ring_GTV", "GTV ring", "peritumoral_5mm", "tumor bed", "muscle mass",
        "no evidence of mass", "PTV_GTVp_60Gy", "CTV tumour", "GTV lesion (ITV)",
    ],
)  # fmt: skip
def test_what_is_beside_a_tumour_is_no_tumour(label: str) -> None:
    assert choose_tumours([facts(label)], None) == ()


@pytest.mark.parametrize("interpreted", sorted(OTHER_TYPES))
def test_no_word_makes_a_tumour_of_a_volume_of_another_type(interpreted: str) -> None:
    stated = CodedConcept(interpreted, INTERPRETED_TYPE, interpreted)
    assert choose_tumours([facts("GTV", 1, stated)], None) == ()


def test_the_target_is_taken_and_not_the_planning_volume_round_it() -> None:
    planning = facts("PTV_GTVp_60Gy", 1, CodedConcept("PTV", INTERPRETED_TYPE, "PTV"))
    (chosen,) = choose_tumours([planning, facts("GTVp", 2, CodedConcept("GTV", INTERPRETED_TYPE, "GTV"))], None)
    assert chosen.facts.number == 2


def test_a_type_that_programs_write_for_everything_forbids_no_word() -> None:
    assert len(choose_tumours([facts("GTVp", 1, CodedConcept("ORGAN", INTERPRETED_TYPE, "ORGAN"))], None)) == 1


@pytest.mark.parametrize(
    "label",
    ["GTV-1", "lung-tumor", "GTV_Mass-CT", "Gross_tumor", "casino mass", "iGTV", "GTVp1", "IGTV_60", "tumour embedded"],
)
def test_hyphens_and_endings_that_subtract_nothing(label: str) -> None:
    assert len(choose_tumours([facts(label)], None)) == 1


@pytest.mark.parametrize(("scheme", "value"), TUMOUR_CODES)
def test_every_code_of_the_table(scheme: str, value: str) -> None:
    """As category or as type: the place among the concepts plays no role."""
    (chosen,) = choose_tumours([facts("a", 1), facts("b", 2, TISSUE, CodedConcept(value, scheme, "whatever"))], None)
    assert chosen.facts.number == 2
    assert chosen.why == f"it is coded as {TUMOUR_CODES[scheme, value]} ({value}, {scheme})"


def test_the_codes_are_those_of_the_standard() -> None:
    """Every SNOMED CT code is one of PS3.16, and every SRT code is the older form of one that is in the table."""
    standard = {code for known in concepts["SCT"].values() for code in known}
    assert {value for scheme, value in TUMOUR_CODES if scheme == "SCT"} <= standard
    for scheme, value in TUMOUR_CODES:
        if scheme == "SRT":
            assert TUMOUR_CODES["SCT", mapping["SRT"][value]] == TUMOUR_CODES[scheme, value]


def test_a_code_of_another_scheme_is_no_tumour() -> None:
    assert choose_tumours([facts("a", 1, CodedConcept("52988006", "99LOCAL", ""))], None) == ()


def test_the_pattern_of_the_site_decides_alone_where_it_matches() -> None:
    rois = [facts("pt_segment_1", 1), facts("tumour", 2), facts("c", 3, PRIMARY)]
    (chosen,) = choose_tumours(rois, "^PT_segment")
    assert chosen.facts.number == 1
    assert "roi_label_pattern" in chosen.why
    assert [c.facts.number for c in choose_tumours(rois, "no such label")] == [2, 3]


def test_no_rule_matches() -> None:
    assert choose_tumours([facts("Segment_1"), facts("lung", 2)], None) == ()


def test_a_pattern_that_is_none_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match=r"roi_label_pattern: '\(' is not a regular expression"):
        choose_tumours([facts()], "(")
