"""From volumes in mm to the network's input: the square, the pixels, the warnings and the refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from egfr_dls.refusals import RefusalCode, WarningCode
from inference.biomarkers.pet_ct_egfr.hyperimage import HyperImages, hyper_image, prepare
from inference.models.manifest import Preprocessing
from tests.inference.biomarkers.volumes import SHAPE, ball, ct, pet, volume

RECIPE = Preprocessing()


def _recipe(**changes: object) -> Preprocessing:
    return Preprocessing.model_validate({**RECIPE.model_dump(), **changes})


def _codes(hyper: HyperImages) -> set[str]:
    return {w.code for w in hyper.warnings}


def test_a_lesion_gives_one_standardised_image_a_slice() -> None:
    """float32 [slices, 3, 64, 64], channels PET, CT, FUSE, each with mean 0 and SD 1 (ddof 1)."""
    hyper = prepare(ct(), pet(), ball(), RECIPE)
    assert hyper.images.dtype == np.float32
    assert hyper.images.shape == (len(hyper.frames), 3, 64, 64)
    np.testing.assert_allclose(hyper.images.mean(axis=(2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(hyper.images.std(axis=(2, 3), ddof=1), 1, atol=1e-5)
    assert hyper.refusal is None
    assert hyper.refused == ()
    assert _codes(hyper) == set()


def test_every_slice_of_at_least_20_mm2_is_used() -> None:
    """25 pixels of 0.81 mm2 are enough, 24 are not."""
    mask = np.zeros(SHAPE, np.bool_)
    mask[3, 50:55, 50:55] = True
    mask[4, 50:55, 50:55] = True
    mask[4, 54, 54] = False
    assert prepare(ct(), pet(), mask, RECIPE).slice_index == (3,)


def test_the_square_is_the_slices_bounding_box_and_15_mm() -> None:
    """Side = max(width, height) + 2 x 15 mm, about the box centre; positions along the slice normal."""
    mask = np.zeros(SHAPE, np.bool_)
    mask[5, 40:50, 60:80] = True
    (frame,) = prepare(ct(), pet(), mask, RECIPE).frames
    assert frame.side_mm == pytest.approx(20 * 0.9 + 30)
    assert frame.margin_mm == pytest.approx(15)
    assert frame.position_mm == pytest.approx(-150 + 5 * 3)
    assert (frame.box.row0_mm + frame.box.row1_mm) / 2 == pytest.approx(44.5 * 0.9)
    assert (frame.box.column0_mm + frame.box.column1_mm) / 2 == pytest.approx(69.5 * 0.9)


def test_one_box_for_the_whole_lesion_when_the_recipe_says_so() -> None:
    """`box: volume`: the same square on every slice; a small slice then has a wide margin, and warns."""
    mask = ball()
    mask[8] = False
    mask[8, 58:63, 68:73] = True
    hyper = prepare(ct(), pet(), mask, _recipe(box="volume"))
    assert len({f.box for f in hyper.frames}) == 1
    assert WarningCode.FOV_MARGIN in _codes(hyper)
    assert "1 of 5 slices" in hyper.warnings[0].message
    assert len({f.box for f in prepare(ct(), pet(), mask, RECIPE).frames}) > 1


@pytest.mark.parametrize("factor", [0.5, 1.37, 1000.0])
def test_the_input_does_not_depend_on_the_suv_scale(factor: float) -> None:
    """Scaling the PET changes nothing: grey levels are those of the square's own range."""
    plain = prepare(ct(), pet(), ball(), RECIPE)
    scaled = prepare(ct(), replace(pet(), voxels=pet().voxels * np.float32(factor)), ball(), RECIPE)
    assert np.array_equal(scaled.images, plain.images)


@pytest.mark.parametrize("factor", [0.5, 1.37, 1000.0])
@pytest.mark.parametrize("quantise", [True, False])
def test_the_recipe_itself_is_free_of_scale(factor: float, quantise: bool) -> None:
    """In float64 nothing but rounding is left, with and without grey levels."""
    rng = np.random.default_rng(3)
    image, other = rng.random((128, 128)), rng.random((128, 128))
    recipe = _recipe(quantise_8bit=quantise, floor="none")
    plain, scaled = (hyper_image(p, other, recipe)[0] for p in (image, image * factor))
    np.testing.assert_allclose(scaled, plain, atol=1e-14)


