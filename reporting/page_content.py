"""What stands on each page image, as values: a test reads them without looking at pixels.

The first page is the summary; one page follows for each key slice. A refusal has the summary alone. No patient name,
ID or date of birth is burned in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from egfr_dls import codes
from egfr_dls.evidence import LesionEvidence
from egfr_dls.findings import LesionFinding, SliceFinding
from egfr_dls.volume import Mask
from reporting import wording
from reporting.context import ReportContext

MAX_SLICE_PAGES = 12
CT_WINDOW_HU = (-1000.0, 400.0)
MIN_PET_RANGE = 5.0  # SUV shown black, at least
DIGEST_DIGITS = 16  # of the weights' digest in the footer; the report holds it whole
BAR_LEGEND = "On the bar: strokes are slices, the disc is their mean."
STUDY_CHARACTERS = 12  # of the Study Instance UID in the footer


class Tone(Enum):
    """How a line is set."""

    SCORE = "score"
    TITLE = "title"
    STRONG = "strong"
    BODY = "body"
    SMALL = "small"
    CAUTION = "caution"


@dataclass(frozen=True)
class Line:
    """A paragraph of the text column."""

    text: str
    tone: Tone = Tone.BODY


@dataclass(frozen=True)
class ScoreBar:
    """Slice scores on the axis 0 to 1, with their mean and the cut-off."""

    scores: tuple[float, ...]
    mean: float
    cut_off: float


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture of a slice.

    Parameters
    ----------
    grey
        float ``[row, column]``, 0 black to 1 white
    overlay
        float ``[row, column]``, 0 to 1 of the patient's common scale; None: no map
    box
        row0, column0, row1, column1 in pixels: what the network saw
    edges
        anatomical letters at the left and the upper edge
    """

    caption: str
    grey: NDArray[np.float64]
    outline: Mask
    overlay: NDArray[np.float64] | None
    box: tuple[int, int, int, int]
    pixel_mm: tuple[float, float]
    edges: tuple[str, str]


@dataclass(frozen=True, eq=False)
class Page:
    """One page: heading, text column, pictures, footer, and the banner of a demonstration."""

    heading: str
    banner: str | None
    column: tuple[Line | ScoreBar, ...]
    panels: tuple[Panel, ...]
    footer: str


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


def pages(context: ReportContext) -> tuple[Page, ...]:
    """Return the summary and the pages of the key slices."""
    slices = scored_slices(context)
    shown = key_slices(slices)
    return (
        _summary(context, slices),
        *(_slice_page(context, s, f"{i} of {len(shown)}", shown, slices) for i, s in enumerate(shown, start=1)),
    )


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


# -- summary


def _summary(context: ReportContext, slices: list[ScoredSlice]) -> Page:
    column = _score_column(context) if context.scored else _refusal_column(context)
    shown = [s for s in slices if s.lesion == _scored_lesion(context)]
    largest = max(shown, key=lambda s: int(s.evidence.roi[s.index].sum()), default=None)
    return Page(
        heading="EGFR-DLS summary",
        banner=_banner(context),
        column=tuple(column),
        panels=() if largest is None else _anatomy_panels(context, largest, f"{largest.lesion.label}, "),
        footer=_footer(context),
    )


def _score_column(context: ReportContext) -> Iterator[Line | ScoreBar]:
    findings, patient = context.findings, context.findings.patient
    lesion = _scored_lesion(context)
    if patient.egfr_dls is not None:
        several = lesion is not None and len(findings.lesions) > 1
        yield Line(f"EGFR-DLS of {lesion.label}" if lesion and several else "EGFR-DLS", Tone.TITLE)
        yield Line(context.scores.egfr_text(patient.egfr_dls), Tone.SCORE)
        yield Line(wording.NOT_MOLECULAR, Tone.BODY)
        yield ScoreBar(_patient_scores(context), patient.egfr_dls, context.scores.egfr_cut_off)
        yield Line(wording.STATUS_SENTENCES[context.scores.status(patient.egfr_dls)] + ".", Tone.STRONG)
        spread = wording.spread_sentence(patient.slice_sd, patient.n_slices)
        yield Line(f"Cut-off {wording.cut_off_text(context.scores.egfr_cut_off)}. {spread}.")
        yield Line(BAR_LEGEND, Tone.SMALL)
    yield Line(wording.pdl1_sentence(findings, context.scores.pdl1_cut_off))
    yield Line(wording.pathway_headline(findings), Tone.STRONG)
    yield from (Line(text, Tone.SMALL) for text in [wording.pathway_reason(findings)] if text)
    for lesion in findings.lesions:
        yield _lesion_line(context, lesion)
    yield from _caution_lines(context)


def _scored_lesion(context: ReportContext) -> LesionFinding | None:
    """Return the lesion whose score is the patient's: the first that has one."""
    return next((lesion for lesion in context.findings.lesions if lesion.egfr_dls is not None), None)


def _patient_scores(context: ReportContext) -> tuple[float, ...]:
    """Return the slice scores whose mean is the patient's."""
    lesion = _scored_lesion(context)
    return () if lesion is None else tuple(s.egfr_dls for s in lesion.slices)


