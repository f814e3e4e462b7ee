"""A PET and a CT made comparable, and how much one says of the other at a place: Mattes mutual information. Pure.

References
----------
Mattes et al., IEEE Trans Med Imaging 2003;22(1):120-128: PET to CT of the chest by mutual information.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray
from scipy import ndimage

from egfr_dls.errors import StudyRefusedError
from egfr_dls.refusals import RefusalCode
from egfr_dls.volume import FloatVolume, Geometry, Mask, Volume
from inference.imaging.lung_field import find_body
from inference.imaging.resample import Interpolation, bounding_box, cropped, image_of, isotropic, volume_onto

sitk: Any = SimpleITK  # its functions carry no types
Vector = tuple[float, float, float]  # x, y, z
NOWHERE: Vector = (0.0, 0.0, 0.0)

SEARCH_MM, FINE_MM = 8.0, 4.0  # cubes of the search along the patient, and of the estimate
SEARCH_STEP_MM = 16.0
SHARED_FIELD = 0.6  # of the shorter of two fields; the information of a small overlap says nothing
SEARCH_SAMPLES, FINE_SAMPLES = 8_000, 30_000  # voxels of the CT that are drawn, always the same ones
BINS, SEED = 32, 1
CT_RANGE_HU = (-1000.0, 300.0)  # contrast medium and metal above are not what a PET shows
PET_QUANTILE = 0.99  # heart and bladder would leave the rest of the body two grey levels
SKIN_FRACTION = 0.25  # of the uptake of soft tissue: between it and the air
MARGIN = 3  # search cubes of air around the body, whose contour needs them
AIR_HU = -1000.0


@dataclass(frozen=True, eq=False)
class Pair:
    """Both images in cubes of ``SEARCH_MM``: the CT's body with a margin of air, and the square root of the uptake.

    ``highest`` is the uptake at which the PET is cut. ``centre`` is the middle of the body in x and y and that of the field
    in z, LPS mm; ``apart`` how far the middle of the PET's body lies from it in x and y.
    """

    ct: FloatVolume
    ct_grid: Geometry
    body: Mask
    pet: FloatVolume
    pet_grid: Geometry
    highest: float
    centre: NDArray[np.float64]
    apart: NDArray[np.float64]

    @staticmethod
    def of(pet: Volume, ct: Volume) -> Pair:
        """Prepare a pair.

        Raises
        ------
        StudyRefusedError
            ``REGISTRATION_IMPLAUSIBLE``: one of the images shows nothing
        """
        ct_grid, pet_grid = isotropic(ct.geometry, SEARCH_MM), isotropic(pet.geometry, SEARCH_MM)
        hu = volume_onto(ct.voxels, ct.geometry, ct_grid, Interpolation.LINEAR, AIR_HU)
        uptake = volume_onto(pet.voxels, pet.geometry, pet_grid, Interpolation.LINEAR)
        body, highest = find_body(hu), float(np.quantile(uptake, PET_QUANTILE))
        if not body.any() or highest <= 0:
            raise implausible(pet, ct, "the PET shows no uptake" if body.any() else "the CT shows no body", "a patient")
        box = bounding_box(body, MARGIN)
        grid, shown = cropped(ct_grid, box), compressed(uptake, highest)
        middle = _middle(body[box], grid)
        centre = np.array([middle[0], middle[1], extent(grid)[:, 2].mean()])
        apart = (_middle(warm(shown), pet_grid) - middle) * (1.0, 1.0, 0.0)
        return Pair(np.clip(hu[box], *CT_RANGE_HU), grid, body[box], shown, pet_grid, highest, centre, apart)

    def motion(self, shift_mm: Vector, turn: Vector = NOWHERE) -> Any:
        """Return the motion from CT to PET positions: a turn about the centre (radians), then a shift."""
        motion = sitk.Euler3DTransform()
        motion.SetCenter(tuple(self.centre))
        motion.SetRotation(*turn)
        motion.SetTranslation(shift_mm)
        return motion

    def shares_field(self, shift_mm: Vector) -> bool:
        """Whether the CT's body, shifted, has enough in common with the PET's field along each patient axis."""
        ours, theirs = extent(self.ct_grid) + shift_mm, extent(self.pet_grid)
        common = np.minimum(ours[1], theirs[1]) - np.maximum(ours[0], theirs[0])
        return bool((common >= SHARED_FIELD * np.minimum(np.ptp(ours, axis=0), np.ptp(theirs, axis=0))).all())

    def starts(self, turn: Vector = NOWHERE) -> list[tuple[float, Vector]]:
        """Return (information, shift) of places along the patient, the bodies' middles one above the other."""
        ours, theirs = extent(self.ct_grid)[:, 2], extent(self.pet_grid)[:, 2]
        shared = SHARED_FIELD * min(np.ptp(ours), np.ptp(theirs))
        heights = np.arange(theirs[0] + shared - ours[1], theirs[1] - shared - ours[0] + 1e-6, SEARCH_STEP_MM)
        shifts = [triple(self.apart + np.array([0.0, 0.0, z])) for z in heights]
        return [(self.information(self.motion(s, turn)), s) for s in shifts if self.shares_field(s)]

    def information(self, motion: Any) -> float:
        """Return the mutual information at a place, nats; 0 where the images do not meet."""
        method = _method(SEARCH_SAMPLES, self.ct_grid)
        method.SetMetricUseFixedImageGradientFilter(False)  # a value needs none, and they are most of the work
        method.SetMetricUseMovingImageGradientFilter(False)
        method.SetInitialTransform(motion)
        try:
            return -float(method.MetricEvaluate(image_of(self.ct, self.ct_grid), image_of(self.pet, self.pet_grid)))
        except RuntimeError:  # ITK: "All samples map outside moving image buffer"
            return 0.0

    def overlap(self, placed: Geometry) -> float:
        """Return the Dice overlap of the bodies where both were measured, the PET's grid lying at ``placed``."""
        shown = volume_onto(self.pet, placed, self.ct_grid, Interpolation.LINEAR, -1.0)
        measured = shown >= 0
        ours, theirs = self.body & measured, warm(np.maximum(shown, 0.0)) & measured
        both = float(np.count_nonzero(ours) + np.count_nonzero(theirs))
        return 2 * float(np.count_nonzero(ours & theirs)) / both if both else 0.0


