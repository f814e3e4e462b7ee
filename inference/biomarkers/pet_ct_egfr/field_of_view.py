"""The field-of-view check: each square must hold the tumour with 10-20 mm around it (Mu et al. 2020).

The bounds on the side are ours; what decides is the distance between the lesion's longest extent and the square's
side. The shorter extent of an elongated lesion necessarily has more room and is not tested. Of the region as a whole it
is asked whether it is hotter than what lies around it, and whether it has slices enough; the bounds are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

from egfr_dls.refusals import RefusalCode, WarningCode
from inference.imaging.crop import Extent

MARGIN_MM = (10.0, 20.0)
LARGE_SIDE_MM = 150.0
LARGEST_SIDE_MM = 250.0
TOUCHING_MM = 1e-3
UPTAKE_RATIO = 1.5  # hottest pixel of the region to the median around it; free of scale, as the network is


@dataclass(frozen=True)
class SliceView:
    """The square on one CT slice, and the lesion in it (None: no lesion there).

    ``frame`` is the edge that the lesion must not touch: the square, or the rectangle that a reader drew.
    """

    slice_index: int
    box: Extent
    frame: Extent
    lesion: Extent | None

    @property
    def margin_mm(self) -> float:
        """Half of what the square's side leaves beside the lesion's longest extent; 0 without lesion."""
        return 0.0 if self.lesion is None else (self.box.longest_mm - self.lesion.longest_mm) / 2


@dataclass(frozen=True)
class Judgement:
    """Whether a slice is used, and what its reader must know."""

    refusal: RefusalCode | None = None
    message: str = ""
    warnings: tuple[tuple[WarningCode, str], ...] = ()


@dataclass(frozen=True)
class RegionView:
    """A region over all the slices that are left of it.

    ``hottest`` is its largest PET value there, ``around`` the median of the measured pixels in its squares but outside it;
    None where there are none.
    """

    n_slices: int
    hottest: float
    around: float | None


def judge_region(view: RegionView, *, min_slices: int, strict: bool) -> Judgement:
    """Check a region as a whole. ``strict`` refuses what is else warned of; the first refusal counts."""
    found = [
        (RefusalCode.ROI_WITHOUT_UPTAKE, WarningCode.ROI_WITHOUT_UPTAKE, _uptake_sentence(view)),
        (RefusalCode.FEW_SLICES, WarningCode.FEW_SLICES, _few_sentence(view.n_slices, min_slices)),
    ]
    if strict:
        refusal, message = next(((code, said) for code, _, said in found if said), (None, ""))
        return Judgement(refusal, message)
    return Judgement(warnings=tuple((code, said) for _, code, said in found if said))


def _uptake_sentence(view: RegionView) -> str:
    if view.around is None or view.hottest > UPTAKE_RATIO * max(view.around, 0.0):
        return ""
    return (
        f"the region's highest PET value is not above {UPTAKE_RATIO:g} times the median around it, "
        "as a tumour with FDG uptake has; the published network saw such tumours"
    )


def _few_sentence(n_slices: int, min_slices: int) -> str:
    if n_slices >= min_slices:
        return ""
    number = "1 slice" if n_slices == 1 else f"{n_slices} slices"
    return f"{number} can be scored; a mean and its spread need at least {min_slices}"


def judge(view: SliceView, *, strict: bool) -> Judgement:
    """Check one slice; the first refusal counts. ``strict`` refuses a margin outside 10-20 mm instead of warning."""
    side_mm = view.box.longest_mm
    if view.lesion is None:
        return Judgement(
            RefusalCode.FOV_NO_TUMOUR, "the square holds no lesion pixel; the network needs the tumour in it"
        )
    if view.frame.clearance_mm(view.lesion) < TOUCHING_MM:
        return Judgement(
            RefusalCode.FOV_TRUNCATED,
            "the lesion touches the edge of the drawn box; the whole tumour with at least 10 mm around it is needed",
        )
    if side_mm > LARGEST_SIDE_MM:
        return Judgement(
            RefusalCode.FOV_LARGE,
            f"the square has a side of {side_mm:.0f} mm; at most {LARGEST_SIDE_MM:.0f} mm is needed",
        )
    margin = _margin_sentence(view.margin_mm)
    if margin and strict:
        return Judgement(RefusalCode.FOV_MARGIN, margin)
    warnings = [(WarningCode.FOV_MARGIN, margin)] if margin else []
    if side_mm > LARGE_SIDE_MM:
        warnings.append(
            (WarningCode.FOV_LARGE, f"the square has a side of {side_mm:.0f} mm, more than {LARGE_SIDE_MM:.0f} mm")
        )
    return Judgement(warnings=tuple(warnings))


def _margin_sentence(margin_mm: float) -> str:
    low, high = MARGIN_MM
    if low - TOUCHING_MM <= margin_mm <= high + TOUCHING_MM:
        return ""
    return (
        f"{margin_mm:.1f} mm lie around the lesion; the published network was trained with {low:.0f} to {high:.0f} mm"
    )
