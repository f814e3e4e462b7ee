"""What stands for an earlier report of ours."""

from __future__ import annotations

from pydicom import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from egfr_dls.uids import series_uid
from tests.builders import ct_slices, secondary_capture


def report_of(study: str, revision: int, *, patient_id: str | None = None, date: str = "20240101") -> Dataset:
    """Return what stands for a report of ours in another study of the patient."""
    ds = secondary_capture(series_uid(study, "pet_ct_egfr", "report", demonstration=False))
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = Comprehensive3DSRStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{study}.9.{revision}"
    for keyword in [e.keyword for e in ds.group_dataset(0x0028)] + ["PixelData"]:
        delattr(ds, keyword)
    ds.StudyInstanceUID, ds.Modality, ds.StudyDate, ds.InstanceNumber = study, "SR", date, revision
    ds.PatientID = patient_id or ct_slices()[0].PatientID
    return ds
