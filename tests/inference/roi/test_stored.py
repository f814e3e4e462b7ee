"""Which of several stored regions stands for a lesion."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest

from egfr_dls.study import RoiSource
from egfr_dls.volume import Geometry, Unit, Volume
from inference.roi.stored import Origin, Reference, StoredRoi, one_per_lesion, share_outside, shown


def stored(
    columns: slice,
    when: str | None,
    source: RoiSource = RoiSource.STORED_SEG,
    number: int = 1,
    uid: str = "1.2.3",
    *,
    tracking_uid: str | None = None,
    by_person: bool = True,
    utc_offset_hours: int | None = None,
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
        tracking_uid=tracking_uid,
        concepts=(),
        reference=Reference(frozenset(), frozenset()),
        origin=Origin(by_person=by_person),
        utc_offset=None if utc_offset_hours is None else timedelta(hours=utc_offset_hours),
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
        (stored(slice(0, 6), OLD), stored(slice(0, 9), NEW, by_person=False)),
        (stored(slice(0, 6), OLD, uid="1.2.4"), stored(slice(0, 6), OLD, uid="1.2.3")),
        (stored(slice(0, 6), OLD, number=1), stored(slice(0, 6), OLD, number=2, uid="1.2.4")),
        (stored(slice(0, 6), OLD), stored(slice(3, 12), None)),
    ],
    ids=["newer", "SEG before RTSTRUCT", "dated before undated", "larger", "a person's before software's", "by UID",
         "the lower number", "exactly half of the smaller"],
)  # fmt: skip
def test_two_regions_of_one_lesion(better: StoredRoi, worse: StoredRoi) -> None:
    for order in ([better, worse], [worse, better]):
        (lesion,) = one_per_lesion(order)
        assert lesion.roi is better
        assert lesion.instead_of == (worse,)


def test_regions_that_share_less_than_half_are_two_lesions() -> None:
    assert len(one_per_lesion([stored(slice(0, 8), OLD), stored(slice(5, 13), NEW)])) == 2


def test_a_third_region_is_of_the_lesion_of_the_region_taken() -> None:
    """What shares half with a region that is itself replaced, and not with the one taken, is another lesion."""
    first, between, last = stored(slice(0, 6), NEW), stored(slice(3, 9), OLD, uid="1.2.4"), stored(slice(5, 11), None)
    lesions = one_per_lesion([last, between, first])
    assert [(lesion.roi, lesion.instead_of) for lesion in lesions] == [(first, (between,)), (last, ())]
    (lesion,) = one_per_lesion([stored(slice(1, 5), None), between, first])
    assert lesion.roi is first
    assert len(lesion.instead_of) == 2, "a second one does not take the place of the first"


MORNING, LATE = "2024-01-01T15:00:00", "2024-01-01T23:00:00"


def test_dates_are_compared_in_utc_where_each_states_its_offset() -> None:
    """15:00 +0000 is an hour after 23:00 +0900 (PS3.3 C.12.1.1.8); beside a date of no zone all count as written."""
    utc = stored(slice(0, 6), MORNING, utc_offset_hours=0)
    japan = stored(slice(0, 6), LATE, uid="1.2.4", utc_offset_hours=9)
    undated, unzoned = stored(slice(0, 6), None, uid="1.2.5"), stored(slice(0, 6), OLD, uid="1.2.5")
    assert [one_per_lesion(rois)[0].roi for rois in ([japan, utc], [japan, utc, undated])] == [utc, utc]
    assert [lesion.roi for lesion in one_per_lesion([japan, utc, unzoned])] == [japan]


def test_the_last_hours_of_the_calendar_have_an_order_in_utc() -> None:
    last, first = "9999-12-31T23:00:00", "0001-01-01T01:00:00"
    newer = stored(slice(0, 6), last, utc_offset_hours=-12)
    (lesion,) = one_per_lesion([stored(slice(0, 6), first, uid="1.2.4", utc_offset_hours=14), newer])
    assert lesion.roi is newer


def test_the_share_of_a_region_outside_those_taken() -> None:
    taken = [stored(slice(0, 2), NEW), stored(slice(1, 3), NEW)]
    assert share_outside(stored(slice(0, 4), OLD), taken) == 0.25
    assert share_outside(stored(slice(5, 9), OLD), taken) == 1.0


def volume(series_uid: str, frame_of_reference_uid: str) -> Volume:
    axes = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    return Volume(
        voxels=np.zeros((1, 1, 1), dtype=np.float32),
        geometry=Geometry((1, 1, 1), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), axes),
        unit=Unit.HOUNSFIELD,
        series_instance_uid=series_uid,
        frame_of_reference_uid=frame_of_reference_uid,
        sop_instance_uids=("1.3",),
    )


@pytest.mark.parametrize(
    ("series", "frame", "on", "serves"),
    [("1.1", "1.9", True, True), ("1.1", "1.8", True, True), ("1.2", "1.9", False, True), ("1.2", "1.8", False, False)],
)
def test_the_series_itself_serves_whatever_its_frame_of_reference(
    series: str, frame: str, on: bool, serves: bool
) -> None:
    """Also where its images name another frame of reference than the object does; another series only in the same one."""
    reference = Reference(frozenset({"1.1"}), frozenset({"1.9"}))
    assert (reference.is_on(volume(series, frame)), reference.serves(volume(series, frame))) == (on, serves)


def test_a_corrected_region_elsewhere_is_the_same_lesion_by_its_tracking_uid() -> None:
    wrong, right = (
        stored(slice(0, 4), OLD, tracking_uid="1.9"),
        stored(slice(9, 12), NEW, uid="1.2.4", tracking_uid="1.9"),
    )
    (lesion,) = one_per_lesion([wrong, right])
    assert lesion.roi is right
    assert len(one_per_lesion([right, stored(slice(0, 4), OLD, uid="1.2.4", tracking_uid="1.9")])) == 2, "one object"


@pytest.mark.parametrize(
    ("value", "expected"),
    [("GTV", "GTV"), ("a\r\nb\x1b[1m\tc", "a b [1m c"), ("x" * 60_000, "x" * 63 + "…"), ("x" * 64, "x" * 64)],
    ids=["as it is", "one line", "60,000 characters", "an LO"],
)
def test_text_of_a_header_is_shown_in_one_short_line(value: str, expected: str) -> None:
    assert shown(value) == expected
