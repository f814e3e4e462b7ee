"""The score report: lesion, slice and patient groups of TID 1500 with every number, its origin and its limits.

Group templates: TID 1411 for a lesion with a segment, TID 1501 for slice scores, the patient and lesions without one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from highdicom.sr import (
    AlgorithmIdentification,
    ContentItem,
    Measurement,
    MeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    ReferencedSegment,
    SourceImageForMeasurement,
    SourceImageForMeasurementGroup,
    SourceSeriesForSegmentation,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import CTImageStorage, SegmentationStorage
from pydicom.valuerep import DSfloat

from egfr_dls import PRODUCT_NAME, codes
from egfr_dls.findings import LesionFinding, SliceFinding
from egfr_dls.refusals import Remark
from egfr_dls.study import Pathway, RoiSource
from reporting import wording
from reporting.context import ReportContext
from reporting.identity import patient_tracking_uid, slices_tracking_uid
from reporting.image_library import concept
from reporting.seg import segments
from reporting.sr_document import (
    SITE,
    Group,
    algorithm,
    build,
    code_statement,
    evaluation,
    text_statement,
)
from reporting.variants import Variant


def score_report(context: ReportContext, roi: Dataset | None, variant: Variant) -> Dataset:
    """Return the structured report of a scored study.

    Parameters
    ----------
    roi
        our SEG; None: every region of interest is a stored segment
    variant
        without segmentation the report points at no SEG of ours: a lesion points at its images instead
    """
    held_back = roi is not None and not variant.segmentation
    if held_back:
        roi = None
    findings = context.findings
    library = [context.image(uid) for uid in findings.images_read]
    return build(
        context,
        variant,
        groups=[*_lesion_groups(context, roi), _patient_group(context)],
        evaluations=list(_statements(context)),
        library=library,
        further_evidence=list(_roi_evidence(context, roi)),
        completion="Scored in part" if findings.partial else None,
        key=("without SEG",) if held_back else (),
    )


def _roi_evidence(context: ReportContext, roi: Dataset | None) -> Iterator[Dataset]:
    """Yield our SEG and the stored SEG or RTSTRUCT that regions of interest came from."""
    if roi is not None:
        yield roi
    stored = (lesion.roi_sop_instance_uid for lesion in context.findings.lesions)
    for uid in dict.fromkeys(uid for uid in stored if uid is not None):
        yield context.image(uid)


def _statements(context: ReportContext) -> Iterator[ContentItem]:
    findings = context.findings
    yield code_statement(codes.INTENDED_USE, intended_use(context))
    yield code_statement(codes.SCORING, codes.SCORED_IN_PART if findings.partial else codes.SCORED)
    yield code_statement(codes.PATHWAY, pathway_code(context))
    rationale = wording.pathway_rationale(findings)
    if rationale:
        yield text_statement(codes.PATHWAY_RATIONALE, rationale)
    for sentence in (*wording.limitations(findings), *wording.roi_authors(findings)):
        yield text_statement(codes.LIMITATIONS, sentence)


def intended_use(context: ReportContext) -> Code:
    """Return DEMO where a demonstration network took part, else RUO."""
    return codes.DEMONSTRATION if context.findings.demonstration else codes.RESEARCH_USE_ONLY


def pathway_code(context: ReportContext) -> Code:
    """Return the suggested pathway's code."""
    return codes.PATHWAYS[context.findings.patient.pathway or Pathway.NO_SUGGESTION]


def not_scored_codes(reasons: Iterable[Remark]) -> list[Code]:
    """Return the report's codes of some reasons, each once, the order kept."""
    return list(dict.fromkeys(codes.not_scored_code(reason.code) for reason in reasons))


# -- groups


def _lesion_groups(context: ReportContext, roi: Dataset | None) -> Iterator[Group]:
    for lesion in context.findings.lesions:
        yield _lesion_group(context, lesion, roi)
        if lesion.slices:
            yield _slice_group(context, lesion)


