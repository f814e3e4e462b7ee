"""One DICOM object without its patient: a new data set that holds what ``rules`` lets stay, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydicom.config import disable_value_validation
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, ExplicitVRLittleEndian

from egfr_dls.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from inference.read.header import (
    CONVERSION_ERRORS,
    as_date,
    as_moment,
    as_number,
    as_time,
    private_text,
    text,
    texts,
    written,
)
from training_export.cohort.key import CohortKey
from training_export.deidentification.pixels import clean_pixels
from training_export.deidentification.rules import (
    FIXED_TEXTS,
    IDENTIFYING,
    LOCAL_MEANING,
    METHOD,
    METHODS,
    PRIVATE,
    PUBLISHED_SCHEMES,
    REMOVED,
    RULES,
    TEMPORAL,
    Action,
    PrivateElement,
)

STAYING = frozenset(Tag(tag_for_keyword(keyword) or 0) for keyword in RULES)
OLDEST_YEARS = 89  # above it an age alone may name a person (45 CFR 164.514(b)(2)(i)(C))
# What a value must be to stay, by VR: whatever stands in a number, a time or a UID besides is somebody's text
VALUES: dict[str, Callable[[str], object]] = {
    "DS": as_number,
    "IS": as_number,
    "TM": as_time,
    "UI": re.compile(r"[0-9.]+").fullmatch,
}
TEXT_VRS = frozenset({"AE", "CS", "LO", "LT", "SH", "ST", "UC", "UR", "UT"})
LEAST_WITHIN = 5  # characters of an identifier that is looked for within words; a shorter one must be a word
_WORD = re.compile(r"[^\W_]+")

Regions = Mapping[tuple[str, int], int]  # (SOP Instance UID, segment or ROI number) -> rank of the lesion


@dataclass(frozen=True)
class Deidentifier:
    """Cleans the objects of one patient.

    Parameters
    ----------
    key
        the site's secret, by which UIDs and dates are the same in all objects and exports
    patient
        the pseudonym
    regions
        which stored regions were used as a tumour; UIDs as received
    """

    key: CohortKey
    patient: str
    regions: Regions

    def clean(self, ds: Dataset) -> Dataset:
        """Return the object without its patient, in Explicit VR Little Endian, with new file meta (PS3.15 E.1.1).

        Raises
        ------
        StudyRefusedError
            ``PIXELS_UNREADABLE``: its pixels cannot be decoded, so nobody knows what they show
        """
        with disable_value_validation():  # a value that breaks its VR is the sender's, and no reason to stop
            cleaned = _Cleaning(self, ds, Identifiers.of(ds)).cleaned(ds)
            for element in PRIVATE:
                self._keep_private(ds, cleaned, element)
        clean_pixels(ds, cleaned)
        cleaned.SpecificCharacterSet = "ISO_IR 192"
        cleaned.PatientIdentityRemoved = "YES"
        cleaned.DeidentificationMethod = METHOD
        cleaned.DeidentificationMethodCodeSequence = [_method(*method) for method in METHODS]
        cleaned.LongitudinalTemporalInformationModified = TEMPORAL
        cleaned.file_meta = _file_meta(cleaned)
        return cleaned

    def moved(self, value: str) -> str:
        """Return a DA or DT value with its day moved; empty where it is neither."""
        day = as_date(value[:8])
        if day is None or (len(value) > len("YYYYMMDD") and as_moment(value) is None):
            return ""
        return f"{self.key.moved(day, self.patient):%Y%m%d}{value[8:]}"

    def _keep_private(self, ds: Dataset, cleaned: Dataset, element: PrivateElement) -> None:
        """Take over a private element whose value is a number or a date-time, through its creator (PS3.5 7.8.1)."""
        found = private_text(ds, element.tag, element.creator, element.vendor).value
        value = self.moved(found) if element.vr == "DT" else found if as_number(found) is not None else ""
        if value:
            block = cleaned.private_block(element.tag >> 16, element.creator, create=True)
            block.add_new(element.tag & 0xFF, element.vr, value)


@dataclass(frozen=True)
class Identifiers:
    """What names persons and places in an object's header, in lower case.

    ``names`` are the words of names of persons; ``within`` are longer words and whole values, which also count as parts of
    other words. Short values are left alone: a PatientID may be "CT 1".
    """

    names: frozenset[str]
    within: frozenset[str]

    @staticmethod
    def of(ds: Dataset) -> Identifiers:
        """Return those of an object."""
        names: set[str] = set()
        values: set[str] = set()
        for keyword in IDENTIFYING:
            value = written(ds, keyword).casefold()
            words = [word for word in _WORD.findall(value) if not word.isdecimal()]
            values.update((value, *words))
            if dictionary_VR(keyword) == "PN":
                names.update(word for word in words if len(word) > 1)
        return Identifiers(frozenset(names), frozenset(v for v in values if len(v) >= LEAST_WITHIN))

    def stand_in(self, value: str, *, terms: bool = False) -> bool:
        """Whether a text names somebody; in ``terms`` (CS) a short name is a term of DICOM."""
        lower = value.casefold()
        return any(part in lower for part in self.within) or (
            not terms and not self.names.isdisjoint(_WORD.findall(lower))
        )


@dataclass(frozen=True)
class _Cleaning:
    """The work on one object: ``identifiers`` are looked for in every text that stays."""

    by: Deidentifier
    ds: Dataset
    identifiers: Identifiers

    def cleaned(self, ds: Dataset) -> Dataset:
        """Return a data set, or an item of a sequence, with what stays of it."""
        kept = Dataset()
        for tag in STAYING & ds.keys():
            element = _element(ds, tag)
            value = None if element is None else self._value(ds, element)
            if element is not None and value is not None:
                kept.add_new(element.tag, element.VR, value)
        return kept

    def _value(self, item: Dataset, element: DataElement) -> Any:
        """Return what an element becomes; None where it goes."""
        action = RULES[element.keyword]
        if action is Action.ITEMS:
            held = element.value if element.VR == "SQ" else ()
            return [self.cleaned(one) for one in held or ()]
        return self._by_action[action](item, element)

    @cached_property
    def _by_action(self) -> Mapping[Action, Callable[[Dataset, DataElement], Any]]:
        return {
            Action.KEEP: lambda _, element: self._kept(element),
            Action.EMPTY: lambda _, __: "",
            Action.UID: lambda item, element: [self.by.key.uid(uid) for uid in texts(item, element.keyword)],
            Action.DATE: lambda item, element: [self.by.moved(value) for value in texts(item, element.keyword)],
            Action.PATIENT: lambda _, __: self.by.patient,
            Action.REGION: lambda item, _: self._region(item),
            Action.MEANING: lambda item, element: self._meaning(item, element),
            Action.AGE: lambda item, element: kept_age(text(item, element.keyword)),
            Action.FIXED: lambda _, element: FIXED_TEXTS[element.keyword],
        }

    def _kept(self, element: DataElement) -> Any:
        values = list(element.value) if isinstance(element.value, MultiValue | list) else [element.value]
        if element.VR in VALUES:
            is_one = VALUES[element.VR]
            return element.value if all(v in (None, "") or is_one(str(v)) is not None for v in values) else None
        if element.VR in TEXT_VRS:
            terms = element.VR == "CS"
            return [REMOVED if self.identifiers.stand_in(str(v), terms=terms) else v for v in values]
        return element.value

    def _region(self, item: Dataset) -> str:
        number = text(item, "SegmentNumber") or text(item, "ROINumber")
        rank = self.by.regions.get((text(self.ds, "SOPInstanceUID"), int(number) if number.isdecimal() else -1))
        return f"structure {number}" if rank is None else f"tumour {rank}"

    def _meaning(self, item: Dataset, element: DataElement) -> str:
        published = text(item, "CodingSchemeDesignator") in PUBLISHED_SCHEMES
        meaning = text(item, element.keyword)
        return meaning if published and not self.identifiers.stand_in(meaning) else LOCAL_MEANING


def _element(ds: Dataset, tag: BaseTag) -> DataElement | None:
    """Return an element; None where its VR is not the dictionary's, or its bytes are no value."""
    try:
        element = ds[tag]
    except CONVERSION_ERRORS:
        return None
    return element if element.VR in dictionary_VR(tag).split(" or ") else None


def kept_age(value: str) -> str:
    """Return an Age String (AS, PS3.5 6.2) as it may stay: above 89 years it is 90; empty where it is none."""
    if not re.fullmatch(r"\d{3}[DWMY]", value):
        return ""
    return f"{OLDEST_YEARS + 1:03d}Y" if value.endswith("Y") and int(value[:3]) > OLDEST_YEARS else value


def _method(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


def _file_meta(ds: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(text(ds, "SOPClassUID"))
    meta.MediaStorageSOPInstanceUID = UID(text(ds, "SOPInstanceUID"))
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    return meta
