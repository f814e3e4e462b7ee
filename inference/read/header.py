"""Typed header access: the one border where ``ds.Anything`` becomes a value.

Text is read from the element's bytes where pydicom has not converted it yet, so a value that breaks its VR (too long,
no number) is a value to report, never an exception or a warning. Malformed numbers, dates and times are None.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from egfr_dls.errors import StudyRefusedError
from egfr_dls.refusals import RefusalCode

# VRs whose bytes are text (PS3.5 6.2); UN because private elements in Implicit VR have no other.
TEXT_VRS = frozenset(
    ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UN", "UR", "UT")
)
# What converting a malformed element raises in pydicom 3; a value that it raises for is read as missing.
CONVERSION_ERRORS = (
    BytesLengthException,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    NotImplementedError,
    OverflowError,
    struct.error,
)

EARLIEST_YEAR = 1800  # a year before is no date of an image, and date arithmetic would leave the calendar

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
# The dots and colons are those of ACR-NEMA, which PS3.5 6.2 asks readers to accept.
_DATE = re.compile(r"(\d{4})\.?(\d\d)\.?(\d\d)")
_TIME = re.compile(r"(\d\d)(?::?(\d\d))?(?::?(\d\d))?(?:\.(\d{1,6})\d*)?")
_ZONE = re.compile(r"[+-]\d{4}$")


def tag_of(keyword: str) -> BaseTag:
    """Return the tag of a dictionary keyword."""
    return Tag(tag_for_keyword(keyword) or 0)


def where(keyword: str) -> str:
    """How a message names an element, e.g. ``PatientWeight (0010,1030)``."""
    return f"{keyword} {tag_of(keyword)}"


def written(ds: Dataset, tag: BaseTag | str) -> str:
    """Return the value as the header has it, without padding; several values joined by a backslash, absent is empty."""
    at = tag_of(tag) if isinstance(tag, str) else tag
    if at not in ds:
        return ""
    element = ds.get_item(at)
    value: Any = element.value if element is not None else None
    if isinstance(element, RawDataElement) and (value is None or (element.VR or _vr(at)) not in TEXT_VRS):
        try:
            value = ds[at].value
        except CONVERSION_ERRORS:
            return ""
    return _as_text(value)


def _vr(tag: BaseTag) -> str:
    try:
        return dictionary_VR(tag)
    except KeyError:
        return "UN"


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    elif isinstance(value, MultiValue | list | tuple):
        value = "\\".join(str(v) for v in value)
    return str(value).strip(" \0\t\r\n")


def texts(ds: Dataset, keyword: str) -> tuple[str, ...]:
    """Return the values of a text element, stripped; absent is ``()``."""
    value = written(ds, keyword)
    return tuple(part.strip(" \0") for part in value.split("\\")) if value else ()


def text(ds: Dataset, keyword: str) -> str:
    """Return the first value of a text element, stripped; absent is empty."""
    return next(iter(texts(ds, keyword)), "")


def as_number(value: str) -> float | None:
    """Return the finite number that a text is, else None."""
    number = float(value) if _NUMBER.fullmatch(value) else math.nan
    return number if math.isfinite(number) else None


def number(ds: Dataset, keyword: str) -> float | None:
    """Return the first value of a numeric element; None where it is absent or no finite number."""
    return as_number(text(ds, keyword))


def numbers(ds: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Return exactly ``count`` finite numbers, else None."""
    values = tuple(v for v in map(as_number, texts(ds, keyword)) if v is not None)
    return values if len(values) == count == len(texts(ds, keyword)) else None


def integer(ds: Dataset, keyword: str) -> int | None:
    """Return the first value as an integer; None where it is absent or none."""
    value = number(ds, keyword)
    return int(value) if value is not None and value == int(value) else None


def as_date(value: str) -> date | None:
    """Parse a DA value (PS3.5 6.2)."""
    match = _DATE.fullmatch(value)
    try:
        parsed = date(*(int(part) for part in match.groups())) if match else None
    except ValueError:
        return None
    return parsed if parsed and parsed.year >= EARLIEST_YEAR else None