def _lesion_line(context: ReportContext, lesion: LesionFinding) -> Line:
    if lesion.reason is not None:
        return Line(f"{lesion.label}: not scored. {wording.remark_sentence(lesion.reason)}", Tone.CAUTION)
    facts = [] if lesion.egfr_dls is None else [f"EGFR-DLS {context.scores.egfr_text(lesion.egfr_dls)}"]
    facts += [] if lesion.suv_max is None else [f"SUVmax {wording.two_decimals(lesion.suv_max)} g/ml"]
    tone = Tone.CAUTION if wording.awaits_confirmation(lesion) else Tone.BODY
    if len(context.findings.lesions) > 1:  # in short, so that the limits find their place on the page
        return Line(f"{lesion.label}: {', '.join(facts)}; {wording.roi_in_short(lesion)}.", tone)
    volume = f"{wording.two_decimals(lesion.volume_ml)} ml"
    return Line(f"{wording.roi_sentence(lesion)} {', '.join([*facts, volume])}.", tone)


def _caution_lines(context: ReportContext) -> Iterator[Line]:
    for warning in context.findings.warnings:
        yield Line(wording.remark_sentence(warning), Tone.CAUTION)
    for sentences in (wording.prior_sentences(context.findings), wording.caveats(context.findings)):
        if sentences:
            yield Line(" ".join(sentences), Tone.SMALL)


def _refusal_column(context: ReportContext) -> Iterator[Line | ScoreBar]:
    findings = context.findings
    yield Line(wording.NOT_SCORED, Tone.SCORE)
    for reason in wording.reasons(findings):
        yield Line(f"{codes.not_scored_code(reason.code).meaning}.", Tone.STRONG)
        yield Line(wording.remark_sentence(reason))
    yield Line(wording.NOT_NEGATIVE)
    for series in findings.series:
        if series.reason is not None:
            yield Line(f"{series.modality} series not used: {wording.remark_sentence(series.reason)}", Tone.SMALL)
    yield from _caution_lines(context)


def _banner(context: ReportContext) -> str | None:
    return wording.DEMONSTRATION if context.findings.demonstration else None


def _footer(context: ReportContext) -> str:
    findings = context.findings
    model = findings.model
    network = (
        "no network used"
        if model is None
        else f"network {model.name} {model.version} ({model.status}), sha256 {model.sha256[:DIGEST_DIGITS]}"
    )
    moment = context.content_datetime.strftime("%Y-%m-%d %H:%M:%S")
    study = f"study …{findings.study_instance_uid[-STUDY_CHARACTERS:]}"
    return f"egfr-dls {findings.product_version}  |  {network}  |  {study}  |  {moment}"


# -- slices


def _slice_page(
    context: ReportContext, shown: ScoredSlice, number: str, chosen: list[ScoredSlice], slices: list[ScoredSlice]
) -> Page:
    return Page(
        heading=f"{shown.lesion.label}, slice {shown.index + 1} of {len(shown.lesion.slices)}",
        banner=_banner(context),
        column=tuple(_slice_column(context, shown, f"Page {number}; {len(chosen)} of {len(slices)} slices shown.")),
        panels=_anatomy_panels(context, shown) + _map_panels(context, shown),
        footer=_footer(context),
    )


def _slice_column(context: ReportContext, shown: ScoredSlice, pages_sentence: str) -> Iterator[Line | ScoreBar]:
    slice_scores, patient = shown.finding, context.findings.patient
    yield Line("EGFR-DLS of this slice", Tone.BODY)
    yield Line(context.scores.egfr_text(slice_scores.egfr_dls), Tone.SCORE)
    yield Line(wording.NOT_MOLECULAR, Tone.SMALL)
    yield ScoreBar((slice_scores.egfr_dls,), slice_scores.egfr_dls, context.scores.egfr_cut_off)
    if slice_scores.pdl1_dls is not None:
        yield Line(f"PDL1_DLS of this slice {context.scores.pdl1_text(slice_scores.pdl1_dls)}")
    if patient.egfr_dls is not None:
        cut_off = wording.cut_off_text(context.scores.egfr_cut_off)
        yield Line(f"Patient: EGFR-DLS {context.scores.egfr_text(patient.egfr_dls)}, cut-off {cut_off}")
    yield Line(f"Position {slice_scores.position_mm:.1f} mm along the slice normal")
    yield Line(f"Square of {slice_scores.side_mm:.0f} mm, margin {slice_scores.margin_mm:.0f} mm", Tone.SMALL)
    if wording.awaits_confirmation(shown.lesion):
        yield Line("Region of interest proposed by the software, NOT confirmed by a person.", Tone.CAUTION)
    yield Line("Yellow or red line: region of interest. Dashed: the square that the network saw.", Tone.SMALL)
    if shown.evidence.cam_positive is not None:
        yield Line(f"{wording.NOT_DIAGNOSTIC_MAP} One common scale for the patient.", Tone.SMALL)
    yield Line(pages_sentence, Tone.SMALL)


def _anatomy_panels(context: ReportContext, shown: ScoredSlice, whose: str = "") -> tuple[Panel, ...]:
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


def _map_panels(context: ReportContext, shown: ScoredSlice) -> tuple[Panel, ...]:
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
