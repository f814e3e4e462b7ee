"""What a destination accepts decides how the objects are made; what several destinations share is made once."""

from __future__ import annotations

import io
from collections.abc import Collection

import highdicom as hd
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from reporting.build import to_bytes
from reporting.context import Revision
from reporting.secondary_capture import frames
from reporting.variants import PROBED_CLASSES, SR_CLASSES, Variant, choose_variant
from tests.builders import CT_SERIES_UID, PET_SERIES_UID
from tests.reporting.report_cases import (
    Case,
    groups,
    items,
    name_of,
    numbers,
    refused,
    scored,
    stored_seg,
    two_lesions,
)

ENHANCED = Variant(EnhancedSRStorage)
WITHOUT_SEG = Variant(segmentation=False)
SINGLE = Variant(single_pages=True)
IMAGES_ONLY = frozenset({SecondaryCaptureImageStorage, ComprehensiveSRStorage})


@pytest.mark.parametrize(
    ("accepted", "preferred", "expected"),
    [
        (PROBED_CLASSES, None, Variant()),
        (PROBED_CLASSES, ComprehensiveSRStorage, Variant(ComprehensiveSRStorage)),
        ({*PROBED_CLASSES} - {Comprehensive3DSRStorage}, None, Variant(ComprehensiveSRStorage)),
        ({*PROBED_CLASSES} - {*SR_CLASSES[:2]}, Comprehensive3DSRStorage, Variant(EnhancedSRStorage)),
        ({*PROBED_CLASSES} - {SegmentationStorage}, None, WITHOUT_SEG),
        ({*PROBED_CLASSES} - {MultiFrameTrueColorSecondaryCaptureImageStorage}, None, SINGLE),
        (IMAGES_ONLY, None, Variant(ComprehensiveSRStorage, segmentation=False, single_pages=True)),
        ({*PROBED_CLASSES} - {*SR_CLASSES}, None, None),
        ((), ComprehensiveSRStorage, None),
    ],
)
def test_the_accepted_classes_decide(accepted: Collection[str], preferred: str | None, expected: Variant) -> None:
    assert choose_variant(accepted, preferred) == expected


def report(case: Case, variant: Variant) -> Dataset:
    return case.wanting(variants=(variant,)).build()["report"].dataset


def referred(ds: Dataset) -> set[str]:
    """Return the SOP Instance UIDs that evidence and tree of a report name."""
    found: set[str] = set()

    def collect(_: Dataset, element: object) -> None:
        if getattr(element, "keyword", "") == "ReferencedSOPInstanceUID":
            found.add(str(element.value))  # type: ignore[attr-defined]

    dcmread(io.BytesIO(_bytes(ds))).walk(collect)
    return found


def _bytes(ds: Dataset) -> bytes:
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@pytest.mark.parametrize("case", [scored(), refused(), two_lesions()], ids=["scored", "refused", "in part"])
def test_each_class_holds_the_same_tree_under_its_own_uid(case: Case) -> None:
    made = [report(case, Variant(sop_class_uid)) for sop_class_uid in SR_CLASSES]
    assert [ds.SOPClassUID for ds in made] == list(SR_CLASSES)
    assert [ds.file_meta.MediaStorageSOPClassUID for ds in made] == list(SR_CLASSES)
    assert len({ds.SOPInstanceUID for ds in made}) == 3
    assert len({ds.SeriesInstanceUID for ds in made}) == 1
    trees = [[(name_of(i), i.ValueType, i.RelationshipType) for i in items(ds)] for ds in made]
    assert trees[0] == trees[1] == trees[2]


@pytest.mark.parametrize("sop_class_uid", SR_CLASSES)
def test_highdicom_reads_the_scores_of_each_class_back(sop_class_uid: str) -> None:
    read = hd.sr.srread(io.BytesIO(_bytes(report(scored(), Variant(sop_class_uid, segmentation=False)))))
    lesion, slices, patient = read.content.get_image_measurement_groups()
    for group in (lesion, patient):
        assert {m.name.value: m.value for m in group.get_measurements()}["EGFRDLS"] == pytest.approx(0.7098)
    assert [m.value for m in slices.get_measurements()] == pytest.approx([0.6512, 0.7304, 0.7478])


def test_without_seg_a_lesion_points_at_the_images_it_was_read_on() -> None:
    seg = scored().build()["roi"].sop_instance_uid
    ds = report(scored(), WITHOUT_SEG)
    assert seg not in referred(ds)
    assert ds.SOPInstanceUID != report(scored(), Variant()).SOPInstanceUID
    lesion = groups(ds)[0]
    assert lesion.ContentTemplateSequence[0].TemplateIdentifier == "1501"
    sources = [
        i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for i in lesion.ContentSequence if name_of(i) == "121112"
    ]
    assert set(sources) == {f"{series}.{z}" for series in (CT_SERIES_UID, PET_SERIES_UID) for z in (4, 5, 6)}
    assert numbers(ds, "EGFRDLS") == ["0.7098", "0.7098"]
    assert not [i for i in items(ds) if name_of(i) in {"121191", "121232"}]


@pytest.mark.parametrize("case", [stored_seg(), refused()], ids=["stored SEG", "refused"])
def test_a_report_that_points_at_no_seg_of_ours_is_the_same_with_and_without(case: Case) -> None:
    variants = (Variant(), WITHOUT_SEG)
    (made,) = [m for m in case.wanting(variants=variants).build_all() if m.kind == "report"]
    assert made.variants == variants
    assert made.sop_instance_uid == case.build()["report"].sop_instance_uid


def test_what_destinations_share_is_made_once() -> None:
    variants = (Variant(), ENHANCED, WITHOUT_SEG, SINGLE)
    made = scored().wanting(variants=variants, pages=True).build_all()
    shared = [(m.kind, m.variants) for m in made if m.kind != "single_page"]
    assert shared == [
        ("roi", (Variant(), ENHANCED, SINGLE)),
        ("report", (Variant(), SINGLE)),
        ("report", (ENHANCED,)),
        ("report", (WITHOUT_SEG,)),
        ("pages", (Variant(), ENHANCED, WITHOUT_SEG)),
    ]
    assert [m.variants for m in made if m.kind == "single_page"] == [(SINGLE,)] * 4
    assert len({m.sop_instance_uid for m in made}) == len(made)


def test_single_pages_are_the_frames_each_as_an_object_in_their_own_series() -> None:
    case = scored().wanting(pages=True)
    drawn = frames(case.build()["pages"].dataset)
    made = [m for m in case.wanting(variants=(SINGLE,)).build_all() if m.kind == "single_page"]
    read = [dcmread(io.BytesIO(to_bytes(m))) for m in made]
    assert all(np.array_equal(ds.pixel_array, frame) for ds, frame in zip(read, drawn, strict=True))
    assert [int(ds.InstanceNumber) for ds in read] == [1, 2, 3, 4]
    assert {(int(ds.SeriesNumber), ds.SOPClassUID) for ds in read} == {(9003, SecondaryCaptureImageStorage)}
    assert len({ds.SeriesInstanceUID for ds in read}) == 1
    assert not any("NumberOfFrames" in ds for ds in read)


def test_single_pages_of_a_revision_are_numbered_after_those_before() -> None:
    case = refused().wanting(pages=True, variants=(SINGLE,))
    second = Case(case.findings, case.evidence, case.sources, Revision(3), case.options)
    assert [int(m.dataset.InstanceNumber) for m in second.build_all() if m.kind == "single_page"] == [2001]
