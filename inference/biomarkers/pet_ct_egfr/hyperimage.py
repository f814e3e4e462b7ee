"""From volumes and a lesion mask to the network's input: the published recipe, in mm (docs/reference/science.md A).

Training and serving call the same ``prepare``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from egfr_dls.refusals import RefusalCode, Remark, WarningCode
from egfr_dls.volume import Mask, Volume
from inference.biomarkers.pet_ct_egfr.field_of_view import Judgement, SliceView, judge
from inference.imaging.crop import Extent, Source, lesion_extent, padded_fraction, sample_square
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

AIR_HU = -1000.0
LOWEST_HU = -1024.0  # below the 12-bit scale: a vendor's filler outside the scan circle
BOX_LESION_FRACTION = 0.41  # of the SUV maximum: EANM contour, used to find the lesion in a drawn box
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
    roi_is: Literal["lesion", "box"] = "lesion",
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
    chosen = _slices(mask, ct, preprocessing.min_area_mm2)
    if not chosen:
        return _nothing(
            preprocessing,
            (),
            Remark(
                RefusalCode.ROI_TOO_SMALL,
                f"no CT slice holds {preprocessing.min_area_mm2:g} mm2 of the region "
                f"(largest {_largest_area_mm2(mask, ct):.1f} mm2); a region of at least that size is needed",
            ),
        )
    lesion = mask if roi_is == "lesion" else _lesion_in_box(mask, pet_on_ct)
    views = [_view(z, mask, lesion, ct, preprocessing, roi_is) for z in chosen]
    judged = [(view, judge(view, strict=preprocessing.fov_policy == "strict")) for view in views]
    refused = tuple(SliceRefusal(v.slice_index, j.refusal, j.message) for v, j in judged if j.refusal is not None)
    if len(refused) == len(judged):
        return _nothing(preprocessing, refused, _most_frequent(refused))
    return _images(ct, pet_on_ct, [(v, j) for v, j in judged if j.refusal is None], refused, preprocessing)


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


def _images(
    ct: Volume,
    pet_on_ct: Volume,
    accepted: list[tuple[SliceView, Judgement]],
    refused: tuple[SliceRefusal, ...],
    preprocessing: Preprocessing,
) -> HyperImages:
    pixel_mm = _pixel_mm(ct)
    images, frames, flat = [], [], Counter[str]()
    for view, _ in accepted:
        ct_slice, pet_slice = ct_source(ct, view.slice_index), pet_source(pet_on_ct, view.slice_index)
        pet_square = sample_square(pet_slice, view.box, pixel_mm, preprocessing.roi_size)
        ct_square = sample_square(ct_slice, view.box, pixel_mm, preprocessing.roi_size)
        if preprocessing.ct_window is not None:
            ct_square = np.clip(ct_square, *preprocessing.ct_window)
        image, without_contrast = hyper_image(
            grey_image(pet_square, preprocessing), grey_image(ct_square, preprocessing), preprocessing
        )
        images.append(image.astype(np.float32))
        frames.append(_frame(view, ct, padded_fraction(ct_slice.absent | pet_slice.absent, view.box, pixel_mm)))
        flat.update(without_contrast)
    warnings = (*_field_warnings(accepted), *_pixel_warnings(frames, flat))
    stacked = np.stack(images)
    stacked.setflags(write=False)
    return HyperImages(stacked, tuple(frames), refused, None, warnings)


def _frame(view: SliceView, ct: Volume, padded: float) -> SliceFrame:
    return SliceFrame(
        slice_index=view.slice_index,
        position_mm=ct.geometry.slice_position_mm(view.slice_index),
        box=view.box,
        pixels=view.box.in_pixels(_pixel_mm(ct)),
        side_mm=view.box.longest_mm,
        margin_mm=view.margin_mm,
        padded=padded,
    )


def _nothing(preprocessing: Preprocessing, refused: tuple[SliceRefusal, ...], refusal: Remark) -> HyperImages:
    shape = (0, len(preprocessing.channels), preprocessing.size, preprocessing.size)
    return HyperImages(np.zeros(shape, np.float32), (), refused, refusal, ())


def _most_frequent(refused: tuple[SliceRefusal, ...]) -> Remark:
    code, count = Counter(r.code for r in refused).most_common(1)[0]
    example = next(r.message for r in refused if r.code is code)
    return Remark(
        code, f"all {len(refused)} slices are refused by the field-of-view check, {count} of them so: {example}"
    )


def _pixel_mm(ct: Volume) -> tuple[float, float]:
    return ct.geometry.spacing_mm[1], ct.geometry.spacing_mm[2]


def _areas_mm2(mask: Mask, ct: Volume) -> NDArray[np.float64]:
    areas: NDArray[np.float64] = np.count_nonzero(mask, axis=(1, 2)) * float(np.prod(_pixel_mm(ct)))
    return areas


def _slices(mask: Mask, ct: Volume, min_area_mm2: float) -> list[int]:
    return [int(z) for z in np.flatnonzero(_areas_mm2(mask, ct) >= min_area_mm2)]


def _largest_area_mm2(mask: Mask, ct: Volume) -> float:
    return float(_areas_mm2(mask, ct).max(initial=0.0))


def _lesion_in_box(mask: Mask, pet: Volume) -> Mask:
    """Estimate the lesion inside a drawn box: at least 41 % of the box's PET maximum."""
    if not mask.any():
        return mask
    highest = float(pet.voxels[mask].max())
    inside: Mask = mask & (pet.voxels >= BOX_LESION_FRACTION * highest)
    return inside if highest > 0 else np.zeros_like(mask)


def _view(
    z: int, mask: Mask, lesion: Mask, ct: Volume, preprocessing: Preprocessing, roi_is: Literal["lesion", "box"]
) -> SliceView:
    """Place the square about the bounding box of slice or region, with a margin unless the box was drawn."""
    pixel_mm = _pixel_mm(ct)
    outline: Mask = mask[z] if preprocessing.box == "slice" else np.logical_or.reduce(mask, axis=0)
    region = lesion_extent(outline, pixel_mm)
    assert region is not None  # slices without region were not chosen
    box = region.square(preprocessing.margin_mm if roi_is == "lesion" else 0.0)
    return SliceView(
        slice_index=z,
        box=box,
        frame=box if roi_is == "lesion" else region,
        lesion=lesion_extent(lesion[z], pixel_mm),
    )


def ct_source(ct: Volume, z: int) -> Source:
    """Return one CT slice in HU; padding and fillers below the 12-bit scale count as absent, and become air."""
    pixels = ct.voxels[z]
    absent = pixels < LOWEST_HU
    return Source(pixels, absent if ct.padding is None else absent | ct.padding[z], AIR_HU)


def pet_source(pet: Volume, z: int) -> Source:
    """Return one PET slice; outside the PET field it is absent, and becomes 0."""
    pixels = pet.voxels[z]
    return Source(pixels, np.zeros(pixels.shape, np.bool_) if pet.padding is None else pet.padding[z], 0.0)


def _field_warnings(accepted: list[tuple[SliceView, Judgement]]) -> tuple[Remark, ...]:
    """Return one warning a code, with the number of slices and the first slice's sentence."""
    found: dict[WarningCode, list[str]] = {}
    for _, judgement in accepted:
        for code, message in judgement.warnings:
            found.setdefault(code, []).append(message)
    return tuple(Remark(code, f"{len(m)} of {len(accepted)} slices: {m[0]}") for code, m in found.items())


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
