"""Reference time of the decay correction and time of injection, from headers that contradict one another.

All times are compared as written in the header. The order of the rules was measured on eight vendors' headers and on
reference objects (docs/reference/suv.md; QIBA FDG-PET/CT profile, vendor-neutral SUV pseudo-code).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum

from egfr_dls.errors import StudyRefusedError
from egfr_dls.refusals import RefusalCode, Remark, WarningCode
from inference.imaging.suv_header import PetSlice

CLOCK_TOLERANCE = timedelta(seconds=1)
REFERENCE_DIFFERS = timedelta(seconds=60)
LONGEST_UPTAKE = timedelta(hours=6)
MEASURABLE_UPTAKE = timedelta(hours=12)  # beyond it no factor is computed, even where the uptake time only warns
USUAL_UPTAKE_MINUTES = (45.0, 120.0)
ONE_DAY = timedelta(days=1)


class ReferenceSource(StrEnum):
    """Where the time to which the pixel values are decay corrected was found."""

    SERIES = "series"
    GE_PRIVATE = "ge_private"
    BACK_COMPUTED = "back_computed"
    ACQUISITION = "acquisition"


@dataclass(frozen=True)
class Reference:
    """The time to which the pixel values are decay corrected (START)."""

    time: datetime
    source: ReferenceSource
    warnings: tuple[Remark, ...] = ()


@dataclass(frozen=True)
class Injection:
    """The time of injection; ``uptake_minutes`` from then to the start of the scan."""

    time: datetime
    uptake_minutes: float
    warnings: tuple[Remark, ...] = ()


def frame_decay(half_life_seconds: float, duration_seconds: float) -> float:
    """Return activity at the start of a frame over the mean during the frame: lambda T / (1 - exp(-lambda T))."""
    exponent = math.log(2) / half_life_seconds * duration_seconds
    return exponent / -math.expm1(-exponent) if exponent > 0 else 1.0


def earliest_acquisition(slices: Sequence[PetSlice]) -> datetime | None:
    """Return the start of the first frame."""
    return min((s.acquisition_start for s in slices if s.acquisition_start), default=None)


def back_computed(slices: Sequence[PetSlice], half_life_seconds: float | None) -> datetime | None:
    """Return the earliest reference time that FrameReferenceTime (0054,1300) implies; None where it is not given.

    FrameReferenceTime counts from the reference to the moment of the frame's mean activity. 0 is a placeholder.
    """
    if half_life_seconds is None:
        return None
    times = []
    for s in slices:
        if s.acquisition_start and s.frame_reference_ms and s.frame_duration_ms and s.frame_duration_ms > 0:
            to_mean = (
                math.log(frame_decay(half_life_seconds, s.frame_duration_ms / 1000)) * half_life_seconds / math.log(2)
            )
            times.append(_later(s.acquisition_start, to_mean - s.frame_reference_ms / 1000))
    return min((t for t in times if t), default=None)


def _later(start: datetime, seconds: float) -> datetime | None:
    try:
        return start + timedelta(seconds=seconds)
    except (OverflowError, ValueError):  # beyond year 9999, or not a number
        return None


def reference_time(slices: Sequence[PetSlice], half_life_seconds: float | None) -> Reference | None:
    """Return the first plausible reference time: series, GE private, back-computed, acquisition; None without any time."""
    first = slices[0]
    acquired = earliest_acquisition(slices)
    back = back_computed(slices, half_life_seconds)
    if back is not None and acquired is not None and back > acquired + CLOCK_TOLERANCE:
        back = None
    ge, warnings = _ge_time(first, acquired, back)
    candidates = (
        (first.series_start, ReferenceSource.SERIES),
        (ge, ReferenceSource.GE_PRIVATE),
        (back, ReferenceSource.BACK_COMPUTED),
        (acquired, ReferenceSource.ACQUISITION),
    )
    for moment, source in candidates:
        if moment is not None and (acquired is None or moment <= acquired + CLOCK_TOLERANCE):
            guessed = _guessed(first) if acquired is None or source is ReferenceSource.ACQUISITION else ()
            return Reference(moment, source, warnings + guessed + _differs(moment, source, back))
    return None


def _ge_time(
    first: PetSlice, acquired: datetime | None, back: datetime | None
) -> tuple[datetime | None, tuple[Remark, ...]]:
    """Return GE's (0009,100D) where it lies in the time frame of the public dates, else its time of day if confirmed."""
    private = first.ge_scan
    if private is None or acquired is None:
        return None, ()
    name = "GE scan date-time"
    missing = _creator_missing(first, name)
    if abs(private.date() - acquired.date()) <= ONE_DAY:
        return private, missing
    moved = datetime.combine(acquired.date(), private.time())
    confirmed = back is not None and abs(moved - back) <= REFERENCE_DIFFERS
    remark = Remark(
        WarningCode.SUV_GE_DATE_IMPLAUSIBLE,
        f"{first.found(name)}, days away from {first.found('AcquisitionDate')}: "
        + ("only its time of day was used" if confirmed else "it was ignored"),
    )
    return (moved if confirmed else None), (*missing, remark)


