"""The tumours among stored objects: where each was drawn, what is said of the rest, and what a replaced region loses."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset

from egfr_dls.volume import Unit, Volume
from inference.roi.stored_search import StoredSearch, search_stored
from tests.builders import ct_slices, pet_slices, rtstruct
from tests.inference.roi.volumes import segmentation, volume_of

CONTOUR = [-20.0, -20.0, 8.0, 20.0, -20.0, 8.0, 20.0, 20.0, 8.0, -20.0, 20.0, 8.0]


@pytest.fixture(scope="module")
def ct_images() -> list[Dataset]:
    return ct_slices()


@pytest.fixture(scope="module")
def ct(ct_images: list[Dataset]) -> Volume:
    return volume_of(ct_images, Unit.HOUNSFIELD)


@pytest.fixture(scope="module")
def pet_images() -> list[Dataset]:
    return pet_slices()


@pytest.fixture(scope="module")
def pet(pet_images: list[Dataset]) -> Volume:
    return volume_of(pet_images, Unit.SUVBW)


def box(volume: Volume, *columns: slice) -> NDArray[np.uint8]:
    mask = np.zeros(volume.geometry.shape, dtype=np.uint8)
    for some in columns:
        mask[2:5, 4:8, some] = 1
    return mask


def refers_to(seg: Dataset, *series_uids: str) -> Dataset:
    template = seg.ReferencedSeriesSequence[0]
    seg.ReferencedSeriesSequence = [deepcopy(template) for _ in series_uids]
    for item, uid in zip(seg.ReferencedSeriesSequence, series_uids, strict=True):
        item.SeriesInstanceUID = uid
    return seg


def codes_of(search: StoredSearch) -> list[str]:
    return [remark.code for remark in search.unusable_remarks]


def test_the_home_of_a_region_is_the_series_it_was_drawn_on(
    pet_images: list[Dataset], ct_images: list[Dataset], pet: Volume, ct: Volume
) -> None:
    """PET and CT share a frame of reference: it alone would make each region one of the CT."""
    on_pet = segmentation(pet_images, box(pet, slice(4, 8)))
    on_ct = segmentation(ct_images, box(ct, slice(4, 8)), number=2, tracked=False)
    assert [search_stored([seg], pet, ct, None).tumours[0].home for seg in (on_pet, on_ct)] == [pet, ct]
    other = replace(ct, frame_of_reference_uid="1.2.3")
    assert search_stored([on_pet], pet, other, None).tumours[0].home is pet


def test_the_home_of_a_region_of_both_or_of_neither_is_the_ct(
    pet_images: list[Dataset], pet: Volume, ct: Volume
) -> None:
    """Of neither: a third series of the frame of reference; where that is the PET's alone, the PET is its home."""
    seg = segmentation(pet_images, box(pet, slice(4, 8)))
    both, neither = (pet.series_instance_uid, ct.series_instance_uid), ("1.2.3",)
    for uids in (both, neither):
        assert search_stored([refers_to(seg, *uids)], pet, ct, None).tumours[0].home is ct
    other = replace(ct, frame_of_reference_uid="1.2.4")
    assert search_stored([seg], pet, other, None).tumours[0].home is pet


def test_an_object_whose_header_cannot_be_read_is_named(ct_images: list[Dataset], pet: Volume, ct: Volume) -> None:
    """Beside one that serves it is a warning; it does not vanish."""
    broken = segmentation(ct_images, box(ct, slice(4, 8)), number=2)
    del broken.SegmentSequence
    found = search_stored([broken, segmentation(ct_images, box(ct, slice(4, 8)))], pet, ct, None)
    assert len(found.tumours) == 1
    assert codes_of(found) == ["ROI_UNREADABLE"]
    for words in (broken.SOPInstanceUID, "SegmentSequence (0062,0002) is missing"):
        assert words in found.unusable[0].message


def test_a_region_that_encloses_nothing_is_not_taken_for_an_unmarked_tumour(
    ct_images: list[Dataset], pet: Volume, ct: Volume
) -> None:
    ds = rtstruct(ct_images, {"isocentre": [CONTOUR], "ROI-1": [CONTOUR]})
    for observation in ds.RTROIObservationsSequence:
        observation.RTROIInterpretedType = ""
    ds.ROIContourSequence[0].ContourSequence[0].ContourGeometricType = "POINT"
    found = search_stored([ds], pet, ct, None)
    assert [facts.label for facts in found.unmarked] == ["ROI-1"]
    ds.ROIContourSequence[1].ContourSequence[0].ContourGeometricType = "POINT"
    assert not search_stored([ds], pet, ct, None).ambiguity