def test_shifting_lesion_and_volumes_together_changes_nothing() -> None:
    """The image follows the lesion: it does not depend on where in the field the lesion lies."""
    plain = prepare(ct(), pet(), ball(), RECIPE)
    moved = [replace(v, voxels=np.roll(v.voxels, (5, -7), axis=(1, 2))) for v in (ct(), pet())]
    shifted = prepare(moved[0], moved[1], np.roll(ball(), (5, -7), axis=(1, 2)), RECIPE)
    np.testing.assert_allclose(shifted.images, plain.images, atol=1e-5)


def test_rows_and_columns_keep_their_places() -> None:
    """A hot spot above and right of the lesion's centre lies above and right in the image (not transposed)."""
    hot = pet().voxels.copy()
    hot[6, 50:52, 84:86] = 100.0
    hyper = prepare(ct(), replace(pet(), voxels=hot), ball(), RECIPE)
    row, column = np.unravel_index(hyper.images[hyper.slice_index.index(6), 0].argmax(), (64, 64))
    side_px = hyper.frames[hyper.slice_index.index(6)].side_mm / 0.9
    assert row == pytest.approx(32 + (50.5 - 60) * 64 / side_px, abs=2)
    assert column == pytest.approx(32 + (84.5 - 70) * 64 / side_px, abs=2)


def test_filler_values_never_enter_the_range() -> None:
    """-3024 and padded pixels become air before the min-max, and are counted."""
    plain = ct()
    outside = np.zeros(SHAPE, np.bool_)
    outside[:, :, 85:] = True
    air = prepare(replace(plain, voxels=np.where(outside, np.float32(-1000), plain.voxels)), pet(), ball(), RECIPE)
    low = prepare(replace(plain, voxels=np.where(outside, np.float32(-3024), plain.voxels)), pet(), ball(), RECIPE)
    marked = replace(plain, voxels=np.where(outside, np.float32(3000), plain.voxels), padding=outside)
    assert np.array_equal(low.images, air.images)
    assert np.array_equal(prepare(marked, pet(), ball(), RECIPE).images, air.images)
    assert low.frames[0].padded > 0
    assert air.frames[0].padded == 0


@pytest.mark.parametrize(("column", "warned"), [(70, False), (18, False), (12, True)])
def test_a_square_with_more_than_a_quarter_of_padding_warns(column: int, warned: bool) -> None:
    """Lesions at the edge of the image are scored with the remark."""
    hyper = prepare(ct(), pet(), ball(centre=(6, 60, column)), RECIPE)
    assert (WarningCode.CROP_PADDED in _codes(hyper)) == warned
    assert (max(f.padded for f in hyper.frames) > 0.25) == warned


@pytest.mark.parametrize("flat", ["ct", "pet"])
def test_a_channel_of_one_value_gives_zeros_and_a_warning(flat: str) -> None:
    """No division by zero; the fused channel is the other one's."""
    constant = volume(np.full(SHAPE, 1.0), pet().unit, flat)
    volumes = {"ct": ct(), "pet": pet()} | {flat: constant}
    hyper = prepare(volumes["ct"], volumes["pet"], ball(), RECIPE)
    index = RECIPE.channels.index(flat)  # type: ignore[arg-type]
    assert not hyper.images[:, index].any()
    np.testing.assert_allclose(hyper.images[:, 2], hyper.images[:, 1 - index], atol=1e-5)
    assert WarningCode.HYPERIMAGE_FLAT_CHANNEL in _codes(hyper)


def test_a_window_clips_the_ct_and_nothing_else() -> None:
    """`ct_window` changes the CT channel; the PET channel stays bit for bit."""
    plain, windowed = prepare(ct(), pet(), ball(), RECIPE), prepare(ct(), pet(), ball(), _recipe(ct_window=(-850, 0)))
    assert np.array_equal(plain.images[:, 0], windowed.images[:, 0])
    assert np.abs(plain.images[:, 1] - windowed.images[:, 1]).max() > 0.1