def _lesion_group(context: ReportContext, lesion: LesionFinding, roi: Dataset | None) -> Group:
    common: dict[str, Any] = {
        "tracking_identifier": TrackingIdentifier(uid=lesion.tracking_uid, identifier=lesion.label),
        "finding_category": concept(codes.MORPHOLOGICALLY_ABNORMAL),
        "finding_type": concept(codes.NEOPLASM),
        "finding_sites": [SITE],
        "algorithm_id": algorithm(context, context.findings.model),
        "measurements": list(_lesion_numbers(context, lesion)),
        "qualitative_evaluations": list(_lesion_evaluations(context, lesion)),
    }
    segment = _segment(context, lesion, roi)
    if segment is None:
        return MeasurementsAndQualitativeEvaluations(source_images=_images_of(context, lesion.slices), **common)
    return VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_segment=segment, **common)


def _segment(context: ReportContext, lesion: LesionFinding, roi: Dataset | None) -> ReferencedSegment | None:
    """Return the stored segment that was used, else the one in our SEG, else None."""
    if lesion.roi_source is RoiSource.STORED_SEG and lesion.roi_sop_instance_uid and lesion.roi_number:
        uid, number = lesion.roi_sop_instance_uid, lesion.roi_number
        class_uid = lesion.roi_sop_class_uid or SegmentationStorage
    elif roi is not None and lesion.label in (labels := [held.label for held, _ in segments(context)]):
        uid, number, class_uid = roi.SOPInstanceUID, labels.index(lesion.label) + 1, roi.SOPClassUID
    else:
        return None
    return ReferencedSegment(
        sop_class_uid=class_uid,
        sop_instance_uid=uid,
        segment_number=number,
        source_series=SourceSeriesForSegmentation(_source_series_uid(context, uid)),
    )


def _source_series_uid(context: ReportContext, seg_uid: str) -> str:
    """Return the series that a segmentation was made on: what a stored one says (0008,1115); ours are on the CT."""
    stored = context.sources.images.get(seg_uid)
    referenced = [] if stored is None else stored.get("ReferencedSeriesSequence") or []
    if referenced and referenced[0].get("SeriesInstanceUID"):
        return str(referenced[0].SeriesInstanceUID)
    chosen = (series.series_instance_uid for series in context.findings.series if series.role == "ct")
    read = (image.SeriesInstanceUID for image in context.sources.images.values() if image.SOPClassUID == CTImageStorage)
    return str(next(chosen, None) or next(read))


def _lesion_evaluations(context: ReportContext, lesion: LesionFinding) -> Iterator[QualitativeEvaluation]:
    if lesion.egfr_dls is not None:
        yield evaluation(codes.EGFR_PREDICTION, context.scores.status(lesion.egfr_dls).value)
    yield evaluation(codes.ROI_SOURCE, _roi_source_code(lesion))
    if lesion.reason is not None:
        yield evaluation(codes.SCORING, codes.NOT_SCORED)
        yield evaluation(codes.NOT_SCORED_BECAUSE, codes.not_scored_code(lesion.reason.code))


def _slice_group(context: ReportContext, lesion: LesionFinding) -> Group:
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=slices_tracking_uid(lesion.tracking_uid), identifier=f"{lesion.label}, slice scores"
        ),
        finding_type=concept(codes.NEOPLASM),
        algorithm_id=algorithm(context, context.findings.model),
        measurements=[_slice_number(context, s) for s in lesion.slices],
        source_images=_images_of(context, lesion.slices),
    )


def _images_of(context: ReportContext, slices: Iterable[SliceFinding]) -> list[SourceImageForMeasurementGroup]:
    """Return the images that scores were read on, each once; a lesion that was not scored has none."""
    read = dict.fromkeys(uid for s in slices for uid in (s.ct_sop_instance_uid, s.pet_sop_instance_uid))
    return [SourceImageForMeasurementGroup(context.image(uid).SOPClassUID, uid) for uid in read]


