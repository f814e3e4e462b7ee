"""The attributes that every object carries, set after it is built; with them the bytes no longer depend on the clock.

Patient, study, series, equipment and SOP common modules (PS3.3 C.7.1 to C.7.5, C.12.1).
"""

from __future__ import annotations

from datetime import datetime

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.uid import UID, ExplicitVRLittleEndian

from egfr_dls import PRODUCT_NAME, codes
from egfr_dls.findings import ModelUse
from egfr_dls.uids import CODING_SCHEME_UID, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, OBJECT_KINDS
from reporting.context import ReportContext
from reporting.identity import MODEL_NAME, device, kind_series_uid, object_uid
from reporting.source_header import UTF_8
from reporting.wording import series_description

DIGEST_DIGITS = 24  # of a digest in Software Versions (0018,1020): LO holds 64 characters, the whole does not fit
MODALITIES: dict[str, str] = {
    "report": "SR", "roi": "SEG", "pages": "OT", "single_page": "OT", "map": "OT", "pdf": "DOC", "rejection": "KO",
}  # fmt: skip


def code_item(code: Code) -> Dataset:
    """Return the item of a code sequence (PS3.3 8.8)."""
    ds = Dataset()
    ds.CodeValue, ds.CodingSchemeDesignator, ds.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return ds


def dicom_date(moment: datetime) -> str:
    """Return DA (PS3.5 6.2)."""
    return moment.strftime("%Y%m%d")


def dicom_time(moment: datetime) -> str:
    """Return TM (PS3.5 6.2)."""
    return moment.strftime("%H%M%S.%f")


def stamp(ds: Dataset, context: ReportContext, kind: str, key: tuple[str, ...] = ()) -> Dataset:
    """Set the common attributes of an object of this kind and return it.

    Parameters
    ----------
    ds
        the object with its own modules and SOP Class UID (0008,0016)
    kind
        of ``egfr_dls.uids.OBJECT_KINDS``
    key
        what else ends in the bytes, beside findings, kind, class and predecessor
    """
    ds.SpecificCharacterSet = UTF_8
    ds.SOPInstanceUID = object_uid(context.findings, kind, ds.SOPClassUID, context.predecessor_uid, *key)
    ds.InstanceNumber = context.revision.number
    _series(ds, context, kind)
    _equipment(ds, context)
    _times(ds, context, kind)
    if "ContentLabel" in ds:
        ds.ContentCreatorName = None  # type 2 in the Content Identification Macro (PS3.3 10.9); highdicom writes none
    for keyword in _PATIENT_STUDY_WRITTEN_BY_LIBRARY:
        ds.pop(keyword, None)
    ds.update({element.tag: element for element in context.patient})
    ds.file_meta = _file_meta(ds)
    ds.preamble = b"\x00" * 128
    return ds


_PATIENT_STUDY_WRITTEN_BY_LIBRARY = ("PatientAge", "PatientSize", "PatientWeight", "StudyDescription")


def _series(ds: Dataset, context: ReportContext, kind: str) -> None:
    ds.Modality = MODALITIES[kind]
    ds.SeriesInstanceUID = kind_series_uid(context.findings, kind)
    ds.SeriesNumber = OBJECT_KINDS[kind]
    ds.SeriesDescription = series_description(kind, demonstration=context.findings.demonstration)


def _equipment(ds: Dataset, context: ReportContext) -> None:
    device_facts = context.device
    ds.Manufacturer = device_facts.manufacturer
    ds.ManufacturerModelName = device_facts.model_name
    ds.SoftwareVersions = device_facts.version
    ds.DeviceSerialNumber = device_facts.serial
    ds.CodingSchemeIdentificationSequence = [_coding_scheme()]
    networks = [m for m in (context.findings.model, context.findings.companion_model) if m is not None]
    ours = [_contribution(context, model) for model in networks]
    ds.ContributingEquipmentSequence = ours + list(ds.get("ContributingEquipmentSequence") or ())
    if not ds.ContributingEquipmentSequence:
        del ds.ContributingEquipmentSequence


def _coding_scheme() -> Dataset:
    item = Dataset()
    item.CodingSchemeDesignator = codes.PRIVATE_SCHEME
    item.CodingSchemeUID = CODING_SCHEME_UID
    item.CodingSchemeName = "EGFR-DLS codes"
    item.CodingSchemeVersion = "1"
    item.CodingSchemeResponsibleOrganization = PRODUCT_NAME
    return item


def _contribution(context: ReportContext, model: ModelUse) -> Dataset:
    """Return the Contributing Equipment item of one network (PS3.3 C.12.1.1.5; IHE AIR: one an algorithm)."""
    facts = device(context.findings, model)
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [code_item(codes.PROCESSING_EQUIPMENT)]
    item.Manufacturer, item.ManufacturerModelName = facts.manufacturer, MODEL_NAME
    item.SoftwareVersions = [
        facts.version,
        f"{model.name} {model.version}"[:64],
        f"sha256:{model.sha256[:DIGEST_DIGITS]}",
    ]
    item.DeviceSerialNumber, item.DeviceUID = facts.serial, facts.uid
    item.ContributionDescription = f"Network {model.name} {model.version} ({model.status}), sha256 {model.sha256}"
    return item


def _times(ds: Dataset, context: ReportContext, kind: str) -> None:
    now = context.content_datetime
    first = context.revision.series_datetime.get(kind, now)
    ds.ContentDate = ds.InstanceCreationDate = dicom_date(now)
    ds.ContentTime = ds.InstanceCreationTime = dicom_time(now)
    ds.SeriesDate, ds.SeriesTime = dicom_date(first), dicom_time(first)
    for item in ds.get("ContributingEquipmentSequence") or ():
        item.ContributionDateTime = dicom_date(now) + dicom_time(now)


def _file_meta(ds: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    return meta
