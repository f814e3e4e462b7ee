"""Which of several stored regions stands for a lesion."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest

from egfr_dls.study import RoiSource
from inference.roi.stored import Origin, Reference, StoredRoi, one_per_lesion, shown


def stored(
    columns: slice,
    when: str | None,
    source: RoiSource = RoiSource.STORED_SEG,
    number: int = 1,
    uid: str = "1.2.3",
    *,
    tracking_uid: str | None = None,
    by_person: bool = True,
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
    ],
    ids=["newer", "SEG before RTSTRUCT", "dated before undated", "larger", "a person's before software's", "by UID"],
)
def test_two_regions_of_one_lesion(better: StoredRoi, worse: StoredRoi) -> None:
    for order in ([better, worse], [worse, better]):
        (lesion,) = one_per_lesion(order)
        assert lesion.roi is better
        assert lesion.instead_of == (worse,)


def test_regions_that_share_less_than_half_are_two_lesions() -> None:
    assert len(one_per_lesion([stored(slice(0, 8), OLD), stored(slice(5, 13), NEW)])) == 2


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