def _patient_group(context: ReportContext) -> Group:
    findings, patient = context.findings, context.findings.patient
    evaluations = [evaluation(codes.PATHWAY, pathway_code(context))]
    if patient.egfr_dls is not None:
        evaluations.insert(0, evaluation(codes.EGFR_PREDICTION, context.scores.status(patient.egfr_dls).value))
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=patient_tracking_uid(findings.study_instance_uid), identifier="Patient"
        ),
        finding_type=concept(codes.NEOPLASM),
        algorithm_id=algorithm(context, findings.model),
        measurements=list(
            _score_numbers(context, patient.egfr_dls, patient.pdl1_dls, patient.slice_sd, patient.n_slices)
        ),
        qualitative_evaluations=evaluations,
    )


def _roi_source_code(lesion: LesionFinding) -> Code:
    confirmed = lesion.roi_source is RoiSource.PROPOSED and lesion.confirmed
    return codes.ROI_PROPOSED_CONFIRMED if confirmed else codes.ROI_SOURCES[lesion.roi_source]


# -- numbers: a missing one is no NUM at all, and every NUM has a child (OHIF)


def _lesion_numbers(context: ReportContext, lesion: LesionFinding) -> Iterator[Measurement]:
    yield from _score_numbers(context, lesion.egfr_dls, lesion.pdl1_dls, lesion.slice_sd, len(lesion.slices))
    if lesion.suv_max is not None:
        suv_max = wording.two_decimals(lesion.suv_max)
        yield _number(
            codes.SUVBW, suv_max, codes.SUV_UNIT, derivation=concept(codes.MAXIMUM), method=concept(codes.SUVBW_METHOD)
        )
    statistics = AlgorithmIdentification(name="egfr-dls ROI statistics", version=context.findings.product_version)
    for name, value, unit in (
        (codes.METABOLIC_VOLUME, lesion.mtv_ml, codes.CUBIC_CENTIMETRE),
        (codes.TOTAL_LESION_GLYCOLYSIS, lesion.tlg_g, codes.GRAM),
    ):
        if value is not None:
            yield _number(name, wording.two_decimals(value), unit, algorithm_id=statistics)


def _score_numbers(
    context: ReportContext, egfr: float | None, pdl1: float | None, slice_sd: float | None, n_slices: int
) -> Iterator[Measurement]:
    if egfr is None:
        return
    mean = concept(codes.MEAN)
    yield _number(codes.EGFR_DLS, context.scores.egfr_text(egfr), derivation=mean)
    if pdl1 is not None:
        companion = algorithm(context, context.findings.companion_model)
        yield _number(codes.PDL1_DLS, context.scores.pdl1_text(pdl1), derivation=mean, algorithm_id=companion)
    if slice_sd is not None:
        yield _number(codes.EGFR_DLS_SD, f"{slice_sd:.4f}", derivation=concept(codes.STANDARD_DEVIATION))
    if n_slices:
        counter = AlgorithmIdentification(name=PRODUCT_NAME, version=context.findings.product_version)
        yield _number(codes.NUMBER_OF_SLICES, str(n_slices), algorithm_id=counter)


def _slice_number(context: ReportContext, score: SliceFinding) -> Measurement:
    images = [
        SourceImageForMeasurement(context.image(uid).SOPClassUID, uid)
        for uid in (score.ct_sop_instance_uid, score.pet_sop_instance_uid)
    ]
    return _number(codes.EGFR_DLS_SLICE, context.scores.egfr_text(score.egfr_dls), referenced_images=images)


def _number(name: Code, text: str, unit: Code = codes.NO_UNITS, **properties: Any) -> Measurement:
    """Return a NUM whose Numeric Value (0040,A30A) reads exactly as the number is printed everywhere else."""
    measurement = Measurement(name=concept(name), value=float(text), unit=concept(unit), **properties)
    measurement[0].MeasuredValueSequence[0].NumericValue = DSfloat(text)
    return measurement
