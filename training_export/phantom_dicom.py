"""Phantoms as DICOM: a CT series, an attenuation-corrected FDG PET series, and the truth beside them.

Every UID and time is a function of the seed, so the same seed gives the same bytes.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage

from egfr_dls import PRODUCT_NAME, PRODUCT_VERSION
from egfr_dls.atomic_file import SHARED, write_atomically
from egfr_dls.volume import Volume
from training_export.phantom_roi import ROI_BUILDERS, RoiKind
from training_export.phantoms import Phantom

PHANTOM_NAME = "PHANTOM^EGFR-DLS"  # PatientName; by it a cohort knows what is made up
STUDY_DATE = "20250115"
INJECTION_TIME = "100000"
SCAN_TIME = "110000"
UPTAKE_SECONDS = 3600.0
WEIGHT_KG = 70.0
DOSE_BQ = 350.0e6
HALF_LIFE_SECONDS = 6586.2
LARGEST_STORED = 32767

# SUVbw (g/ml) of 1 Bq/ml at SCAN_TIME, the reference of DecayCorrection START.
SUV_FACTOR = WEIGHT_KG * 1000.0 / (DOSE_BQ * 2.0 ** (-UPTAKE_SECONDS / HALF_LIFE_SECONDS))

FLUORINE_18 = Code("77004003", "SCT", "^18^Fluorine")  # PS3.16 CID 4020
FDG = Code("35321007", "SCT", "Fluorodeoxyglucose F^18^")  # PS3.16 CID 4021
RECUMBENT = Code("102538003", "SCT", "recumbent")  # PS3.16 CID 19
HEADFIRST = Code("102540008", "SCT", "headfirst")  # PS3.16 CID 21


def phantom_datasets(phantom: Phantom, roi: RoiKind) -> dict[str, Dataset]:
    """Return the study as file name -> dataset with file meta; names carry no identifiers."""
    ct = [_ct_slice(phantom, i) for i in range(phantom.ct_hu.geometry.shape[0])]
    pet = [_pet_slice(phantom, i) for i in range(phantom.pet_suv.geometry.shape[0])]
    named = {f"ct-{i:04d}.dcm": ds for i, ds in enumerate(ct, 1)} | {
        f"pt-{i:04d}.dcm": ds for i, ds in enumerate(pet, 1)
    }
    if roi is not RoiKind.NONE:
        named[f"{roi}.dcm"] = ROI_BUILDERS[roi](phantom, ct)
    return named


def write_phantom(phantom: Phantom, folder: Path, roi: RoiKind) -> None:
    """Write the study and ``truth.json`` into a folder; replaces our own files there, leaves others alone."""
    folder.mkdir(parents=True, exist_ok=True)
    for stale in (k for k in ROI_BUILDERS if k is not roi):
        (folder / f"{stale}.dcm").unlink(missing_ok=True)
    for name, ds in phantom_datasets(phantom, roi).items():
        buffer = io.BytesIO()
        dcmwrite(buffer, ds, enforce_file_format=True)
        write_atomically(folder / name, buffer.getvalue(), SHARED)
    write_atomically(folder / "truth.json", (json.dumps(truth(phantom), indent=2) + "\n").encode(), SHARED)


def truth(phantom: Phantom) -> dict[str, Any]:
    """Return what is known of a phantom: mm (LPS), ml, SUVbw; ``label`` is 1 for EGFR mutant."""
    return {
        "seed": phantom.seed,
        "kind": "pet-ct",
        "study_instance_uid": phantom.study_instance_uid,
        "label": phantom.egfr,
        "lesions": [
            {
                "label": lesion.label,
                "centre_mm": list(lesion.centre_mm),
                "diameter_mm": lesion.diameter_mm,
                "volume_ml": lesion.volume_ml,
                "suv_max": lesion.suv_max,
            }
            for lesion in phantom.lesions
        ],
    }


def _ct_slice(phantom: Phantom, index: int) -> Dataset:
    ds = _slice(phantom, phantom.ct_hu, index, CTImageStorage, "CT")
    ds.SeriesNumber, ds.SeriesDescription = 2, "CT phantom 4.0"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.PatientPosition = "HFS"
    ds.KVP, ds.ConvolutionKernel = "120", "PHANTOM"
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "-1024", "1", "HU"
    _set_pixels(ds, phantom.ct_hu.voxels[index] + 1024.0, bits_stored=12, signed=False)
    return ds


def _pet_slice(phantom: Phantom, index: int) -> Dataset:
    ds = _slice(phantom, phantom.pet_suv, index, PositronEmissionTomographyImageStorage, "PT")
    becquerel_ml = phantom.pet_suv.voxels[index].astype(np.float64) / SUV_FACTOR
    slope = f"{max(float(becquerel_ml.max()), 1.0) / LARGEST_STORED:.10g}"
    ds.SeriesNumber, ds.SeriesDescription = 3, "PET AC phantom"
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.SeriesType, ds.Units, ds.CountsSource = ["WHOLE BODY", "IMAGE"], "BQML", "EMISSION"
    ds.CorrectedImage, ds.DecayCorrection, ds.CollimatorType = ["ATTN", "DECY", "SCAT"], "START", "NONE"
    ds.AttenuationCorrectionMethod, ds.ScatterCorrectionMethod = "measured,AC_CT", "model-based"
    ds.RandomsCorrectionMethod, ds.ReconstructionMethod = "DLYD", "synthetic"
    ds.NumberOfSlices, ds.ImageIndex = phantom.pet_suv.geometry.shape[0], index + 1
    ds.FrameReferenceTime, ds.ActualFrameDuration, ds.DecayFactor = "90000", "180000", "1.0095"
    ds.PatientOrientationCodeSequence = [_code(RECUMBENT)]
    ds.PatientGantryRelationshipCodeSequence = [_code(HEADFIRST)]
    ds.RadiopharmaceuticalInformationSequence = [_radiopharmaceutical()]
    ds.RescaleIntercept, ds.RescaleSlope = "0", slope
    _set_pixels(ds, becquerel_ml / float(slope), bits_stored=16, signed=True)
    return ds


def _radiopharmaceutical() -> Dataset:
    item = Dataset()
    item.Radiopharmaceutical, item.RadionuclideTotalDose = "Fluorodeoxyglucose", f"{DOSE_BQ:.0f}"
    item.RadionuclideHalfLife, item.RadionuclidePositronFraction = f"{HALF_LIFE_SECONDS}", "0.967"
    item.RadiopharmaceuticalStartTime = INJECTION_TIME
    item.RadiopharmaceuticalStartDateTime = STUDY_DATE + INJECTION_TIME
    item.RadionuclideCodeSequence = [_code(FLUORINE_18)]
    item.RadiopharmaceuticalCodeSequence = [_code(FDG)]
    return item


def _slice(phantom: Phantom, volume: Volume, index: int, sop_class_uid: UID, modality: str) -> Dataset:
    """Return one axial slice without its pixels: patient, study, series, frame of reference and plane."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class_uid, UID(volume.sop_instance_uids[index])
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.PatientName, ds.PatientID = PHANTOM_NAME, f"PHANTOM-{phantom.seed}"
    ds.PatientBirthDate, ds.PatientSex, ds.PatientWeight = "", "O", WEIGHT_KG
    ds.StudyInstanceUID, ds.StudyID, ds.AccessionNumber = phantom.study_instance_uid, str(phantom.seed), ""
    ds.StudyDescription, ds.ReferringPhysicianName = "Synthetic PET/CT", ""
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = STUDY_DATE
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = SCAN_TIME
    ds.Modality, ds.SeriesInstanceUID, ds.BodyPartExamined = modality, volume.series_instance_uid, "CHEST"
    ds.Manufacturer, ds.ManufacturerModelName, ds.SoftwareVersions = PRODUCT_NAME, "phantom", PRODUCT_VERSION
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = volume.frame_of_reference_uid, ""
    geometry = volume.geometry
    x, y, z = geometry.origin_mm
    z += index * geometry.spacing_mm[0]
    ds.InstanceNumber, ds.AcquisitionNumber = index + 1, 1
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [x, y, z], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness, ds.SliceLocation = list(geometry.spacing_mm[1:]), geometry.spacing_mm[0], z
    return ds


def _set_pixels(ds: Dataset, stored: NDArray[Any], *, bits_stored: int, signed: bool) -> None:
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = stored.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, bits_stored, bits_stored - 1
    ds.PixelRepresentation = int(signed)
    ds.PixelData = np.rint(stored).astype("<i2" if signed else "<u2").tobytes()


def _code(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item
