"""The field-of-view check of one slice (docs/reference/science.md A6)."""

from __future__ import annotations

import numpy as np
import pytest

from egfr_dls.refusals import RefusalCode, WarningCode
from inference.biomarkers.pet_ct_egfr.field_of_view import RegionView, SliceView, judge, judge_region
from inference.biomarkers.pet_ct_egfr.squares import region_view, views_of
from inference.imaging.crop import Extent
from inference.models.manifest import Preprocessing
from tests.inference.biomarkers.volumes import SHAPE, ct, pet, volume


def _view(lesion_mm: tuple[float, float], margin_mm: float) -> SliceView:
    lesion = Extent(0.0, lesion_mm[0], 0.0, lesion_mm[1])
    box = lesion.square(margin_mm)
    return SliceView(0, box, box, lesion)


@pytest.mark.parametrize(
    ("lesion_mm", "margin_mm", "refusal", "warnings"),
    [
        ((30, 30), 15, None, set()),
        ((30, 30), 10, None, set()),
        ((30, 30), 20, None, set()),
        ((60, 5), 15, None, set()),  # the shorter side has 42 mm and is not tested
        ((30, 30), 9.9, None, {WarningCode.FOV_MARGIN}),
        ((30, 30), 20.1, None, {WarningCode.FOV_MARGIN}),
        ((120, 30), 15, None, set()),
        ((121, 30), 15, None, {WarningCode.FOV_LARGE}),
        ((220, 30), 15, None, {WarningCode.FOV_LARGE}),
        ((221, 30), 15, RefusalCode.FOV_LARGE, set()),
        ((30, 30), 0, RefusalCode.FOV_TRUNCATED, set()),
        ((30, 30), -1, RefusalCode.FOV_TRUNCATED, set()),
    ],
)
def test_table(
    lesion_mm: tuple[float, float], margin_mm: float, refusal: RefusalCode | None, warnings: set[WarningCode]
) -> None:
    """Bounds belong to the passing side."""
    judgement = judge(_view(lesion_mm, margin_mm), strict=False)
    assert judgement.refusal == refusal
    assert {code for code, _ in judgement.warnings} == warnings
    assert bool(judgement.message) == (refusal is not None)


@pytest.mark.parametrize(
    ("margin_mm", "refusal"), [(15, None), (9.9, RefusalCode.FOV_MARGIN), (20.1, RefusalCode.FOV_MARGIN)]
)
def test_strict_refuses_a_margin_outside_the_bounds(margin_mm: float, refusal: RefusalCode | None) -> None:
    """`fov_policy: strict`."""
    assert judge(_view((30, 30), margin_mm), strict=True).refusal == refusal


def test_no_lesion_pixel_in_the_square() -> None:
    """The network is not usable without tumour."""
    box = Extent(0.0, 60.0, 0.0, 60.0)
    view = SliceView(0, box, box, None)
    assert judge(view, strict=False).refusal == RefusalCode.FOV_NO_TUMOUR
    assert view.margin_mm == 0.0


UPTAKE, FEW = "ROI_WITHOUT_UPTAKE", "FEW_SLICES"


@pytest.mark.parametrize(
    ("view", "codes"),
    [
        (RegionView(3, 1.51, 1.0), []),
        (RegionView(3, 1.5, 1.0), [UPTAKE]),
        (RegionView(3, 1500.0, 1000.0), [UPTAKE]),  # the scale of the PET plays no part
        (RegionView(3, 0.1, 0.0), []),
        (RegionView(3, 0.0, 0.0), [UPTAKE]),
        (RegionView(3, 0.1, -0.2), []),
        (RegionView(3, 0.0, None), []),  # nothing measured lies around it
        (RegionView(2, 8.0, 1.0), [FEW]),
        (RegionView(1, 1.0, 1.0), [UPTAKE, FEW]),
    ],
)
def test_a_region_as_a_whole(view: RegionView, codes: list[str]) -> None:
    """Warned of; with `fov_policy: strict` refused with the first."""
    warned = judge_region(view, min_slices=3, strict=False)
    assert warned.refusal is None
    assert [code.value for code, _ in warned.warnings] == codes
    refused = judge_region(view, min_slices=3, strict=True)
    assert refused.warnings == ()
    assert (None if refused.refusal is None else refused.refusal.value) == (codes[0] if codes else None)
    assert bool(refused.message) == bool(codes)


@pytest.mark.parametrize(
    ("n_slices", "min_slices", "said"), [(1, 2, "1 slice can"), (4, 5, "4 slices can"), (5, 5, "")]
)
def test_how_many_slices_are_enough_is_the_manifests(n_slices: int, min_slices: int, said: str) -> None:
    warnings = judge_region(RegionView(n_slices, 8.0, 1.0), min_slices=min_slices, strict=False).warnings
    assert [message.startswith(said) for _, message in warnings] == [True] * bool(said)


def test_what_lies_around_a_region_is_what_was_measured_in_its_squares_outside_it() -> None:
    """Neither the region's own pixels, nor those without measurement, nor those beyond the squares or the image."""
    mask = np.zeros(SHAPE, np.bool_)
    mask[4:6, 40:80, 2:42] = True
    voxels = np.full(SHAPE, 99.0)
    voxels[4:6, 20:100, 0:63] = 3.0
    voxels[mask] = 7.0
    voxels[5, 60, 20] = 8.0
    lost = np.zeros(SHAPE, np.bool_)
    lost[:, :40] = lost[:, 80:] = True  # most of what lies around, and of other values
    voxels[lost] = 0.0
    views = views_of(mask, mask, ct(), Preprocessing(), "lesion")
    view = region_view(volume(voxels, pet().unit, "pet", lost), mask, views)
    assert view == RegionView(2, 8.0, 3.0)


def test_nothing_may_be_measured_around_a_region() -> None:
    mask = np.zeros(SHAPE, np.bool_)
    mask[4, 40:80, 40:80] = True
    view = region_view(
        volume(np.ones(SHAPE), pet().unit, "pet", ~mask), mask, views_of(mask, mask, ct(), Preprocessing(), "lesion")
    )
    assert view == RegionView(1, 1.0, None)
