"""Our regions of interest as a Segmentation on the CT grid: proposed ones and those converted from an RTSTRUCT.

A stored SEG is referred to and never copied.
"""

from __future__ import annotations

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.valuerep import DSfloat

from egfr_dls import PRODUCT_NAME, codes
from egfr_dls.evidence import LesionEvidence
from egfr_dls.findings import LesionFinding
from egfr_dls.study import RoiSource
from egfr_dls.uids import OBJECT_KINDS, derived_uid
from reporting.context import ReportContext
from reporting.header import stamp
from reporting.identity import kind_series_uid
from reporting.image_library import concept
from reporting.plain_text import plain_text

KIND = "roi"
BODY_PART = "CHEST"
ALGORITHM_TYPES: dict[str, SegmentAlgorithmTypeValues] = {  # ROI Generation Algorithm (3006,0036) -> (0062,0008)
    "AUTOMATIC": SegmentAlgorithmTypeValues.AUTOMATIC,
    "SEMIAUTOMATIC": SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
    "MANUAL": SegmentAlgorithmTypeValues.MANUAL,
}
Segment = tuple[LesionFinding, LesionEvidence]


def segments(context: ReportContext) -> list[Segment]:
    """Return the lesions that our SEG holds, in the order of its segments, with their pixels."""
    found = [(lesion, context.evidence_of(lesion)) for lesion in context.findings.lesions]
    return [
        (lesion, evidence)
        for lesion, evidence in found
        if evidence is not None and lesion.roi_source is not RoiSource.STORED_SEG
    ]


def segmentation(context: ReportContext) -> Dataset | None:
    """Return the SEG, one segment a lesion; None where every region of interest is a stored segment."""
    held = segments(context)
    if not held:
        return None
    images = _images(context, held)
    ds = Segmentation(
        source_images=images,
        pixel_array=_pixels(held, images),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(context, lesion, i) for i, (lesion, _) in enumerate(held, start=1)],
        series_instance_uid=kind_series_uid(context.findings, KIND),
        series_number=OBJECT_KINDS[KIND],
        sop_instance_uid=context.findings.study_instance_uid,  # written by ``stamp``
        instance_number=context.revision.number,
        manufacturer=PRODUCT_NAME,
        manufacturer_model_name=context.device.model_name,
        software_versions=context.device.version,
        device_serial_number=context.device.serial,
        content_label="EGFR_DLS_ROI",
        content_description="Regions of interest used by EGFR-DLS",
    )
    ds.BodyPartExamined = BODY_PART
    stamp(ds, context, KIND)
    own_dimension_uid(ds)
    return ds


def slice_position_mm(image: Dataset) -> float:
    """Return an image's position along its slice normal, LPS mm (PS3.3 C.7.6.2.1.1)."""
    orientation = np.array([float(v) for v in image.ImageOrientationPatient])
    position = np.array([float(v) for v in image.ImagePositionPatient])
    return float(np.dot(np.cross(orientation[:3], orientation[3:]), position))


def _images(context: ReportContext, held: list[Segment]) -> list[Dataset]:
    """Return the CT slices that any mask lies on, ascending along the slice normal."""
    uids = dict.fromkeys(uid for _, evidence in held for uid in evidence.mask_sop_instance_uids)
    return with_thickness(sorted((Dataset(context.image(uid)) for uid in uids), key=slice_position_mm))


def with_thickness(images: list[Dataset]) -> list[Dataset]:
    """Return sorted slices; a slice thickness that they lack (type 2) becomes the distance of the slices."""
    gaps = np.diff([slice_position_mm(image) for image in images])
    for image in images:
        if not image.get("SliceThickness"):
            image.SliceThickness = DSfloat(float(np.min(gaps)) if gaps.size else 1.0, auto_format=True)
    return images


def _pixels(held: list[Segment], images: list[Dataset]) -> NDArray[np.uint8]:
    """Return uint8 ``[slice, row, column, segment]``."""
    index = {image.SOPInstanceUID: i for i, image in enumerate(images)}
    pixels = np.zeros((len(images), images[0].Rows, images[0].Columns, len(held)), dtype=np.uint8)
    for number, (_, evidence) in enumerate(held):
        for plane, uid in zip(evidence.mask, evidence.mask_sop_instance_uids, strict=True):
            pixels[index[uid], :, :, number] = plane
    return pixels


def _description(context: ReportContext, lesion: LesionFinding, number: int) -> SegmentDescription:
    algorithm_type = _algorithm_type(context, lesion)
    manual = algorithm_type is SegmentAlgorithmTypeValues.MANUAL
    return SegmentDescription(
        segment_number=number,
        segment_label=lesion.label,
        segmented_property_category=concept(codes.MORPHOLOGICALLY_ABNORMAL),
        segmented_property_type=concept(codes.NEOPLASM),
        algorithm_type=algorithm_type,
        algorithm_identification=None if manual else _algorithm(context, lesion),
        tracking_uid=lesion.tracking_uid,
        tracking_id=lesion.label,
        anatomic_regions=[concept(codes.LUNG)],
    )


def _algorithm_type(context: ReportContext, lesion: LesionFinding) -> SegmentAlgorithmTypeValues:
    """Return how the region came about: ours is automatic, an RTSTRUCT says it of each ROI."""
    if lesion.roi_source is RoiSource.PROPOSED:
        return SegmentAlgorithmTypeValues.AUTOMATIC
    structure_set = context.sources.images.get(lesion.roi_sop_instance_uid or "", Dataset())
    for roi in structure_set.get("StructureSetROISequence") or ():
        if roi.get("ROINumber") == lesion.roi_number:
            return ALGORITHM_TYPES.get(roi.get("ROIGenerationAlgorithm", ""), SegmentAlgorithmTypeValues.SEMIAUTOMATIC)
    return SegmentAlgorithmTypeValues.SEMIAUTOMATIC


def _algorithm(context: ReportContext, lesion: LesionFinding) -> AlgorithmIdentificationSequence:
    sequence = AlgorithmIdentificationSequence(
        name="egfr-dls PET ROI proposal"
        if lesion.roi_source is RoiSource.PROPOSED
        else "as stored in RT structure set",
        family=concept(codes.MORPHOLOGICAL_OPERATIONS),
        version=context.findings.product_version,
        source=PRODUCT_NAME,
    )
    if lesion.roi_description:
        sequence[0].AlgorithmParameters = plain_text(lesion.roi_description)
    return sequence


def own_dimension_uid(ds: Dataset) -> None:
    """Replace highdicom's random Dimension Organization UID (0020,9164) by one that belongs to the object."""
    uid = derived_uid(ds.SOPInstanceUID, "dimension organization")
    _replace_uid(ds, ds.DimensionOrganizationSequence[0].DimensionOrganizationUID, uid)


def _replace_uid(ds: Dataset, random_uid: str, uid: str) -> None:
    """Write our Dimension Organization UID (0020,9164) wherever highdicom wrote its random one."""
    for element in ds:
        if isinstance(element.value, DicomSequence):
            for item in element.value:
                _replace_uid(item, random_uid, uid)
        elif element.keyword == "DimensionOrganizationUID" and element.value == random_uid:
            element.value = uid
