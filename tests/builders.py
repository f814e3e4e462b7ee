"""Small synthetic DICOM datasets for every package's tests: no randomness, no clock, valid pixels.

Each builder takes keyword overrides by attribute name: a plain value goes into every slice, a callable is asked with
the slice index, and ``None`` removes the attribute.

>>> pet_slices(Units="CNTS", AcquisitionTime=lambda i: f"1100{i:02d}", PatientWeight=None)
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    PositronEmissionTomographyImageStorage,
    RTStructureSetStorage,
    SecondaryCaptureImageStorage,
)

STUDY_UID = "1.2.826.0.1.3680043.10.1.1"
FRAME_OF_REFERENCE_UID = "1.2.826.0.1.3680043.10.1.2"
CT_SERIES_UID = "1.2.826.0.1.3680043.10.1.3"
PET_SERIES_UID = "1.2.826.0.1.3680043.10.1.4"

WEIGHT_KG = 70.0
DOSE_BQ = 370.0e6
HALF_LIFE_SECONDS = 6586.2
UPTAKE_SECONDS = 3600.0
# g/ml per Bq/ml for the defaults of ``pet_slices`` (science: SUVbw, START, series time as reference)
SUV_FACTOR = WEIGHT_KG * 1000.0 / (DOSE_BQ * 2.0 ** (-UPTAKE_SECONDS / HALF_LIFE_SECONDS))
SUV_STEP = 0.001  # stored PET values are multiples of this, in SUV (slope differs by slice, see ``pet_slices``)

FDG = Code("35321007", "SCT", "Fluorodeoxyglucose F^18^")
FLUORINE_18 = Code("77004003", "SCT", "^18^Fluorine")

Spacing = tuple[float, float, float]


def code_item(code: Code) -> Dataset:
    """Return the item of a code sequence."""
    ds = Dataset()
    ds.CodeValue, ds.CodingSchemeDesignator, ds.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return ds


def base_dataset(sop_class_uid: str, modality: str, series_uid: str, instance_uid: str) -> Dataset:
    """Return patient, study and series attributes and file meta; no image."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.SOPClassUID, ds.SOPInstanceUID = UID(sop_class_uid), UID(instance_uid)
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "TEST^BUILDER", "TEST-1", "19600101", "O"
    ds.PatientWeight = WEIGHT_KG
    ds.StudyInstanceUID, ds.StudyID, ds.AccessionNumber = STUDY_UID, "1", ""
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20250102"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "110000"
    ds.ReferringPhysicianName = ""
    ds.Modality, ds.SeriesInstanceUID, ds.SeriesNumber = modality, series_uid, 1
    ds.Manufacturer, ds.ManufacturerModelName = "TEST", "BUILDER"
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = FRAME_OF_REFERENCE_UID, ""
    return ds


def ct_slices(
    hu: NDArray[Any] | None = None,
    *,
    spacing_mm: Spacing = (4.0, 4.0, 4.0),
    origin_mm: Spacing = (-62.0, -62.0, 0.0),
    series_uid: str = CT_SERIES_UID,
    **overrides: Any,
) -> list[Dataset]:
    """Return an axial CT series.

    Parameters
    ----------
    hu
        ``[z, y, x]`` HU; default: ``body_hu()``
    spacing_mm, origin_mm
        ``[z, y, x]`` spacing; LPS (x, y, z) of the first voxel
    """
    voxels = body_hu() if hu is None else hu
    slices = []
    for i, plane in enumerate(voxels):
        ds = _image(CTImageStorage, "CT", series_uid, i, plane + 1024.0, spacing_mm, origin_mm)
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.SeriesNumber, ds.KVP, ds.BodyPartExamined, ds.PatientPosition = 2, "120", "CHEST", "HFS"
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "-1024", "1", "HU"
        slices.append(_override(ds, i, overrides))
    return slices


def pet_slices(
    suv: NDArray[Any] | None = None,
    *,
    spacing_mm: Spacing = (4.0, 8.0, 8.0),
    origin_mm: Spacing = (-60.0, -60.0, 0.0),
    series_uid: str = PET_SERIES_UID,
    **overrides: Any,
) -> list[Dataset]:
    """Return an attenuation-corrected FDG series in Bq/ml whose Rescale Slope differs by slice.

    Parameters
    ----------
    suv
        ``[z, y, x]`` g/ml under ``SUV_FACTOR``; default: ``body_suv()``
    """
    voxels = body_suv() if suv is None else suv
    slices = []
    for i, plane in enumerate(voxels):
        slope = SUV_STEP * (1 + i % 2) / SUV_FACTOR
        ds = _image(
            PositronEmissionTomographyImageStorage,
            "PT",
            series_uid,
            i,
            plane / SUV_FACTOR / float(f"{slope:.10g}"),
            spacing_mm,
            origin_mm,
        )
        ds.RescaleIntercept, ds.RescaleSlope = "0", f"{slope:.10g}"
        _describe_pet(ds, i, len(voxels))
        slices.append(_override(ds, i, overrides))
    return slices


