"""The real study of the reference data: its proposals beside its stored segments, and the time of each step on one core."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from pydicom import Dataset

from benchmarks.proposals.tally import dice
from egfr_dls.volume import Mask, Volume
from inference.imaging.resample import Interpolation, isotropic, volume_onto
from inference.imaging.suv import assess_suv
from inference.read.ct import read_ct
from inference.read.folder import read_folder
from inference.read.pet import pet_slices, read_pet
from inference.read.series import group_series
from inference.roi.proposal_rules import GRID_MM, KEEP
from inference.roi.propose_pet import search_lesions
from inference.roi.seg import SEGMENTATION_CLASSES, segment_facts, segment_masks

REPOSITORY = Path(__file__).parents[2]
FOLDER = Path(os.environ.get("SHARED_DATA", REPOSITORY.parent / "shared" / "data")) / "petct_lung_acrin042"
PET, CT = "PT_PET_AC_081015", "CT_CT_IMAGES_858561"
ROUNDS = 3
T = TypeVar("T")


@dataclass(frozen=True)
class Overlap:
    """A proposal beside a stored segment, on the grid of the images that the segment refers to."""

    segment: str
    segment_ml: float
    of_proposal: float
    of_segment: float
    dice: float
    hottest_inside: bool


@dataclass(frozen=True)
class RealProposal:
    """A proposal on the real study."""

    volume_ml: float
    suv_max: float
    parts: int
    overlaps: tuple[Overlap, ...]


@dataclass(frozen=True)
class RealStudy:
    """What is proposed on the real study, and the CPU seconds of each step."""

    proposals: tuple[RealProposal, ...]
    cpu_seconds: Mapping[str, float]
    proposing_seconds: float


def measure_real_study(folder: Path) -> RealStudy:
    """Read the study as the service does, propose, compare with every stored segment."""
    seconds: dict[str, float] = {}
    pet = _timed(seconds, "reading and decoding the PET (135 slices, JPEG-LS)", lambda: _read_pet(folder / PET), 1)
    ct = _timed(
        seconds, "reading and decoding the CT (135 slices of 512 × 512, JPEG-LS)", lambda: _read_ct(folder / CT), 1
    )
    search = _timed(seconds, "proposing", lambda: search_lesions(pet, ct), ROUNDS)
    proposing = seconds["proposing"]
    _timed(seconds, "of which: PET and CT onto the search grid", lambda: _resampled(pet, ct), ROUNDS)
    segments = [segment for ds in _segmentations(folder) for segment in _segments(ds, pet, ct)]
    proposals = []
    for proposal in search.proposals[:KEEP]:
        on_pet = proposal.on(pet.geometry)
        overlaps = tuple(_overlap(name, mask, proposal.on(home.geometry), home, pet) for name, mask, home in segments)
        proposals.append(RealProposal(proposal.volume_ml, float(pet.voxels[on_pet].max()), proposal.parts, overlaps))
    return RealStudy(tuple(proposals), seconds, proposing)


def _timed(seconds: dict[str, float], step: str, work: Callable[[], T], rounds: int) -> T:
    """Do something and keep its CPU seconds: the median of some rounds."""
    taken = []
    for _ in range(rounds):
        begun = time.process_time()
        done = work()
        taken.append(time.process_time() - begun)
    seconds[step] = statistics.median(taken)
    return done


def _read_pet(folder: Path) -> Volume:
    (series,) = group_series(read_folder(folder).datasets)
    return read_pet(series, assess_suv(pet_slices(series)).scale)


def _read_ct(folder: Path) -> Volume:
    (series,) = group_series(read_folder(folder).datasets)
    return read_ct(series)


def _resampled(pet: Volume, ct: Volume) -> None:
    grid = isotropic(pet.geometry, GRID_MM)
    for volume in (pet, ct):
        volume_onto(volume.voxels, volume.geometry, grid, Interpolation.LINEAR)


def _segmentations(folder: Path) -> list[Dataset]:
    return [
        ds
        for part in sorted(folder.glob("SEG_*"))
        for ds in read_folder(part).datasets
        if ds.SOPClassUID in SEGMENTATION_CLASSES
    ]


def _segments(ds: Dataset, pet: Volume, ct: Volume) -> list[tuple[str, Mask, Volume]]:
    """Return name, mask and home of each segment, on the images that the object refers to."""
    for home in (pet, ct):
        if segment_facts(ds)[0].reference.is_on(home):
            return [(roi.label, roi.mask, home) for roi in segment_masks(ds, home, None)]
    return []


def _overlap(name: str, segment: Mask, proposal: Mask, home: Volume, pet: Volume) -> Overlap:
    both = np.count_nonzero(segment & proposal)
    uptake = volume_onto(pet.voxels, pet.geometry, home.geometry, Interpolation.LINEAR)
    hottest = np.unravel_index(np.where(proposal, uptake, -1.0).argmax(), proposal.shape)
    return Overlap(
        segment=name,
        segment_ml=np.count_nonzero(segment) * home.geometry.voxel_ml,
        of_proposal=both / np.count_nonzero(proposal),
        of_segment=both / np.count_nonzero(segment),
        dice=dice(segment, proposal),
        hottest_inside=bool(segment[hottest]),
    )
