"""The report as plain text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from egfr_dls.findings import LesionFinding, StudyFindings
from reporting import wording
from reporting.printed_scores import PrintedScores

COLUMNS = 100


def report_text(findings: StudyFindings, indeterminate_band: float = 0.0) -> str:
    """Return the report's sentences, wrapped; control characters of headers never reach the terminal."""
    scores = PrintedScores(findings, indeterminate_band)
    lines = [
        wrapped
        for line in _lines(findings, scores)
        for wrapped in textwrap.wrap(_clean(line), COLUMNS, subsequent_indent="    ") or [""]
    ]
    return "\n".join(lines) + "\n"


def _clean(line: str) -> str:
    return "".join(c if c.isprintable() else " " for c in line)


def _lines(findings: StudyFindings, scores: PrintedScores) -> Iterator[str]:
    if findings.demonstration:
        yield f"*** {wording.DEMONSTRATION} ***"
    yield from _score(findings, scores) if findings.status == "scored" else _refusal(findings)
    yield ""
    for sentence in (*wording.limitations(findings), *wording.roi_authors(findings)):
        yield f"  - {sentence}"
    for model in (findings.model, findings.companion_model):
        if model is not None:
            yield f"  network {wording.model_sentence(model)}"
    yield f"  egfr-dls {findings.product_version}, study {findings.study_instance_uid}"


def _score(findings: StudyFindings, scores: PrintedScores) -> Iterator[str]:
    patient = findings.patient
    if patient.egfr_dls is not None:
        side = wording.STATUS_SENTENCES[scores.status(patient.egfr_dls)]
        cut_off = wording.cut_off_text(scores.egfr_cut_off)
        yield f"EGFR-DLS  {scores.egfr_text(patient.egfr_dls)}   (cut-off {cut_off})  {side}."
        yield f"  {wording.spread_sentence(patient.slice_sd, patient.n_slices)}."
    yield f"  {wording.pdl1_sentence(findings, scores.pdl1_cut_off)}"
    yield f"PATHWAY   {wording.pathway_headline(findings)}"
    yield f"  {wording.pathway_reason(findings)}"
    yield ""
    for lesion in findings.lesions:
        yield f"  {_lesion(lesion, scores)}"


def _lesion(lesion: LesionFinding, scores: PrintedScores) -> str:
    if lesion.egfr_dls is None:
        reason = "" if lesion.reason is None else wording.remark_sentence(lesion.reason)
        return f"{lesion.label}: not scored. {reason}"
    suv = "" if lesion.suv_max is None else f", SUVmax {wording.two_decimals(lesion.suv_max)} g/ml"
    volume = wording.two_decimals(lesion.volume_ml)
    return f"{lesion.label}: EGFR-DLS {scores.egfr_text(lesion.egfr_dls)}, {volume} ml{suv}"


def _refusal(findings: StudyFindings) -> Iterator[str]:
    yield f"EGFR-DLS  {wording.NOT_SCORED}"
    for reason in wording.reasons(findings):
        yield f"  {wording.remark_sentence(reason)}"
    for series in findings.series:
        if series.reason is not None:
            yield f"  {series.modality} series not used: {wording.remark_sentence(series.reason)}"