def petct_study(**overrides: Any) -> list[Dataset]:
    """Return a small PET/CT study: a body with air-filled lungs and one hot lesion, CT then PET."""
    return ct_slices(**overrides) + pet_slices(**overrides)


def body_hu() -> NDArray[np.float32]:
    """Return 8 x 32 x 32 HU on the default CT grid: air, body, lungs, a soft-tissue lesion of 20 mm at x = -24 mm."""
    z, y, x = _grid((8, 32, 32), (4.0, 4.0, 4.0), (-62.0, -62.0, 0.0))
    hu = np.where((x / 60) ** 2 + (y / 50) ** 2 <= 1, 40.0, -1000.0)
    hu = np.where(((np.abs(x) - 28) / 20) ** 2 + (y / 36) ** 2 <= 1, -850.0, hu)
    return np.where(_lesion(z, y, x), 35.0, hu).astype(np.float32)


def body_suv() -> NDArray[np.float32]:
    """Return 8 x 16 x 16 SUV on the default PET grid: body 1, lungs 0.4, the lesion 8 (its middle 10)."""
    z, y, x = _grid((8, 16, 16), (4.0, 8.0, 8.0), (-60.0, -60.0, 0.0))
    suv = np.where((x / 60) ** 2 + (y / 50) ** 2 <= 1, 1.0, 0.0)
    suv = np.where(((np.abs(x) - 28) / 20) ** 2 + (y / 36) ** 2 <= 1, 0.4, suv)
    suv = np.where(_lesion(z, y, x), 8.0, suv)
    return np.where(_lesion(z, y, x, 6.0), 10.0, suv).astype(np.float32)


def body_mask() -> NDArray[np.bool_]:
    """Return the lesion of ``body_hu`` on the default CT grid."""
    z, y, x = _grid((8, 32, 32), (4.0, 4.0, 4.0), (-62.0, -62.0, 0.0))
    return _lesion(z, y, x)


def secondary_capture(series_uid: str = "1.2.826.0.1.3680043.10.1.9", **overrides: Any) -> Dataset:
    """Return a small greyscale secondary capture: an instance that fills no role."""
    ds = base_dataset(SecondaryCaptureImageStorage, "OT", series_uid, f"{series_uid}.1")
    del ds.FrameOfReferenceUID, ds.PositionReferenceIndicator
    ds.ConversionType, ds.InstanceNumber, ds.PatientOrientation, ds.Laterality = "WSD", 1, "", ""
    _pixels(ds, np.zeros((8, 8)))
    return _override(ds, 0, overrides)


def rtstruct(ct: list[Dataset], contours_mm: dict[str, list[list[float]]], **overrides: Any) -> Dataset:
    """Return an RTSTRUCT on a CT series.

    Parameters
    ----------
    contours_mm
        ROI Name (3006,0026) -> closed planar contours, each a flat list x, y, z, x, y, z ... in LPS mm
    """
    series_uid = f"{STUDY_UID}.8"
    ds = base_dataset(RTStructureSetStorage, "RTSTRUCT", series_uid, f"{series_uid}.1")
    ds.OperatorsName = ""
    ds.StructureSetLabel, ds.StructureSetDate, ds.StructureSetTime = "TEST", ds.ContentDate, ds.ContentTime
    by_z = {float(s.ImagePositionPatient[2]): s for s in ct}
    series = _item(SeriesInstanceUID=ct[0].SeriesInstanceUID, ContourImageSequence=[_reference(s) for s in ct])
    study = _item(
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
        ReferencedSOPInstanceUID=STUDY_UID,
        RTReferencedSeriesSequence=[series],
    )
    frame_uid = ct[0].FrameOfReferenceUID
    ds.ReferencedFrameOfReferenceSequence = [
        _item(FrameOfReferenceUID=frame_uid, RTReferencedStudySequence=[study]),
    ]
    ds.StructureSetROISequence, ds.ROIContourSequence, ds.RTROIObservationsSequence = [], [], []
    for number, (name, polygons) in enumerate(contours_mm.items(), start=1):
        ds.StructureSetROISequence.append(
            _item(
                ROINumber=number, ReferencedFrameOfReferenceUID=frame_uid, ROIName=name, ROIGenerationAlgorithm="MANUAL"
            )
        )
        contours = [
            _item(
                ContourImageSequence=[_reference(by_z[p[2]])] if p[2] in by_z else [],
                ContourGeometricType="CLOSED_PLANAR",
                NumberOfContourPoints=len(p) // 3,
                ContourData=[f"{v:.4f}" for v in p],
            )
            for p in polygons
        ]
        ds.ROIContourSequence.append(_item(ReferencedROINumber=number, ContourSequence=contours))
        ds.RTROIObservationsSequence.append(
            _item(ObservationNumber=number, ReferencedROINumber=number, RTROIInterpretedType="GTV", ROIInterpreter="")
        )
    return _override(ds, 0, overrides)