def test_exact_values_are_close_to_grey_levels() -> None:
    """Without quantisation the input differs a little: not at all would mean the setting has no effect."""
    plain, exact = (prepare(ct(), pet(), ball(), _recipe(quantise_8bit=q)) for q in (True, False))
    assert 0 < np.abs(plain.images[:, :2] - exact.images[:, :2]).max() < 0.2


def test_a_region_without_a_large_enough_slice_is_refused() -> None:
    """ROI_TOO_SMALL says how large it is and what is needed."""
    mask = np.zeros(SHAPE, np.bool_)
    mask[2:6, 10:12, 10:12] = True
    hyper = prepare(ct(), pet(), mask, RECIPE)
    assert hyper.images.shape == (0, 3, 64, 64)
    assert hyper.refusal is not None
    assert hyper.refusal.code == RefusalCode.ROI_TOO_SMALL
    assert "3.2 mm2" in hyper.refusal.message
    assert prepare(ct(), pet(), np.zeros(SHAPE, np.bool_), RECIPE).refusal is not None


def _drawn_box(half_pixels: int) -> np.ndarray:
    mask = np.zeros(SHAPE, np.bool_)
    mask[2:11, 60 - half_pixels : 61 + half_pixels, 70 - half_pixels : 71 + half_pixels] = True
    return mask


def test_a_drawn_box_is_taken_without_a_margin() -> None:
    """The lesion in it is found at 41 % of its PET maximum; slices without lesion are refused and counted."""
    hyper = prepare(ct(), pet(), _drawn_box(24), RECIPE, roi_is="box")
    assert [(r.slice_index, r.code) for r in hyper.refused] == [
        (2, RefusalCode.FOV_NO_TUMOUR),
        (10, RefusalCode.FOV_NO_TUMOUR),
    ]
    lesion_mm = [float(np.ptp(np.flatnonzero(ball()[z].any(axis=0))) + 1) * 0.9 for z in hyper.slice_index]
    assert [f.side_mm for f in hyper.frames] == pytest.approx([49 * 0.9] * 7)
    assert [f.margin_mm for f in hyper.frames] == pytest.approx([(49 * 0.9 - mm) / 2 for mm in lesion_mm])


def test_a_box_that_cuts_the_lesion_is_refused() -> None:
    """FOV_TRUNCATED: the lesion touches the drawn edge on most slices."""
    hyper = prepare(ct(), pet(), _drawn_box(4), RECIPE, roi_is="box")
    assert RefusalCode.FOV_TRUNCATED in {r.code for r in hyper.refused}


def test_a_narrow_box_that_cuts_the_lesion_is_refused() -> None:
    """The edge that counts is the one that was drawn: the square about it has room, and shows tumour that the reader left out."""
    mask = np.zeros(SHAPE, np.bool_)
    mask[5:8, 36:85, 67:74] = True
    hyper = prepare(ct(), pet(), mask, RECIPE, roi_is="box")
    assert {r.code for r in hyper.refused} == {RefusalCode.FOV_TRUNCATED}
    assert len(hyper.refused) == 3


def test_a_lesion_is_refused_with_the_most_frequent_code() -> None:
    """When every slice is: here the cut ones outnumber the empty ones."""
    mask = _drawn_box(2)
    mask[8:] = False
    mask[:4] = False
    hyper = prepare(ct(), pet(), mask, RECIPE, roi_is="box")
    assert hyper.refusal is not None
    assert hyper.refusal.code == RefusalCode.FOV_TRUNCATED
    assert len(hyper.refused) == 4


def test_an_empty_box_holds_no_tumour() -> None:
    """A box over PET of zeros has no lesion to estimate."""
    hyper = prepare(ct(), volume(np.zeros(SHAPE), pet().unit, "pet"), _drawn_box(20), RECIPE, roi_is="box")
    assert hyper.refusal is not None
    assert hyper.refusal.code == RefusalCode.FOV_NO_TUMOUR


