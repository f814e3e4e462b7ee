"""From volumes and a lesion mask to the network's input: the published recipe, in mm (docs/reference/science.md A).

Training and serving call the same ``prepare``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from egfr_dls.refusals import RefusalCode, Remark, WarningCode
from egfr_dls.volume import Mask, Volume
from inference.biomarkers.contract import RoiIs
from inference.biomarkers.pet_ct_egfr.field_of_view import Judgement, SliceView, judge, judge_region
from inference.biomarkers.pet_ct_egfr.squares import (
    areas_mm2,
    ct_source,
    lesion_in_box,
    pet_source,
    pixel_mm,
    region_view,
    views_of,
)
from inference.imaging.crop import Extent, padded_fraction, sample_square
from inference.imaging.fusion import FUSIONS
from inference.imaging.normalize import (
    Image,
    floor_second_smallest,
    is_flat,
    min_max,
    quantise_8bit,
    resize_nearest,
    z_score,
)
from inference.models.manifest import Preprocessing

PADDED_WARNING_FRACTION = 0.25


@dataclass(frozen=True)
class SliceFrame:
    """Where one hyper-image was taken.

    ``position_mm`` is along the slice normal (LPS), ``pixels`` are row0, column0, row1, column1 on the CT grid (ends
    excluded), ``padded`` the share of the box without measurement.
    """

    slice_index: int
    position_mm: float
    box: Extent
    pixels: tuple[int, int, int, int]
    side_mm: float
    margin_mm: float
    padded: float


@dataclass(frozen=True)
class SliceRefusal:
    """A slice that the field-of-view check takes out of the mean."""

    slice_index: int
    code: RefusalCode
    message: str


@dataclass(frozen=True, eq=False)
class HyperImages:
    """The network input of one lesion: float32 ``[slices, 3, size, size]``, channels PET, CT, FUSE.

    ``frames`` has one entry an image. ``refusal`` says why there is no image at all, and is None where there is one.
    """

    images: NDArray[np.float32]
    frames: tuple[SliceFrame, ...]
    refused: tuple[SliceRefusal, ...]
    refusal: Remark | None
    warnings: tuple[Remark, ...]

    @property
    def slice_index(self) -> tuple[int, ...]:
        """CT slice of each image."""
        return tuple(frame.slice_index for frame in self.frames)


def prepare(
    ct: Volume,
    pet_on_ct: Volume,
    mask: Mask,
    preprocessing: Preprocessing,
    *,
    roi_is: RoiIs = "lesion",
) -> HyperImages:
    """Return the hyper-images of one lesion, one for each axial CT slice that is large enough.

    Parameters
    ----------
    ct
        HU
    pet_on_ct
        any PET unit, on the grid of ``ct``; the result does not depend on its scale
    mask
        bool ``[z, y, x]`` on the grid of ``ct``: the lesion, or the box drawn about it where ``roi_is`` is ``"box"``
    """
    if not (mask.shape == ct.voxels.shape == pet_on_ct.voxels.shape):
        raise ValueError(f"mask {mask.shape}, CT {ct.voxels.shape} and PET {pet_on_ct.voxels.shape} differ in grid")
    lesion = mask if roi_is == "lesion" else lesion_in_box(mask, pet_on_ct)
    views = views_of(mask, lesion, ct, preprocessing, roi_is)
    if not views:
        return _nothing(preprocessing, (), _too_small(mask, ct, preprocessing.min_area_mm2))
    strict = preprocessing.fov_policy == "strict"
    made, refused = _made(ct, pet_on_ct, views, preprocessing)
    if not made:
        return _nothing(preprocessing, refused, _most_frequent(refused))
    whole = judge_region(
        region_view(pet_on_ct, lesion, [m.view for m in made]), min_slices=preprocessing.min_slices, strict=strict
    )
    if whole.refusal is not None:
        return _nothing(preprocessing, refused, Remark(whole.refusal, whole.message))
    return _images(made, refused, whole)


def hyper_image(pet: Image, ct: Image, preprocessing: Preprocessing) -> tuple[Image, tuple[str, ...]]:
    """Return ``[3, size, size]`` from two grey images (A2, steps 2-6), and the names of channels without contrast."""
    n, ddof = preprocessing.size, preprocessing.zscore_ddof
    small = {"pet": resize_nearest(pet, n), "ct": resize_nearest(ct, n)}
    if preprocessing.quantise_8bit and preprocessing.floor == "second_smallest":
        small = {name: floor_second_smallest(image) for name, image in small.items()}
    channels = {name: z_score(min_max(image), ddof) for name, image in small.items()}
    channels["fuse"] = FUSIONS[preprocessing.fuse](small["pet"], small["ct"], ddof)
    flat = tuple(name for name, image in small.items() if is_flat(image))
    return np.stack([channels[name] for name in preprocessing.channels]), flat


def grey_image(square: Image, preprocessing: Preprocessing) -> Image:
    """Return the sampled square as the published network saw it: 8-bit grey levels of its own range (A5, step 5)."""
    return quantise_8bit(square) if preprocessing.quantise_8bit else square


@dataclass(frozen=True, eq=False)
class _Made:
    """One slice that is scored: its image, where it was taken, and what is warned of."""

    view: SliceView
    image: NDArray[np.float32]
    frame: SliceFrame
    warnings: tuple[tuple[WarningCode, str], ...]
    flat: tuple[str, ...]


def _made(
    ct: Volume, pet_on_ct: Volume, views: Sequence[SliceView], preprocessing: Preprocessing
) -> tuple[list[_Made], tuple[SliceRefusal, ...]]:
    """Return the slices that are scored, and those that the check takes out."""
    strict = preprocessing.fov_policy == "strict"
    made, refused = [], []
    for view in views:
        judgement = judge(view, strict=strict)
        if judgement.refusal is not None:
            refused.append(SliceRefusal(view.slice_index, judgement.refusal, judgement.message))
            continue
        one = _make(ct, pet_on_ct, view, judgement, preprocessing)
        if strict and one.flat:
            message = f"the {one.flat[0]} channel has one value in the whole square; a square with contrast is needed"
            refused.append(SliceRefusal(view.slice_index, RefusalCode.HYPERIMAGE_FLAT_CHANNEL, message))
        else:
            made.append(one)
    return made, tuple(refused)


def _make(ct: Volume, pet_on_ct: Volume, view: SliceView, judgement: Judgement, preprocessing: Preprocessing) -> _Made:
    ct_slice, pet_slice = ct_source(ct, view.slice_index), pet_source(pet_on_ct, view.slice_index)
    pet_square = sample_square(pet_slice, view.box, pixel_mm(ct), preprocessing.roi_size)
    ct_square = sample_square(ct_slice, view.box, pixel_mm(ct), preprocessing.roi_size)
    if preprocessing.ct_window is not None:
        ct_square = np.clip(ct_square, *preprocessing.ct_window)
    image, flat = hyper_image(
        grey_image(pet_square, preprocessing), grey_image(ct_square, preprocessing), preprocessing
    )
    padded = padded_fraction(ct_slice.absent | pet_slice.absent, view.box, pixel_mm(ct))
    return _Made(view, image.astype(np.float32), _frame(view, ct, padded), judgement.warnings, flat)


def _images(made: Sequence[_Made], refused: tuple[SliceRefusal, ...], whole: Judgement) -> HyperImages:
    frames = [one.frame for one in made]
    warnings = (
        *_field_warnings(made),
        *(Remark(code, message) for code, message in whole.warnings),
        *_pixel_warnings(frames, Counter(name for one in made for name in one.flat)),
    )
    stacked = np.stack([one.image for one in made])
    stacked.setflags(write=False)
    return HyperImages(stacked, tuple(frames), refused, None, warnings)


def _frame(view: SliceView, ct: Volume, padded: float) -> SliceFrame:
    return SliceFrame(
        slice_index=view.slice_index,
        position_mm=ct.geometry.slice_position_mm(view.slice_index),
        box=view.box,
        pixels=view.box.in_pixels(pixel_mm(ct)),
        side_mm=view.box.longest_mm,
        margin_mm=view.margin_mm,
        padded=padded,
    )


def _nothing(preprocessing: Preprocessing, refused: tuple[SliceRefusal, ...], refusal: Remark) -> HyperImages:
    shape = (0, len(preprocessing.channels), preprocessing.size, preprocessing.size)
    return HyperImages(np.zeros(shape, np.float32), (), refused, refusal, ())


def _too_small(mask: Mask, ct: Volume, min_area_mm2: float) -> Remark:
    return Remark(
        RefusalCode.ROI_TOO_SMALL,
        f"no CT slice holds {min_area_mm2:g} mm2 of the region "
        f"(largest {float(areas_mm2(mask, ct).max(initial=0.0)):.1f} mm2); a region of at least that size is needed",
    )


def _most_frequent(refused: tuple[SliceRefusal, ...]) -> Remark:
    code, count = Counter(r.code for r in refused).most_common(1)[0]
    example = next(r.message for r in refused if r.code is code)
    return Remark(
        code, f"all {len(refused)} slices are refused by the field-of-view check, {count} of them so: {example}"
    )


def _field_warnings(made: Sequence[_Made]) -> tuple[Remark, ...]:
    """Return one warning a code, with the number of slices and the first slice's sentence."""
    found: dict[WarningCode, list[str]] = {}
    for one in made:
        for code, message in one.warnings:
            found.setdefault(code, []).append(message)
    return tuple(Remark(code, f"{len(m)} of {len(made)} slices: {m[0]}") for code, m in found.items())


def _pixel_warnings(frames: list[SliceFrame], flat: Counter[str]) -> tuple[Remark, ...]:
    padded = [f for f in frames if f.padded > PADDED_WARNING_FRACTION]
    warnings = []
    if padded:
        worst = max(f.padded for f in padded)
        warnings.append(
            Remark(
                WarningCode.CROP_PADDED,
                f"{len(padded)} of {len(frames)} slices: up to {worst:.0%} of the square has no measured pixel "
                "(outside the image or padding), more than a quarter",
            )
        )
    warnings.extend(
        Remark(
            WarningCode.HYPERIMAGE_FLAT_CHANNEL,
            f"{count} of {len(frames)} slices: the {name} channel has one value in the whole square; zeros were used",
        )
        for name, count in sorted(flat.items())
    )
    return tuple(warnings)
