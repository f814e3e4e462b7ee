"""What the proposals of one phantom are worth: each lesion found or not and why, each false proposal and what it is."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks.proposals.hard_phantom import HardPhantom, make_hard_phantom
from benchmarks.proposals.rows import Row
from egfr_dls.volume import Mask
from inference.roi.proposal_rules import KEEP
from inference.roi.propose_pet import LesionSearch, search_lesions
from training_export.phantoms import PhantomLesion, make_phantom

HIT_SHARE = 0.2  # of the true lesion that one proposal covers
NEAR_MM = 8.0  # a hot spot this near to a lesion was its
NO_HOT_SPOT = "no hot spot: blurred below what makes a seed, or part of another region"
NOTHING_KNOWN = "nothing that was drawn as hot"


@dataclass(frozen=True)
class LesionTally:
    """A true lesion: ``dice`` of the best proposal; ``missed_because`` is None where a proposal covers it."""

    diameter_mm: float
    suv_max: float
    dice: float
    missed_because: str | None


@dataclass(frozen=True)
class ScanTally:
    """One scan: its lesions, what each false proposal touches, whether the first proposal covers a lesion, CPU seconds."""

    row: Row
    seed: int
    lesions: tuple[LesionTally, ...]
    false: tuple[str, ...]
    first_is_right: bool
    cpu_seconds: float


def tally_seed(row: Row, seed: int) -> ScanTally:
    """Make the phantom of a row's seed and count what is proposed on it."""
    hard = (
        HardPhantom(make_phantom(seed), {}) if row.difficulties is None else make_hard_phantom(seed, row.difficulties)
    )
    phantom = hard.phantom
    begun = time.process_time()
    search = search_lesions(phantom.pet_suv, phantom.ct_hu)
    seconds = time.process_time() - begun
    found = [proposal.on(phantom.ct_hu.geometry) for proposal in search.proposals[:KEEP]]
    return ScanTally(
        row=row,
        seed=seed,
        lesions=tuple(_lesion(lesion, found, search) for lesion in phantom.lesions),
        false=tuple(_touched(f, hard.decoys) for f in found if not any((x.mask & f).any() for x in phantom.lesions)),
        first_is_right=bool(found) and any(_covers(found[0], lesion.mask) for lesion in phantom.lesions),
        cpu_seconds=seconds,
    )


def dice(a: Mask, b: Mask) -> float:
    """Return the overlap of two masks: 2 |A and B| / (|A| + |B|)."""
    both = np.count_nonzero(a) + np.count_nonzero(b)
    return float(2 * np.count_nonzero(a & b) / both) if both else 0.0


def _covers(found: Mask, lesion: Mask) -> bool:
    return bool(np.count_nonzero(lesion & found) > HIT_SHARE * np.count_nonzero(lesion))


def _lesion(lesion: PhantomLesion, found: list[Mask], search: LesionSearch) -> LesionTally:
    covered = any(_covers(f, lesion.mask) for f in found)
    return LesionTally(
        diameter_mm=lesion.diameter_mm,
        suv_max=lesion.suv_max,
        dice=max((dice(lesion.mask, f) for f in found), default=0.0),
        missed_because=None if covered else _why_missed(lesion, search),
    )


def _why_missed(lesion: PhantomLesion, search: LesionSearch) -> str:
    """Return why the hottest spot at a lesion was passed over."""
    reach_mm = lesion.diameter_mm / 2 + NEAR_MM
    near = [
        passed
        for passed in search.passed_over
        if np.linalg.norm(np.subtract(passed.position_mm, lesion.centre_mm)) <= reach_mm
    ]
    return max(near, key=lambda passed: passed.suv).reason.value if near else NO_HOT_SPOT


def _touched(found: Mask, decoys: Mapping[str, Mask]) -> str:
    shares = {cause: np.count_nonzero(mask & found) for cause, mask in decoys.items()}
    cause = max(shares, key=shares.__getitem__, default=NOTHING_KNOWN)
    return cause if shares.get(cause) else NOTHING_KNOWN