def refined(pet: Volume, ct: Volume, pair: Pair, shift_mm: Vector) -> Any:
    """Return the motion of the most information near a start, in cubes of ``FINE_MM``, in one thread: bytes repeat.

    Raises
    ------
    StudyRefusedError
        ``REGISTRATION_IMPLAUSIBLE``: the images lose each other on the way
    """
    fine_grid, pet_grid = isotropic(pair.ct_grid, FINE_MM), isotropic(pet.geometry, FINE_MM)
    hu = volume_onto(ct.voxels, ct.geometry, fine_grid, Interpolation.LINEAR, AIR_HU)
    uptake = volume_onto(pet.voxels, pet.geometry, pet_grid, Interpolation.LINEAR)
    motion, method = pair.motion(shift_mm), _method(FINE_SAMPLES, fine_grid)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=4.0, minStep=0.02, numberOfIterations=60, relaxationFactor=0.6, gradientMagnitudeTolerance=1e-5
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([2, 1])
    method.SetSmoothingSigmasPerLevel([FINE_MM, 0.0])
    method.SetSmoothingSigmasAreSpecifiedInPhysicalUnits(True)
    method.SetInitialTransform(motion, inPlace=True)
    try:
        method.Execute(
            image_of(np.clip(hu, *CT_RANGE_HU), fine_grid), image_of(compressed(uptake, pair.highest), pet_grid)
        )
    except RuntimeError:
        raise implausible(pet, ct, "the images lose each other", "two images of one chest") from None
    return motion


def _method(samples: int, grid: Geometry) -> Any:
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetNumberOfWorkUnits(1)  # the order of sums decides the last bits
    method.SetMetricAsMattesMutualInformation(numberOfHistogramBins=BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(min(samples / float(np.prod(grid.shape)), 1.0), SEED)
    method.SetInterpolator(sitk.sitkLinear)
    return method


def implausible(pet: Volume, ct: Volume, found: str, needed: str) -> StudyRefusedError:
    """Return the refusal of an estimate."""
    shared = share_frame(pet, ct)
    otherwise = "score it without registration" if shared else "send the CT of the PET's frame of reference"
    return StudyRefusedError(
        RefusalCode.REGISTRATION_IMPLAUSIBLE,
        f"{frames(pet, ct)}, and the PET cannot be placed on the CT from the images: {found}. "
        f"Needed: {needed}; or {otherwise}.",
    )


def share_frame(pet: Volume, ct: Volume) -> bool:
    """Whether the headers place both in one frame of reference; a missing one is none."""
    return pet.frame_of_reference_uid == ct.frame_of_reference_uid != ""


def frames(pet: Volume, ct: Volume) -> str:
    """Name both frames of reference, or say why a shared one does not do."""
    if share_frame(pet, ct):
        return f"FrameOfReferenceUID (0020,0052) is {ct.frame_of_reference_uid} in CT and PET, and registration was asked for"
    ours, theirs = (v.frame_of_reference_uid or "missing" for v in (ct, pet))
    return f"FrameOfReferenceUID (0020,0052) of the CT is {ours}, of the PET {theirs}"


def compressed(uptake: FloatVolume, highest: float) -> FloatVolume:
    """Return the square root of the uptake up to ``highest``: lung and muscle apart, tumours not far above."""
    root: FloatVolume = np.sqrt(np.clip(uptake, 0.0, highest))
    return root


def warm(shown: FloatVolume) -> Mask:
    """Return the body that a compressed PET shows, its cold parts filled slice by slice."""
    uptake = shown**2
    tissue = np.median(uptake[uptake > 0.5 * uptake.mean()]) if uptake.any() else 1.0
    return np.stack([ndimage.binary_fill_holes(section) for section in uptake > SKIN_FRACTION * tissue])


def extent(grid: Geometry) -> NDArray[np.float64]:
    """Return the lowest and highest position of voxel centres, ``[2, 3]``, LPS mm."""
    corners = np.array([(x, y, z, 1.0) for x, y, z in product(*((0, n - 1) for n in reversed(grid.shape)))])
    positions = corners @ grid.index_to_mm[:3].T
    return np.stack([positions.min(axis=0), positions.max(axis=0)])


def triple(values: Any) -> Vector:
    """Return three numbers as Python floats."""
    x, y, z = (float(v) for v in values)
    return x, y, z


def _middle(mask: Mask, grid: Geometry) -> NDArray[np.float64]:
    """Return the mean position of a mask, LPS mm."""
    z, y, x = np.argwhere(mask).mean(axis=0)
    middle: NDArray[np.float64] = grid.index_to_mm[:3] @ np.array([x, y, z, 1.0])
    return middle
