"""The first page: what a reader must know, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from egfr_dls import codes
from egfr_dls.findings import LesionFinding
from reporting import wording
from reporting.context import ReportContext
from reporting.page_content import Line, Page, ScoreBar, Tone
from reporting.page_slices import ScoredSlice, anatomy_panels

DIGEST_DIGITS = 16  # of the weights' digest in the footer; the report holds it whole
STUDY_CHARACTERS = 12  # of the Study Instance UID in the footer
BAR_LEGEND = "On the bar: strokes are slices, the disc is their mean."


def summary_page(context: ReportContext, slices: list[ScoredSlice]) -> Page:
    """Return score, spread, cut-off, pathway, regions and limits; or why nothing was scored."""
    column = _undated(_score_column(context) if context.scored else _refusal_column(context))
    shown = [s for s in slices if s.lesion == _scored_lesion(context)]
    largest = max(shown, key=lambda s: int(s.evidence.roi[s.index].sum()), default=None)
    return Page(
        heading="EGFR-DLS summary",
        banner=banner(context),
        column=tuple(column),
        panels=() if largest is None else anatomy_panels(context, largest, f"{largest.lesion.label}, "),
        footer=footer(context),
    )


def _undated(column: Iterable[Line | ScoreBar]) -> Iterator[Line | ScoreBar]:
    for item in column:
        yield Line(wording.undated(item.text), item.tone) if isinstance(item, Line) else item


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
        yield Line(wording.in_short(wording.remark_sentence(warning)), Tone.CAUTION)
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


def banner(context: ReportContext) -> str | None:
    """Return what stands across every page of a demonstration."""
    return wording.DEMONSTRATION if context.findings.demonstration else None


def footer(context: ReportContext) -> str:
    """Return what made the page, and of which study."""
    findings = context.findings
    model = findings.model
    network = (
        "no network used"
        if model is None
        else f"network {model.name} {model.version} ({model.status}), sha256 {model.sha256[:DIGEST_DIGITS]}"
    )
    revision = f"revision {context.revision.number}"
    study = f"study …{findings.study_instance_uid[-STUDY_CHARACTERS:]}"
    return f"egfr-dls {findings.product_version}  |  {network}  |  {study}  |  {revision}"
