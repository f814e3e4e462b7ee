"""Stored regions of interest, and the table that says which of them are tumours. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from egfr_dls.errors import ConfigurationError
from egfr_dls.study import RoiSource
from egfr_dls.volume import Mask


@dataclass(frozen=True)
class CodedConcept:
    """A coded entry: Code Value (0008,0100), Coding Scheme Designator (0008,0102), Code Meaning (0008,0104)."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True, kw_only=True)
class RoiFacts:
    """What the header of a SEG or RTSTRUCT says of one region.

    Parameters
    ----------
    label
        Segment Label (0062,0005) or ROI Name (3006,0026)
    number
        Segment Number (0062,0004) or ROI Number (3006,0022)
    content_datetime
        Content Date and Time (0008,0023), (0008,0033), or Structure Set Date and Time (3006,0008), (3006,0009)
    tracking_uid
        Tracking UID (0062,0021)
    concepts
        category and type of a segment; identification codes and interpreted type of a structure
    referenced_series_uids
        Series Instance UIDs (0020,000E) of the images it was drawn on
    creator
        algorithm type and the product that wrote it, for the report
    """

    label: str
    number: int
    source: RoiSource
    sop_instance_uid: str
    sop_class_uid: str
    content_datetime: datetime | None
    tracking_uid: str | None
    concepts: tuple[CodedConcept, ...]
    referenced_series_uids: frozenset[str]
    creator: str

    @property
    def name(self) -> str:
        """How a message names the region."""
        kind, word = ("SEG", "segment") if self.source is RoiSource.STORED_SEG else ("RTSTRUCT", "ROI")
        return f"{word} {self.number} {self.label!r} of {kind} {self.sop_instance_uid}"


@dataclass(frozen=True, eq=False, kw_only=True)
class StoredRoi(RoiFacts):
    """A stored region as voxels: ``mask`` is bool ``[z, y, x]`` on the grid it was read for, read-only.

    ``method`` says how the voxels were found (threshold, nearest neighbour), empty where they are the stored ones.
    """

    mask: Mask
    method: str = ""

    def __post_init__(self) -> None:
        self.mask.setflags(write=False)


@dataclass(frozen=True)
class TumourRoi:
    """A region that counts as a tumour, and why."""

    facts: RoiFacts
    why: str


# Neoplasm and lesion codes, as category or as type, in SNOMED CT and in the SRT codes of older objects (PS3.16 annex
# D has the pairs): tumour morphologies (CID 7159 and neighbours), and the structural lesions that readers draw.
TUMOUR_CODES: dict[tuple[str, str], str] = {
    ("SCT", "108369006"): "Neoplasm",
    ("SRT", "M-8FFFF"): "Neoplasm",
    ("SCT", "86049000"): "Neoplasm, Primary",
    ("SRT", "M-80003"): "Neoplasm, Primary",
    ("SCT", "14799000"): "Neoplasm, Secondary",
    ("SRT", "M-80006"): "Neoplasm, Secondary",
    ("SCT", "52988006"): "Lesion",
    ("SRT", "M-01100"): "Lesion",
    ("SCT", "4147007"): "Mass",
    ("SRT", "M-03000"): "Mass",
    ("SCT", "27925004"): "Nodule",
    ("SRT", "M-03010"): "Nodule",
    ("SCT", "68453008"): "Carcinoma",
    ("SCT", "1187425009"): "Carcinoma",
    ("SCT", "35917007"): "Adenocarcinoma",
    ("SCT", "1187332001"): "Adenocarcinoma",
    ("SCT", "254626006"): "Adenocarcinoma of lung",
    ("SCT", "254634000"): "Squamous cell carcinoma of lung",
    ("SCT", "94391008"): "Pulmonary metastasis",
    ("SCT", "228791009"): "Gross tumor volume",
    ("RT ROI Interpreted Type", "GTV"): "Gross Tumor Volume",  # (3006,00A4), PS3.3 C.8.8.8.1
}
TUMOUR_WORDS = ("tumor", "tumour", "lesion", "nodule", "mass", "cancer", "carcinoma", "metasta", "gtv")
PATTERN_KEY = "[biomarkers.pet_ct_egfr] roi_label_pattern"


def choose_tumours(rois: Sequence[RoiFacts], pattern: str | None) -> tuple[TumourRoi, ...]:
    """Return the regions that are tumours, with the reason; empty where no rule matches.

    The site's ``pattern`` (a regular expression, searched in the label without regard to case) decides alone where it
    matches any; otherwise each region is judged by its codes, then by the words of its label.

    Raises
    ------
    ConfigurationError
        the pattern is not a regular expression
    """
    for rules in ((_by_pattern(pattern),) if pattern is not None else (), (_by_code, _by_word)):
        taken = tuple(TumourRoi(roi, why) for roi in rois if (why := _first(rules, roi)))
        if taken:
            return taken
    return ()


_Rule = Callable[[RoiFacts], str | None]


def _first(rules: Sequence[_Rule], roi: RoiFacts) -> str | None:
    return next((why for rule in rules if (why := rule(roi))), None)


def _by_pattern(pattern: str) -> _Rule:
    try:
        expression = re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise ConfigurationError(
            f"{PATTERN_KEY}: {pattern!r} is not a regular expression: {error}; give one, or remove the key"
        ) from error
    return lambda roi: f"its label matches the site's {PATTERN_KEY}" if expression.search(roi.label) else None


def _by_code(roi: RoiFacts) -> str | None:
    for concept in roi.concepts:
        if (concept.scheme, concept.value) in TUMOUR_CODES:
            meaning = TUMOUR_CODES[concept.scheme, concept.value]
            return f"it is coded as {meaning} ({concept.value}, {concept.scheme})"
    return None


def _by_word(roi: RoiFacts) -> str | None:
    word = next((w for w in TUMOUR_WORDS if w in roi.label.casefold()), None)
    return f"its label holds the word {word!r}" if word else None


SAME_LESION_OVERLAP = 0.5  # of the smaller of two regions


@dataclass(frozen=True, eq=False)
class StoredLesion:
    """The region that stands for a lesion, and the other regions of the same lesion."""

    roi: StoredRoi
    instead_of: tuple[StoredRoi, ...] = ()


def one_per_lesion(rois: Sequence[StoredRoi]) -> tuple[StoredLesion, ...]:
    """Return one region for each lesion: the newer content date, then SEG before RTSTRUCT, then the larger.

    All masks are on one grid. Two regions are one lesion when they share half of the smaller.
    """
    lesions: list[StoredLesion] = []
    for roi in sorted(rois, key=_preference, reverse=True):
        for i, lesion in enumerate(lesions):
            if _overlap(roi.mask, lesion.roi.mask) >= SAME_LESION_OVERLAP:
                lesions[i] = StoredLesion(lesion.roi, (*lesion.instead_of, roi))
                break
        else:
            lesions.append(StoredLesion(roi))
    return tuple(lesions)


def _preference(roi: StoredRoi) -> tuple[datetime, bool, int, int]:
    return (
        roi.content_datetime or datetime.min,  # noqa: DTZ901  # header times are compared as written
        roi.source is RoiSource.STORED_SEG,
        int(roi.mask.sum()),
        -roi.number,
    )


def _overlap(a: Mask, b: Mask) -> float:
    smaller = min(np.count_nonzero(a), np.count_nonzero(b))
    return float(np.count_nonzero(a & b) / smaller) if smaller else 0.0