def to_part10(ds: Dataset) -> bytes:
    """Return the dataset as the bytes of a Part 10 file in the transfer syntax of its file meta."""
    buffer = io.BytesIO()
    dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def _grid(shape: tuple[int, int, int], spacing_mm: Spacing, origin_mm: Spacing) -> list[NDArray[np.float64]]:
    """Return z, y, x in mm of every voxel centre."""
    axes = [np.arange(n) * d + o for n, d, o in zip(shape, spacing_mm, origin_mm[::-1], strict=True)]
    return list(np.meshgrid(*axes, indexing="ij"))


def _lesion(
    z: NDArray[np.float64], y: NDArray[np.float64], x: NDArray[np.float64], radius_mm: float = 10.0
) -> NDArray[np.bool_]:
    return np.asarray((z - 16) ** 2 + y**2 + (x + 24) ** 2 <= radius_mm**2)


def _image(
    sop_class_uid: str,
    modality: str,
    series_uid: str,
    index: int,
    stored: NDArray[Any],
    spacing_mm: Spacing,
    origin_mm: Spacing,
) -> Dataset:
    ds = base_dataset(sop_class_uid, modality, series_uid, f"{series_uid}.{index + 1}")
    z_mm = origin_mm[2] + index * spacing_mm[0]
    ds.InstanceNumber, ds.AcquisitionNumber = index + 1, 1
    ds.ImagePositionPatient = [origin_mm[0], origin_mm[1], z_mm]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing = list(spacing_mm[1:])
    ds.SliceThickness, ds.SliceLocation = spacing_mm[0], z_mm
    _pixels(ds, stored)
    return ds


def _pixels(ds: Dataset, stored: NDArray[Any]) -> None:
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = stored.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.PixelData = np.clip(np.rint(stored), 0, 65535).astype("<u2").tobytes()


def _describe_pet(ds: Dataset, index: int, n_slices: int) -> None:
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.Units, ds.DecayCorrection, ds.CountsSource, ds.SeriesType = "BQML", "START", "EMISSION", ["WHOLE BODY", "IMAGE"]
    ds.CorrectedImage, ds.CollimatorType, ds.RandomsCorrectionMethod = ["ATTN", "DECY", "SCAT"], "NONE", "DLYD"
    ds.AttenuationCorrectionMethod, ds.ScatterCorrectionMethod = "measured,AC_CT", "model-based"
    ds.ReconstructionMethod, ds.BodyPartExamined = "OSEM", "CHEST"
    ds.PatientOrientationCodeSequence = [code_item(Code("102538003", "SCT", "recumbent"))]
    ds.PatientGantryRelationshipCodeSequence = [code_item(Code("102540008", "SCT", "headfirst"))]
    ds.NumberOfSlices, ds.ImageIndex = n_slices, index + 1
    ds.FrameReferenceTime, ds.ActualFrameDuration, ds.DecayFactor = "90000", "180000", "1.01"
    isotope = _item(
        RadionuclideTotalDose=DOSE_BQ,
        RadionuclideHalfLife=HALF_LIFE_SECONDS,
        RadiopharmaceuticalStartTime="100000",
        RadiopharmaceuticalStartDateTime="20250102100000",
        Radiopharmaceutical="FDG",
    )
    isotope.RadionuclideCodeSequence = [code_item(FLUORINE_18)]
    isotope.RadiopharmaceuticalCodeSequence = [code_item(FDG)]
    ds.RadiopharmaceuticalInformationSequence = [isotope]


def _item(**attributes: Any) -> Dataset:
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def _reference(ds: Dataset) -> Dataset:
    return _item(ReferencedSOPClassUID=ds.SOPClassUID, ReferencedSOPInstanceUID=ds.SOPInstanceUID)


def _override(ds: Dataset, index: int, overrides: dict[str, Any]) -> Dataset:
    for keyword, given in overrides.items():
        value = given(index) if callable(given) else given
        if value is None:
            if keyword in ds:
                delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    if "SOPInstanceUID" in ds:
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    if "SOPClassUID" in ds:
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    return ds