@pytest.mark.parametrize(("policy", "refused"), [("warn", False), ("strict", True)])
def test_a_margin_outside_10_to_20_mm(policy: str, refused: bool) -> None:
    """A warning, or with `fov_policy: strict` a refusal of that slice."""
    hyper = prepare(ct(), pet(), _drawn_box(35), _recipe(fov_policy=policy), roi_is="box")
    assert (hyper.refusal is not None) == refused
    assert (RefusalCode.FOV_MARGIN in {r.code for r in hyper.refused}) == refused
    assert (WarningCode.FOV_MARGIN in _codes(hyper)) != refused


def _box_of(half_pixels: int, z: slice) -> np.ndarray:
    mask = np.zeros(SHAPE, np.bool_)
    mask[z, 20 - half_pixels : 21 + half_pixels, 30 - half_pixels : 31 + half_pixels] = True
    return mask


@pytest.mark.parametrize(("policy", "refused"), [("warn", False), ("strict", True)])
@pytest.mark.parametrize("factor", [1.0, 0.002, 1e4])
def test_a_region_without_uptake(policy: str, refused: bool, factor: float) -> None:
    """Drawn in lung, far from the tumour: a warning, or a refusal; without regard to the scale of the PET."""
    cold = replace(pet(), voxels=pet().voxels.clip(0.55, 0.65) * np.float32(factor))
    hyper = prepare(ct(), cold, _box_of(5, slice(2, 8)), _recipe(fov_policy=policy))
    assert (hyper.refusal is not None and hyper.refusal.code == RefusalCode.ROI_WITHOUT_UPTAKE) == refused
    assert (WarningCode.ROI_WITHOUT_UPTAKE in _codes(hyper)) != refused
    assert len(hyper.images) == (0 if refused else 6)


def test_uptake_beside_the_region_counts_against_it_only_as_the_rule_has_it() -> None:
    """A hot organ in less than half of the square leaves the tumour as it is; the square's own lesion is not around."""
    hot = pet().voxels.copy()
    hot[:, 60:, 100:] = 50.0
    assert _codes(prepare(ct(), replace(pet(), voxels=hot), ball(), RECIPE)) == set()


@pytest.mark.parametrize(("policy", "refused"), [("warn", False), ("strict", True)])
def test_too_few_slices(policy: str, refused: bool) -> None:
    """`min_slices` of the recipe: a warning, or a refusal."""
    mask = ball()
    mask[:6] = mask[8:] = False
    hyper = prepare(ct(), pet(), mask, _recipe(fov_policy=policy))
    assert (hyper.refusal is not None and hyper.refusal.code == RefusalCode.FEW_SLICES) == refused
    assert (WarningCode.FEW_SLICES in _codes(hyper)) != refused
    assert prepare(ct(), pet(), mask, _recipe(fov_policy=policy, min_slices=2)).refusal is None


@pytest.mark.parametrize("flat", ["ct", "pet"])
def test_strict_leaves_out_a_slice_whose_channel_has_one_value(flat: str) -> None:
    """With `fov_policy: strict` it is refused like a margin; the other slices are scored."""
    voxels = {"ct": ct(), "pet": pet()}[flat].voxels.copy()
    voxels[6] = 1.0
    volumes = {"ct": ct(), "pet": pet()} | {flat: volume(voxels, pet().unit, flat)}
    hyper = prepare(volumes["ct"], volumes["pet"], ball(), _recipe(fov_policy="strict"))
    assert [(r.slice_index, r.code) for r in hyper.refused] == [(6, RefusalCode.HYPERIMAGE_FLAT_CHANNEL)]
    assert 6 not in hyper.slice_index
    assert WarningCode.HYPERIMAGE_FLAT_CHANNEL not in _codes(hyper)
    constant = volume(np.full(SHAPE, 1.0), pet().unit, flat)
    none = prepare(*({"ct": ct(), "pet": pet()} | {flat: constant}).values(), ball(), _recipe(fov_policy="strict"))
    assert none.refusal is not None
    assert none.refusal.code == RefusalCode.HYPERIMAGE_FLAT_CHANNEL
    assert f"the {flat} channel" in none.refusal.message


def test_grids_that_differ_are_a_defect() -> None:
    """The caller must have put all three on the CT grid."""
    with pytest.raises(ValueError, match="differ in grid"):
        prepare(ct(), pet(), ball()[:-1], RECIPE)
