"""The refusal report, "not scored, because": a first-class result with reasons and no number."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from highdicom.sr import ContentItem, MeasurementsAndQualitativeEvaluations, TrackingIdentifier
from pydicom import Dataset

from egfr_dls import codes
from egfr_dls.study import Pathway
from reporting import wording
from reporting.context import ReportContext
from reporting.identity import patient_tracking_uid
from reporting.image_library import concept
from reporting.seg import slice_position_mm
from reporting.source_header import evidence_copy
from reporting.sr import intended_use, not_scored_codes
from reporting.sr_document import algorithm, build, code_statement, evaluation, text_statement
from reporting.variants import Variant


def refusal_report(context: ReportContext, variant: Variant) -> Dataset:
    """Return the structured report of a study that was not scored."""
    first = wording.reasons(context.findings)[0]
    return build(
        context,
        variant,
        groups=[_patient_group(context)],
        evaluations=list(_statements(context)),
        library=considered_images(context),
        completion=f"Not scored: {first.code}",
    )


def considered_images(context: ReportContext) -> list[Dataset]:
    """Return the middle image of each series that was considered; the reference image where none was given.

    A viewer (OHIF) reads into the Image Library without looking, so there is always one image.
    """
    by_series: dict[str, list[Dataset]] = {}
    for source in context.sources.images.values():
        if "Rows" in source:  # an image; a SEG is one too, an RTSTRUCT is not
            copy = evidence_copy(source, context.findings.study_instance_uid)
            by_series.setdefault(copy.SeriesInstanceUID, []).append(copy)
    middle = [sorted(images, key=_order)[len(images) // 2] for _, images in sorted(by_series.items())]
    return middle or [evidence_copy(context.sources.reference, context.findings.study_instance_uid)]


def _order(image: Dataset) -> tuple[float, str]:
    """Return position, then UID; a series whose positions cannot be read is ordered by UID."""
    try:
        position = slice_position_mm(image)
    except (AttributeError, ValueError, TypeError):
        position = 0.0
    return (position if np.isfinite(position) else 0.0, image.SOPInstanceUID)


def _patient_group(context: ReportContext) -> MeasurementsAndQualitativeEvaluations:
    reasons = not_scored_codes(wording.reasons(context.findings))
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=patient_tracking_uid(context.findings.study_instance_uid), identifier="Patient"
        ),
        finding_type=concept(codes.NEOPLASM),
        algorithm_id=algorithm(context, context.findings.model),
        qualitative_evaluations=[
            evaluation(codes.SCORING, codes.NOT_SCORED),
            *(evaluation(codes.NOT_SCORED_BECAUSE, code) for code in reasons),
            evaluation(codes.PATHWAY, codes.PATHWAYS[Pathway.NO_SUGGESTION]),
        ],
    )


def _statements(context: ReportContext) -> Iterator[ContentItem]:
    findings = context.findings
    reasons = wording.reasons(findings)
    yield code_statement(codes.INTENDED_USE, intended_use(context))
    yield code_statement(codes.SCORING, codes.NOT_SCORED)
    for code in not_scored_codes(reasons):
        yield code_statement(codes.NOT_SCORED_BECAUSE, code)
    for reason in reasons:
        yield text_statement(codes.NOT_SCORED_TEXT, wording.remark_sentence(reason))
    for sentence in wording.limitations(findings):
        yield text_statement(codes.LIMITATIONS, sentence)