def _creator_missing(first: PetSlice, name: str) -> tuple[Remark, ...]:
    if name not in first.creator_missing:
        return ()
    return (
        Remark(
            WarningCode.SUV_PRIVATE_CREATOR_MISSING,
            f"{first.found(name)} without its private creator; it was accepted by Manufacturer (0008,0070)",
        ),
    )


def _guessed(first: PetSlice) -> tuple[Remark, ...]:
    return (
        Remark(
            WarningCode.SUV_REFERENCE_GUESSED,
            f"{first.found('SeriesDate', 'SeriesTime', 'AcquisitionDate', 'AcquisitionTime', 'FrameReferenceTime')}: no "
            "reference time could be confirmed; the "
            f"{'start of acquisition' if first.acquisition_start else 'series time'} was taken",
        ),
    )


def _differs(moment: datetime, source: ReferenceSource, back: datetime | None) -> tuple[Remark, ...]:
    if back is None or abs(moment - back) <= REFERENCE_DIFFERS:
        return ()
    return (
        Remark(
            WarningCode.SUV_REFERENCE_DIFFERS,
            f"the reference time taken ({source}) is {abs(moment - back).total_seconds():.0f} s "
            f"{'after' if moment > back else 'before'} the one that FrameReferenceTime (0054,1300) implies",
        ),
    )


def injection_time(first: PetSlice, scan_start: datetime | None, *, only_warn: bool = False) -> Injection:
    """Return the time of injection; with ``only_warn`` an implausible one is taken as it stands, with a warning.

    Raises
    ------
    StudyRefusedError
        ``SUV_NO_INJECTION_TIME``; ``SUV_UPTAKE_TIME``: not within 0 to 6 h before the scan
    """
    on = first.series_date or first.acquisition_date or (scan_start.date() if scan_start else None)
    moment = first.injection or _on_day(first.injection_clock, on, scan_start)
    if moment is None:
        raise StudyRefusedError(
            RefusalCode.SUV_NO_INJECTION_TIME,
            f"{first.found('RadiopharmaceuticalStartDateTime', 'RadiopharmaceuticalStartTime')}. "
            "Needed: the time of injection in either.",
        )
    if scan_start is None:
        raise _no_scan_start(first)
    if _plausible(moment, scan_start):
        return _injection(moment, scan_start)
    shifted = _on_day(first.injection.time(), on, scan_start) if first.injection else None
    if shifted is None or not _plausible(shifted, scan_start):
        refusal = _implausible(first, moment, scan_start)
        if only_warn and abs(scan_start - moment) <= MEASURABLE_UPTAKE:
            return _injection(moment, scan_start, refusal.remark)
        raise refusal
    remark = Remark(
        WarningCode.SUV_DATE_SHIFT,
        f"{first.found('RadiopharmaceuticalStartDateTime')}, {_hours(scan_start - moment)} before the scan: "
        "its time of day was used on the date of the series",
    )
    return _injection(shifted, scan_start, remark)


def _on_day(clock: time | None, on: date | None, scan_start: datetime | None) -> datetime | None:
    """Put a time of day on the date; one later than the scan belongs to the day before (midnight)."""
    if clock is None or on is None:
        return None
    moment = datetime.combine(on, clock)
    return moment - ONE_DAY if scan_start is not None and moment > scan_start else moment


def _plausible(moment: datetime, scan_start: datetime) -> bool:
    return timedelta(0) <= scan_start - moment <= LONGEST_UPTAKE


def _injection(moment: datetime, scan_start: datetime, *warnings: Remark) -> Injection:
    minutes = (scan_start - moment).total_seconds() / 60
    low, high = USUAL_UPTAKE_MINUTES
    if not low <= minutes <= high:
        warnings += (
            Remark(
                WarningCode.SUV_UPTAKE_UNUSUAL,
                f"uptake time is {minutes:.1f} min; usual is {low:.0f} to {high:.0f} min",
            ),
        )
    return Injection(moment, minutes, warnings)


def _implausible(first: PetSlice, moment: datetime, scan_start: datetime) -> StudyRefusedError:
    keyword = "RadiopharmaceuticalStartDateTime" if first.injection else "RadiopharmaceuticalStartTime"
    return StudyRefusedError(
        RefusalCode.SUV_UPTAKE_TIME,
        f"{first.found(keyword, 'SeriesDate', 'SeriesTime', 'AcquisitionDate', 'AcquisitionTime')}: the injection lies "
        f"{_hours(scan_start - moment)} before the scan. Needed: 0 to {LONGEST_UPTAKE.total_seconds() / 3600:.0f} h.",
    )


def _no_scan_start(first: PetSlice) -> StudyRefusedError:
    return StudyRefusedError(
        RefusalCode.SUV_UPTAKE_TIME,
        f"{first.found('SeriesDate', 'SeriesTime', 'AcquisitionDate', 'AcquisitionTime')}. "
        "Needed: the date and time of the series or of the acquisition.",
    )


def _hours(span: timedelta) -> str:
    return f"{span.total_seconds() / 3600:.2f} h"
