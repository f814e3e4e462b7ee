"""What score and refusal reports have in common: TID 1500 around their groups, in the SR class of a variant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    Comprehensive3DSR,
    ComprehensiveSR,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    EnhancedSR,
    FindingSite,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    TextContentItem,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom import DataElement, Dataset
from pydicom.sr.coding import Code
from pydicom.uid import (
    CTImageStorage,
    PositronEmissionTomographyImageStorage,
    RTStructureSetStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from egfr_dls import PRODUCT_NAME, codes
from egfr_dls.findings import ModelUse
from egfr_dls.uids import OBJECT_KINDS
from reporting.context import Predecessor, ReportContext
from reporting.encoded_items import keep_encoding
from reporting.header import stamp
from reporting.identity import kind_series_uid
from reporting.image_library import CONTAINS, concept, image_library
from reporting.plain_text import plain_text
from reporting.source_header import requests
from reporting.variants import SR_CLASSES, Variant

KIND = "report"
READ_CLASSES = frozenset(
    {CTImageStorage, PositronEmissionTomographyImageStorage, SegmentationStorage, RTStructureSetStorage}
)
SOP_CLASSES = dict(zip(SR_CLASSES, (Comprehensive3DSR, ComprehensiveSR, EnhancedSR), strict=True))
SITE = FindingSite(concept(codes.LUNG))
Group = MeasurementsAndQualitativeEvaluations | VolumetricROIMeasurementsAndQualitativeEvaluations


def evaluation(name: Code, value: Code) -> QualitativeEvaluation:
    """Return a coded statement of a measurement group."""
    return QualitativeEvaluation(concept(name), concept(value))


def code_statement(name: Code, value: Code) -> CodeContentItem:
    """Return a coded statement of the Qualitative Evaluations container."""
    return CodeContentItem(concept(name), concept(value), relationship_type=CONTAINS)


def text_statement(name: Code, value: str) -> TextContentItem:
    """Return a sentence of the Qualitative Evaluations container; it may quote a header."""
    return TextContentItem(concept(name), plain_text(value), relationship_type=CONTAINS)


def algorithm(context: ReportContext, model: ModelUse | None) -> AlgorithmIdentification:
    """Return TID 4019 for a network; without one, for the product that looked at the study."""
    findings = context.findings
    parameters = [f"config_sha256={findings.configuration_sha256}", f"inputs_sha256={findings.inputs_sha256}"]
    if model is not None:
        parameters = [
            f"weights_sha256={model.sha256}", *parameters, f"cutoff={model.cut_off:g}", f"runtime={model.runtime}",
        ]  # fmt: skip
        if model.preprocessing_sha256:
            parameters.append(f"preprocessing_sha256={model.preprocessing_sha256}")
    return AlgorithmIdentification(
        name=PRODUCT_NAME if model is None else model.name,
        version=findings.product_version if model is None else model.version,
        manufacturer=PRODUCT_NAME,
        family=concept(codes.ARTIFICIAL_INTELLIGENCE),
        parameters=parameters,
    )


def build(
    context: ReportContext,
    variant: Variant,
    groups: Sequence[Group],
    evaluations: Iterable[ContentItem],
    library: Sequence[Dataset],
    further_evidence: Sequence[Dataset] = (),
    completion: str | None = None,
    key: tuple[str, ...] = (),
) -> Dataset:
    """Return the structured report.

    Parameters
    ----------
    groups
        at least one measurement group, each with its own Tracking UID
    evaluations
        CODE and TEXT items of the Qualitative Evaluations container (TID 1500 row 12), nothing else
    library
        evidence copies of the images in the Image Library, at least one
    further_evidence
        what the tree refers to besides: SEG, RTSTRUCT
    completion
        Completion Flag Description (0040,A492) of a partial report; None: the report is complete
    key
        what of the variant, beside its class, ends in the bytes
    """
    root = _root(context, groups)
    *observed, measurements = root.ContentSequence
    root.ContentSequence = ContentSequence(observed)
    predecessor = context.revision.predecessor_of(variant.sr_class_uid)
    evidence = [*library, *further_evidence]
    ds: Dataset = SOP_CLASSES[variant.sr_class_uid](
        evidence=[_of_known_class(image) for image in evidence],
        content=root,
        series_instance_uid=kind_series_uid(context.findings, KIND),
        series_number=OBJECT_KINDS[KIND],
        sop_instance_uid=context.findings.study_instance_uid,  # written by ``stamp``
        instance_number=context.revision.number,
        manufacturer=PRODUCT_NAME,
        is_complete=completion is None,
        performed_procedure_codes=[concept(codes.FDG_PET_CT)],
        requested_procedures=requests(context.sources.reference) or None,
        previous_versions=None if predecessor is None else [_facts(predecessor)],
    )
    if completion is not None:
        ds.CompletionFlagDescription = completion[:64]
    ds.ContentSequence = [*observed, measurements, _evaluations(evaluations)]
    _separate(ds)
    _name_classes(ds, evidence)
    ds.ContentSequence.insert(len(observed), image_library(library))  # template order: library, then groups
    if predecessor is not None and predecessor.sop_instance_uid != context.predecessor_uid:
        key = (*key, predecessor.sop_instance_uid)
    stamp(ds, context, KIND, key)
    keep_encoding(ds)
    return ds


def _of_known_class(image: Dataset) -> Dataset:
    """Return the image as highdicom can take it: it looks attributes up by SOP class, and a private one has none."""
    if image.SOPClassUID in READ_CLASSES:
        return image
    copy = Dataset(image)
    copy.SOPClassUID = SecondaryCaptureImageStorage
    return copy


def _name_classes(ds: Dataset, evidence: Iterable[Dataset]) -> None:
    """Refer to every instance by its own SOP Class UID, where highdicom was told another."""
    classes = {i.SOPInstanceUID: i.SOPClassUID for i in evidence if i.SOPClassUID not in READ_CLASSES}
    if not classes:
        return

    def name_class(item: Dataset, element: DataElement) -> None:
        if element.keyword == "ReferencedSOPInstanceUID" and element.value in classes:
            item.ReferencedSOPClassUID = classes[element.value]

    ds.walk(name_class)


def _root(context: ReportContext, groups: Sequence[Group]) -> Dataset:
    """Return TID 1500 with its observer, procedure and measurement groups."""
    report = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=_observer(context)),
        procedure_reported=concept(codes.FDG_PET_CT),
        imaging_measurements=list(groups),
        title=concept(codes.IMAGING_MEASUREMENT_REPORT),
    )
    return report[0]


def _evaluations(evaluations: Iterable[ContentItem]) -> ContainerContentItem:
    container = ContainerContentItem(concept(codes.QUALITATIVE_EVALUATIONS), relationship_type=CONTAINS)
    container.ContentSequence = ContentSequence(list(evaluations))
    return container


def _observer(context: ReportContext) -> ObserverContext:
    facts = context.device
    return ObserverContext(
        observer_type=concept(codes.DEVICE),
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=facts.uid,
            name=PRODUCT_NAME,
            manufacturer_name=facts.manufacturer,
            model_name=facts.model_name,
            serial_number=facts.serial,
        ),
    )


def _facts(predecessor: Predecessor) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = predecessor.sop_class_uid, predecessor.sop_instance_uid
    ds.StudyInstanceUID, ds.SeriesInstanceUID = predecessor.study_instance_uid, predecessor.series_instance_uid
    return ds


def _separate(item: Dataset) -> None:
    """Write Continuity Of Content SEPARATE: with CONTINUOUS, renderers print a value without its name."""
    if item.ValueType == "CONTAINER":
        item.ContinuityOfContent = "SEPARATE"
    for child in item.get("ContentSequence") or ():
        _separate(child)