def as_time(value: str) -> time | None:
    """Parse a TM value of 2, 4 or 6 digits with an optional fraction (PS3.5 6.2); second 60 is read as 59."""
    match = _TIME.fullmatch(value)
    if match is None:
        return None
    hour, minute, second, fraction = match.groups(default="0")
    try:
        return time(
            int(hour), int(minute), min(int(second), 59) if second == "60" else int(second), _microseconds(fraction)
        )
    except ValueError:
        return None


def _microseconds(fraction: str) -> int:
    return int(fraction.ljust(6, "0"))


def as_moment(value: str) -> datetime | None:
    """Parse a DT value that has a time; the zone suffix is dropped, since all times are compared as written."""
    local = _ZONE.sub("", value)
    return _combined(as_date(local[:8]), as_time(local[8:]))


def day(ds: Dataset, keyword: str) -> date | None:
    """Return a DA element."""
    return as_date(text(ds, keyword))


def clock(ds: Dataset, keyword: str) -> time | None:
    """Return a TM element."""
    return as_time(text(ds, keyword))


def moment(ds: Dataset, keyword: str) -> datetime | None:
    """Return a DT element, as written in the header."""
    return as_moment(text(ds, keyword))


def moment_of(ds: Dataset, date_keyword: str, time_keyword: str) -> datetime | None:
    """Return a DA and a TM element together; None where either is missing."""
    return _combined(day(ds, date_keyword), clock(ds, time_keyword))


def _combined(on: date | None, at: time | None) -> datetime | None:
    return None if on is None or at is None else datetime.combine(on, at)


@dataclass(frozen=True)
class PrivateText:
    """The value of a private element, and whether its block names its creator."""

    value: str = ""
    creator_missing: bool = False


def private_text(ds: Dataset, tag: int, creator: str, vendor: str) -> PrivateText:
    """Return a private element, read through its creator (PS3.5 7.8.1); empty where it is not there.

    ``tag`` is the element in block 0x10 (as vendors print it). Another creator's block is ignored. Where no creator
    element exists, the tag is taken only if Manufacturer (0008,0070) names the ``vendor``.
    """
    group, element = tag >> 16, tag & 0xFF
    creators = {block: written(ds, Tag(group, block)) for block in range(0x10, 0x100) if Tag(group, block) in ds}
    for block, name in creators.items():
        if name.casefold() == creator.casefold():
            return PrivateText(written(ds, Tag(group, block << 8 | element)))
    if 0x10 in creators or vendor.casefold() not in text(ds, "Manufacturer").casefold():
        return PrivateText()
    return PrivateText(written(ds, Tag(tag)), creator_missing=Tag(tag) in ds)


def items(ds: Dataset, keyword: str) -> tuple[Dataset, ...]:
    """Return the items of a sequence; absent is ``()``.

    Raises
    ------
    StudyRefusedError
        ``PIXELS_UNREADABLE``: the sequence cannot be decoded
    """
    if tag_of(keyword) not in ds:
        return ()
    try:
        value = ds[tag_of(keyword)].value
    except Exception as error:  # noqa: BLE001  # hostile bytes make pydicom raise anything, RecursionError included
        raise unreadable(ds, where(keyword), error) from None
    return tuple(value) if isinstance(value, Iterable) and all(isinstance(v, Dataset) for v in value) else ()


def codes(ds: Dataset, keyword: str) -> tuple[tuple[str, str], ...]:
    """Return (Code Value, Coding Scheme Designator) of each item of a code sequence."""
    return tuple((text(item, "CodeValue"), text(item, "CodingSchemeDesignator")) for item in items(ds, keyword))


def unreadable(ds: Dataset, what: str, error: BaseException, advice: str = "") -> StudyRefusedError:
    """Return the refusal for bytes that cannot be decoded; the exception's own text never goes anywhere."""
    syntax = UID(str(getattr(ds, "file_meta", Dataset()).get("TransferSyntaxUID", "") or ""))
    return StudyRefusedError(
        RefusalCode.PIXELS_UNREADABLE,
        f"{what} of instance {text(ds, 'SOPInstanceUID') or '(no SOPInstanceUID)'} "
        f"in transfer syntax {syntax.name or '(not stated)'} cannot be decoded ({type(error).__name__})"
        f"{'; needed: ' + advice if advice else '; needed: a readable object, sent again by its source'}",
    )
