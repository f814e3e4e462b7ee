"""Which stored regions are tumours, and which of two stands for a lesion."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest

from egfr_dls.errors import ConfigurationError
from egfr_dls.study import RoiSource
from inference.roi.stored import CodedConcept, RoiFacts, StoredRoi, choose_tumours, one_per_lesion

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
        referenced_series_uids=frozenset(),
        creator="",
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


@pytest.mark.parametrize(
    "concept",
    [PRIMARY, CodedConcept("86049000", "SCT", ""), CodedConcept("52988006", "SCT", ""),
     CodedConcept("GTV", "RT ROI Interpreted Type", "")],
)  # fmt: skip
def test_codes(concept: CodedConcept) -> None:
    (chosen,) = choose_tumours([facts("a", 1), facts("b", 2, TISSUE, concept)], None)
    assert chosen.facts.number == 2
    assert concept.value in chosen.why


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


def stored(
    columns: slice, when: str | None, source: RoiSource = RoiSource.STORED_SEG, number: int = 1, uid: str = "1.2.3"
) -> StoredRoi:
    mask = np.zeros((2, 4, 20), dtype=np.bool_)
    mask[:, :, columns] = True
    return StoredRoi(
        label="tumour",
        number=number,
        source=source,
        sop_instance_uid=uid,
        sop_class_uid="",
        content_datetime=datetime.fromisoformat(when) if when else None,
        tracking_uid=None,
        concepts=(),
        referenced_series_uids=frozenset(),
        creator="",
        mask=mask,
    )


OLD, NEW = "2024-01-01T10:00:00", "2024-01-01T10:00:01"


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (stored(slice(0, 6), NEW, RoiSource.STORED_RTSTRUCT), stored(slice(0, 9), OLD)),
        (stored(slice(0, 6), OLD), stored(slice(0, 9), OLD, RoiSource.STORED_RTSTRUCT)),
        (stored(slice(0, 6), OLD, RoiSource.STORED_RTSTRUCT), stored(slice(0, 9), None)),
        (stored(slice(0, 9), OLD, number=2), stored(slice(0, 6), OLD, number=1)),
    ],
    ids=["newer", "SEG before RTSTRUCT", "dated before undated", "larger"],
)
def test_two_regions_of_one_lesion(better: StoredRoi, worse: StoredRoi) -> None:
    for order in ([better, worse], [worse, better]):
        (lesion,) = one_per_lesion(order)
        assert lesion.roi is better
        assert lesion.instead_of == (worse,)


def test_regions_that_share_less_than_half_are_two_lesions() -> None:
    assert len(one_per_lesion([stored(slice(0, 8), OLD), stored(slice(5, 13), NEW)])) == 2
