"""The phantom's lesions as stored ROIs on its CT series: DICOM Segmentation or RT Structure Set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any

import numpy as np
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentationTypeValues, SegmentDescription
from highdicom.seg import Segmentation as HighdicomSegmentation
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID, ExplicitVRLittleEndian, RTStructureSetStorage
from skimage.measure import find_contours

from egfr_dls import PRODUCT_NAME, PRODUCT_VERSION
from training_export.phantoms import Phantom, PhantomLesion, phantom_uid

DETACHED_STUDY_MANAGEMENT = UID("1.2.840.10008.3.1.2.3.1")
ROI_TIME = "120000"
COPIED = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyID", "StudyDate",
    "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyDescription", "FrameOfReferenceUID",
    "PositionReferenceIndicator", "Manufacturer", "ManufacturerModelName", "SoftwareVersions",
)  # fmt: skip


class RoiKind(StrEnum):
    """How the lesions are stored."""

    SEG = "seg"
    RTSTRUCT = "rtstruct"
    NONE = "none"


def segmentation(phantom: Phantom, ct: Sequence[Dataset]) -> Dataset:
    """Return a binary SEG with one segment a lesion."""
    masks = np.stack([lesion.mask for lesion in phantom.lesions], axis=-1).astype(np.uint8)
    ds = HighdicomSegmentation(
        source_images=list(ct),
        pixel_array=masks,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_segment(phantom, i, lesion) for i, lesion in enumerate(phantom.lesions, 1)],
        series_instance_uid=phantom_uid(phantom.seed, "seg series"),
        series_number=4,
        sop_instance_uid=phantom_uid(phantom.seed, "seg"),
        instance_number=1,
        manufacturer=PRODUCT_NAME,
        manufacturer_model_name="phantom",
        software_versions=PRODUCT_VERSION,
        device_serial_number=str(phantom.seed),
        content_label="LESIONS",
        content_description="True lesions of a phantom",
        series_description="Phantom lesions",
    )
    return _without_clock(ds, phantom_uid(phantom.seed, "seg dimensions"), ct[0].StudyDate)


def _segment(phantom: Phantom, number: int, lesion: PhantomLesion) -> SegmentDescription:
    return SegmentDescription(
        segment_number=number,
        segment_label=lesion.label,
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Neoplasm,
        algorithm_type=SegmentAlgorithmTypeValues.MANUAL,
        tracking_uid=phantom_uid(phantom.seed, lesion.label),
        tracking_id=lesion.label,
    )


def _without_clock(ds: Dataset, dimension_uid: str, date: str) -> Dataset:
    """Replace what the library takes from clock and chance, so that the same seed gives the same bytes."""
    for keyword in ("ContentDate", "SeriesDate", "InstanceCreationDate"):
        setattr(ds, keyword, date)
    for keyword in ("ContentTime", "SeriesTime", "InstanceCreationTime"):
        setattr(ds, keyword, ROI_TIME)
    for item in [*ds.DimensionOrganizationSequence, *ds.DimensionIndexSequence]:
        item.DimensionOrganizationUID = dimension_uid
    for item in ds.ContributingEquipmentSequence:
        item.ContributionDateTime = date + ROI_TIME
    return ds


def structure_set(phantom: Phantom, ct: Sequence[Dataset]) -> Dataset:
    """Return an RTSTRUCT with one ROI a lesion: closed planar contours half-way between pixel centres."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = RTStructureSetStorage, UID(phantom_uid(phantom.seed, "rtstruct"))
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for keyword in COPIED:
        setattr(ds, keyword, ct[0][keyword].value)
    ds.Modality, ds.SeriesInstanceUID = "RTSTRUCT", phantom_uid(phantom.seed, "rtstruct series")
    ds.SeriesNumber, ds.SeriesDescription, ds.OperatorsName, ds.InstanceNumber = 4, "Phantom lesions", "", 1
    ds.SeriesDate = ds.StructureSetDate = ds.InstanceCreationDate = ct[0].StudyDate
    ds.SeriesTime = ds.StructureSetTime = ds.InstanceCreationTime = ROI_TIME
    ds.StructureSetLabel, ds.ApprovalStatus = "LESIONS", "UNAPPROVED"
    ds.ReferencedFrameOfReferenceSequence = [_frame_of_reference(ct)]
    numbered = list(enumerate(phantom.lesions, 1))
    ds.StructureSetROISequence = [
        _item(
            ROINumber=n,
            ReferencedFrameOfReferenceUID=ct[0].FrameOfReferenceUID,
            ROIName=lesion.label,
            ROIGenerationAlgorithm="MANUAL",
        )
        for n, lesion in numbered
    ]
    ds.ROIContourSequence = [
        _item(ROIDisplayColor=[255, 0, 0], ContourSequence=_contours(phantom, lesion, ct), ReferencedROINumber=n)
        for n, lesion in numbered
    ]
    ds.RTROIObservationsSequence = [
        _item(ObservationNumber=n, ReferencedROINumber=n, RTROIInterpretedType="GTV", ROIInterpreter="")
        for n, _ in numbered
    ]
    return ds


def _frame_of_reference(ct: Sequence[Dataset]) -> Dataset:
    series = _item(SeriesInstanceUID=ct[0].SeriesInstanceUID, ContourImageSequence=[_reference(ds) for ds in ct])
    study = _item(
        ReferencedSOPClassUID=DETACHED_STUDY_MANAGEMENT,
        ReferencedSOPInstanceUID=ct[0].StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    return _item(FrameOfReferenceUID=ct[0].FrameOfReferenceUID, RTReferencedStudySequence=[study])


def _contours(phantom: Phantom, lesion: PhantomLesion, ct: Sequence[Dataset]) -> list[Dataset]:
    geometry = phantom.ct_hu.geometry
    x0, y0, z0 = geometry.origin_mm
    dz, dy, dx = geometry.spacing_mm
    items = []
    for z in np.flatnonzero(lesion.mask.any(axis=(1, 2))).tolist():
        rings = find_contours(lesion.mask[z].astype(np.float32), 0.5)  # type: ignore[no-untyped-call]  # ships no types
        for ring in rings:
            points = [(x0 + dx * column, y0 + dy * row, z0 + dz * z) for row, column in ring[:-1]]
            items.append(
                _item(
                    ContourImageSequence=[_reference(ct[z])],
                    ContourGeometricType="CLOSED_PLANAR",
                    NumberOfContourPoints=len(points),
                    ContourData=[f"{v:.2f}" for point in points for v in point],
                )
            )
    return items


def _reference(ds: Dataset) -> Dataset:
    return _item(ReferencedSOPClassUID=ds.SOPClassUID, ReferencedSOPInstanceUID=ds.SOPInstanceUID)


def _item(**attributes: Any) -> Dataset:
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


ROI_BUILDERS: dict[RoiKind, Callable[[Phantom, Sequence[Dataset]], Dataset]] = {
    RoiKind.SEG: segmentation,
    RoiKind.RTSTRUCT: structure_set,
}
