"""The scored slices of a study as pictures: which are shown, on which scales, and what is drawn over them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from egfr_dls.evidence import LesionEvidence
from egfr_dls.findings import LesionFinding, SliceFinding
from reporting.context import ReportContext
from reporting.page_content import Panel

MAX_SLICE_PAGES = 12
CT_WINDOW_HU = (-1000.0, 400.0)
MIN_PET_RANGE = 5.0  # SUV shown black, at least


@dataclass(frozen=True, eq=False)
class ScoredSlice:
    """A slice with its score and its pixels; ``index`` counts within the lesion."""

    lesion: LesionFinding
    evidence: LesionEvidence
    index: int

    @property
    def finding(self) -> SliceFinding:
        """The slice's scores and position."""
        return self.lesion.slices[self.index]


def scored_slices(context: ReportContext) -> list[ScoredSlice]:
    """Return every scored slice that has pixels, lesion by lesion, along the slice normal."""
    return [
        ScoredSlice(lesion, evidence, index)
        for lesion in context.findings.lesions
        if (evidence := context.evidence_of(lesion)) is not None
        for index in range(min(len(lesion.slices), len(evidence.ct_hu)))
    ]


def key_slices(slices: list[ScoredSlice]) -> list[ScoredSlice]:
    """Return at most ``MAX_SLICE_PAGES`` of the slices, evenly chosen, first and last among them."""
    if len(slices) <= MAX_SLICE_PAGES:
        return slices
    chosen = np.linspace(0, len(slices) - 1, MAX_SLICE_PAGES).round().astype(int)
    return [slices[i] for i in chosen]


def anatomy_panels(context: ReportContext, shown: ScoredSlice, whose: str = "") -> tuple[Panel, ...]:
    """Return the slice on CT and PET; ``whose`` stands in the captions."""
    evidence, index = shown.evidence, shown.index
    low, high = CT_WINDOW_HU
    ct = np.clip((evidence.ct_hu[index].astype(np.float64) - low) / (high - low), 0, 1)
    upper = pet_range(context)
    pet = 1 - np.clip(np.nan_to_num(evidence.pet[index].astype(np.float64)) / upper, 0, 1)
    unit = f"SUV 0 to {upper:g}" if context.evidence.pet_is_suv else "relative units"
    where = f"{shown.finding.position_mm:.1f} mm"
    return (
        _panel(context, shown, ct, f"CT, {whose}{where}, {low:.0f} to {high:.0f} HU"),
        _panel(context, shown, pet, f"PET, {whose}{where}, {unit}, dark = high"),
    )


def pet_range(context: ReportContext) -> float:
    """Return the PET value that is shown black: one for all pages, rounded up; the maximum where it is no SUV."""
    highest = max((float(np.nanmax(e.pet, initial=0.0)) for e in context.evidence.lesions), default=0.0)
    if not context.evidence.pet_is_suv:
        return highest or 1.0
    return max(MIN_PET_RANGE, float(np.ceil(highest)))


def map_panels(context: ReportContext, shown: ScoredSlice) -> tuple[Panel, ...]:
    """Return the activation maps of both patterns over the CT; none where the network gives none."""
    evidence, index = shown.evidence, shown.index
    maps = [cam for cam in (evidence.cam_positive, evidence.cam_negative) if cam is not None]
    if len(maps) < 2:
        return ()
    low, high = CT_WINDOW_HU
    ct = np.clip((evidence.ct_hu[index].astype(np.float64) - low) / (high - low), 0, 1)
    shares = (np.clip(cam[index].astype(np.float64) / map_scale(context), 0, 1) for cam in maps)
    return tuple(
        _panel(context, shown, ct, f"Activation, {name} pattern, peak {share.max():.2f}", share)
        for name, share in zip(("EGFR-mutant", "wild-type"), shares, strict=True)
    )


def map_scale(context: ReportContext) -> float:
    """Return the maximum of all activation maps: one scale, so that a filter that is nearly shut looks so."""
    maps = [m for e in context.evidence.lesions for m in (e.cam_positive, e.cam_negative) if m is not None]
    return max((float(np.max(m, initial=0.0)) for m in maps), default=0.0) or 1.0


def _panel(
    context: ReportContext,
    shown: ScoredSlice,
    grey: NDArray[np.float64],
    caption: str,
    overlay: NDArray[np.float64] | None = None,
) -> Panel:
    evidence = shown.evidence
    row0, column0, row1, column1 = (int(v) for v in evidence.box[shown.index])
    return Panel(
        caption=caption,
        grey=grey,
        outline=evidence.roi[shown.index],
        overlay=overlay,
        box=(row0, column0, row1, column1),
        pixel_mm=evidence.pixel_mm,
        edges=_edges(context, shown),
    )


def _edges(context: ReportContext, shown: ScoredSlice) -> tuple[str, str]:
    """Return the anatomical letters of the left and the upper edge (PS3.3 C.7.6.1.1.1)."""
    orientation = [float(v) for v in context.image(shown.finding.ct_sop_instance_uid).ImageOrientationPatient]
    return _letter(orientation[:3]), _letter(orientation[3:])


def _letter(direction: list[float]) -> str:
    """Return the letter at the edge where an image axis begins: it grows towards the opposite side."""
    axis = int(np.argmax(np.abs(direction)))
    return ("RL", "AP", "FH")[axis][0 if direction[axis] > 0 else 1]
