"""What the objects take over from the images: decoded, allowed values only, whatever the source's header holds.

Objects are built from slim evidence copies that hold an allow-list of attributes; the patient and study attributes
of ONE reference instance are written into every object afterwards. highdicom's own checks of patient values
therefore never stand between a strange header and its report.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydicom import Dataset
from pydicom.config import IGNORE, RAISE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.valuerep import DSfloat, PersonName, validate_value

UTF_8 = "ISO_IR 192"
DS_CHARACTERS = 16

# Patient, Patient Study and General Study modules (PS3.3 C.7.1.1, C.7.2.2, C.7.2.1)
PATIENT_AND_STUDY = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge", "PatientSize",
    "PatientWeight", "StudyInstanceUID", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID",
    "AccessionNumber", "StudyDescription",
)  # fmt: skip
TYPE_2 = frozenset(
    {
        "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
        "ReferringPhysicianName", "StudyID", "AccessionNumber",
    }
)  # fmt: skip
# An archive files the object by these: they stay as they came, even where the value is not what the VR allows.
FILING = frozenset({"PatientName", "PatientID", "StudyInstanceUID"})
CODE_STRINGS: dict[str, frozenset[str]] = {"PatientSex": frozenset({"M", "F", "O"})}

# What evidence lists, the Image Library and a segmentation need of an image
IMAGE = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality", "InstanceNumber", "FrameOfReferenceUID",
    "PositionReferenceIndicator", "Rows", "Columns", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices",
    "ImagePositionPatient", "ImageOrientationPatient", "NumberOfFrames",
)  # fmt: skip
REQUEST = (
    "AccessionNumber", "RequestedProcedureID", "RequestedProcedureDescription", "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest",
)  # fmt: skip
CODE = ("CodeValue", "CodingSchemeDesignator", "CodingSchemeVersion", "CodeMeaning")  # PS3.3 table 8.8-1
CODE_TYPE_1 = frozenset({"CodeValue", "CodingSchemeDesignator", "CodeMeaning"})
SOP_REFERENCE = ("ReferencedSOPClassUID", "ReferencedSOPInstanceUID")  # both type 1 (PS3.3 table 10-11)


@dataclass(frozen=True, eq=False)
class SourceImages:
    """The headers (no pixel data) of the instances that a report refers to.

    Parameters
    ----------
    images
        by SOP Instance UID: the images read, the slices of each mask, the stored SEG and RTSTRUCT; for a refusal
        at least one image of each series that was considered
    reference
        the instance whose patient and study attributes every object copies (PT for PET/CT)
    """

    images: Mapping[str, Dataset]
    reference: Dataset


def patient_and_study(reference: Dataset) -> Dataset:
    """Return the patient and study attributes to write: type 2 always there, type 3 where a valid value came."""
    taken = _subset(reference, PATIENT_AND_STUDY)
    for keyword in TYPE_2 - {element.keyword for element in taken}:
        taken.add(_element(keyword, ""))
    return taken


def evidence_copy(image: Dataset, study_instance_uid: str) -> Dataset:
    """Return a slim copy of an image's header, in UTF-8, with empty patient attributes (they are written last)."""
    ds = _subset(image, IMAGE)
    ds.SpecificCharacterSet = UTF_8
    ds.StudyInstanceUID = study_instance_uid
    for keyword in TYPE_2:
        ds.add(_element(keyword, ""))
    return ds


def requests(reference: Dataset) -> list[Dataset]:
    """Return Referenced Request Sequence (0040,A370) items from Request Attributes (0040,0275), if the source has any.

    What an item lacks is what the image says of itself (its accession number and order numbers), or empty: all are type 2.
    """
    study = _subset(reference, REQUEST)
    character_set = reference.get("SpecificCharacterSet")
    return [
        _request(source, study, reference.StudyInstanceUID, character_set)
        for source in _items(reference, "RequestAttributesSequence")
    ]


def _request(source: Dataset, study: Dataset, study_instance_uid: str, character_set: Any) -> Dataset:
    item = _subset(source, (*REQUEST, "StudyInstanceUID"), character_set)
    for keyword in REQUEST:
        if not item.get(keyword):
            item.add(study[keyword] if keyword in study else _element(keyword, ""))
    if not item.get("StudyInstanceUID"):
        item.StudyInstanceUID = study_instance_uid
    codes = (_subset(code, CODE, character_set) for code in _items(source, "RequestedProcedureCodeSequence"))
    item.RequestedProcedureCodeSequence = [code for code in codes if all(code.get(k) for k in CODE_TYPE_1)]
    studies = (_subset(named, SOP_REFERENCE) for named in _items(source, "ReferencedStudySequence"))
    item.ReferencedStudySequence = [named for named in studies if all(named.get(k) for k in SOP_REFERENCE)]
    return item


def _items(ds: Dataset, keyword: str) -> list[Dataset]:
    """Return the items of a sequence; none where something else stands in its place."""
    value = _value(ds, keyword)
    return [item for item in value if isinstance(item, Dataset)] if isinstance(value, Sequence) else []


def _subset(source: Dataset, keywords: tuple[str, ...], character_set: Any = None) -> Dataset:
    """Return the listed attributes that have a valid value, decoded."""
    ds = Dataset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a wrong character set or value is the sender's; what is unusable is left out
        named = source.get("SpecificCharacterSet") or character_set
        if named is not None:
            ds.SpecificCharacterSet = named
        for keyword in keywords:
            value = _value(source, keyword)
            if value is not None and (keyword in FILING or _valid(keyword, value)):
                ds.add(_element(keyword, value))
        ds.decode()
        ds.pop("SpecificCharacterSet", None)
        for element in ds:
            if element.VR == "PN" and isinstance(element.value, PersonName):
                ds[element.tag] = _element(element.keyword, PersonName(str(element.value), encodings=["utf-8"]))
    return ds


def _value(source: Dataset, keyword: str) -> Any:
    try:
        value = source.get(keyword)
    except (ValueError, TypeError, LookupError, AttributeError):  # e.g. "70,5" as a decimal string
        return None
    if isinstance(value, MultiValue):
        return [_decimal(item) for item in value]
    return _decimal(value)


def _decimal(value: Any) -> Any:
    """Shorten a decimal string of more than the 16 characters that DS allows (PS3.5 6.2)."""
    if isinstance(value, DSfloat) and math.isfinite(value) and len(str(value)) > DS_CHARACTERS:
        return DSfloat(float(value), auto_format=True)
    return value


def _valid(keyword: str, value: Any) -> bool:
    if keyword in CODE_STRINGS and value not in CODE_STRINGS[keyword]:
        return False
    if isinstance(value, list):
        return keyword in IMAGE and all(_valid_item(keyword, item) for item in value)
    return _valid_item(keyword, value)


def _valid_item(keyword: str, value: Any) -> bool:
    vr = dictionary_VR(keyword)
    try:
        validate_value(vr, value if vr == "US" else str(value), RAISE)
    except ValueError:
        return False
    return True


def _element(keyword: str, value: Any) -> DataElement:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(keyword)
    return DataElement(tag, dictionary_VR(keyword), value, validation_mode=IGNORE)