def test_an_object_of_other_images_is_named_once(ct_images: list[Dataset], pet: Volume, ct: Volume) -> None:
    """Also where its tumours lie in two frames of reference: to send the first images is the first step."""
    ds = rtstruct(ct_images, {"GTV a": [CONTOUR], "GTV b": [CONTOUR]})
    for item, uid in zip(ds.StructureSetROISequence, ("1.2.3", "1.2.4"), strict=True):
        item.ReferencedFrameOfReferenceUID = uid
    found = search_stored([ds], pet, ct, None)
    assert codes_of(found) == ["ROI_REFERENCE_MISSING"]
    assert "1.2.3" in found.unusable[0].message


A, B = slice(4, 8), slice(20, 25)  # columns of two tumours; the second is the larger


def test_a_second_tumour_of_a_replaced_region_is_not_lost_in_silence(
    ct_images: list[Dataset], pet: Volume, ct: Volume
) -> None:
    """Two tumours drawn as one, then one of them anew: the newer counts, and what is left of the older is said."""
    both = segmentation(ct_images, box(ct, A, B), ("tumour old",), tracked=False)
    first = segmentation(ct_images, box(ct, A), ("tumour a",), number=2, tracked=False)
    second = segmentation(ct_images, box(ct, B), ("tumour b",), number=3, tracked=False)
    both.ContentDate, first.ContentDate, second.ContentDate = "20240101", "20240302", "20240301"
    found = search_stored([both, first], pet, ct, None)
    assert [tumour.drawn.label for tumour in found.tumours] == ["tumour a"]
    assert codes_of(found) == ["ROI_PARTLY_REPLACED"]
    for words in ("'tumour old'", "'tumour a'", "56% of it"):
        assert words in found.unusable_remarks[0].message
    assert not codes_of(search_stored([both, first, second], pet, ct, None)), "both are scored"
    assert not codes_of(search_stored([both, second], pet, ct, None)), "the smaller part alone is left out"


def test_half_of_a_replaced_region_outside_is_not_said(ct_images: list[Dataset], pet: Volume, ct: Volume) -> None:
    old = segmentation(ct_images, box(ct, slice(4, 12)), tracked=False)
    new = segmentation(ct_images, box(ct, slice(4, 8)), number=2, tracked=False)
    old.ContentDate, new.ContentDate = "20240101", "20240301"
    assert not codes_of(search_stored([old, new], pet, ct, None))


@pytest.mark.parametrize(
    ("offsets", "newer"),
    [(("+0900", "+0000"), "utc"), (("+0000", "-0900"), "utc"), (("+0900", ""), "japan"), (("+0900", "09"), "japan"),
     (("+0900", "+2500"), "japan"), (("+0900", "+00000"), "japan"), (("+0830", "+0000"), "utc"), (("+0730", "+0000"), "japan")],
)  # fmt: skip
def test_the_newer_region_is_so_in_utc(
    ct_images: list[Dataset], pet: Volume, ct: Volume, offsets: tuple[str, str], newer: str
) -> None:
    """23:00 +0900 is before 15:00 +0000; what states no readable offset counts as written. The report keeps it so."""
    japan = segmentation(ct_images, box(ct, A), ("tumour japan",), tracked=False)
    utc = rtstruct(ct_images, {"GTV utc": [[-46.1, -46.1, z, -29.9, -46.1, z, -29.9, -29.9, z, -46.1, -29.9, z]
                                           for z in (8.0, 12.0, 16.0)]})  # fmt: skip
    japan.ContentDate, japan.ContentTime = "20240101", "230000"
    utc.StructureSetDate, utc.StructureSetTime = "20240101", "150000"
    for ds, offset in zip((japan, utc), offsets, strict=True):
        if offset:
            ds.TimezoneOffsetFromUTC = offset
    (tumour,) = search_stored([japan, utc], pet, ct, None).tumours
    assert tumour.drawn.label.endswith(newer)
    assert tumour.drawn.content_datetime is not None
    assert tumour.drawn.content_datetime.hour == (15 if newer == "utc" else 23)
