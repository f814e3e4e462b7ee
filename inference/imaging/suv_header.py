"""What the SUV rules read of a PET slice's header, typed. Pure: made by ``inference.read.pet``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time

Code = tuple[str, str]  # Code Value (0008,0100), Coding Scheme Designator (0008,0102)

# The elements that messages name. Private ones are named as their vendors print them.
TAGS: dict[str, str] = {
    "SOPClassUID": "(0008,0016)",
    "SeriesDate": "(0008,0021)",
    "AcquisitionDate": "(0008,0022)",
    "SeriesTime": "(0008,0031)",
    "AcquisitionTime": "(0008,0032)",
    "PatientSex": "(0010,0040)",
    "PatientSize": "(0010,1020)",
    "PatientWeight": "(0010,1030)",
    "Radiopharmaceutical": "(0018,0031)",
    "RadiopharmaceuticalStartTime": "(0018,1072)",
    "RadionuclideTotalDose": "(0018,1074)",
    "RadionuclideHalfLife": "(0018,1075)",
    "RadiopharmaceuticalStartDateTime": "(0018,1078)",
    "ActualFrameDuration": "(0018,1242)",
    "SeriesInstanceUID": "(0020,000E)",
    "CorrectedImage": "(0028,0051)",
    "RescaleIntercept": "(0028,1052)",
    "RescaleSlope": "(0028,1053)",
    "RadionuclideCodeSequence": "(0054,0300)",
    "RadiopharmaceuticalCodeSequence": "(0054,0304)",
    "Units": "(0054,1001)",
    "SUVType": "(0054,1006)",
    "DecayCorrection": "(0054,1102)",
    "FrameReferenceTime": "(0054,1300)",
    "GE scan date-time": "(0009,100D)",
    "Philips SUV scale factor": "(7053,1000)",
    "Philips activity concentration scale factor": "(7053,1009)",
}
LONGEST_QUOTE = 64  # characters of a header value that a message repeats


@dataclass(frozen=True, kw_only=True)
class PetSlice:
    """The header values of one PET slice. None or empty: absent or malformed (``written`` has the text).

    Parameters
    ----------
    weight
        PatientWeight (0010,1030) as given; kg, but some headers give grams
    size
        PatientSize (0010,1020) as given; m, but some headers give cm
    dose
        RadionuclideTotalDose (0018,1074) as given; Bq, but some headers give MBq
    series_start, acquisition_start
        (0008,0021)/(0008,0031) and (0008,0022)/(0008,0032), as written (no time zone)
    injection, injection_clock
        RadiopharmaceuticalStartDateTime (0018,1078) and StartTime (0018,1072)
    frame_reference_ms, frame_duration_ms
        (0054,1300) and (0018,1242), ms
    ge_scan
        GE (0009,100D), creator GEMS_PETD_01
    philips_suv, philips_activity
        Philips (7053,1000) and (7053,1009), creator "Philips PET Private Group"
    creator_missing
        names of those private elements whose block has no creator
    written
        keyword to the text in the header, for messages only
    """

    sop_class_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    units: str = ""
    suv_type: str = ""
    corrected_image: frozenset[str] = frozenset()
    decay_correction: str = ""
    rescale_slope: float | None = None
    rescale_intercept: float | None = None
    weight: float | None = None
    size: float | None = None
    sex: str = ""
    dose: float | None = None
    half_life_seconds: float | None = None
    radionuclide: tuple[Code, ...] = ()
    radiopharmaceutical: str = ""
    radiopharmaceutical_codes: tuple[Code, ...] = ()
    series_start: datetime | None = None
    series_date: date | None = None
    acquisition_start: datetime | None = None
    acquisition_date: date | None = None
    injection: datetime | None = None
    injection_clock: time | None = None
    frame_reference_ms: float | None = None
    frame_duration_ms: float | None = None
    ge_scan: datetime | None = None
    philips_suv: float | None = None
    philips_activity: float | None = None
    creator_missing: frozenset[str] = frozenset()
    written: Mapping[str, str] = field(default_factory=dict)

    def found(self, *keywords: str) -> str:
        """Say what the header holds, e.g. ``PatientWeight (0010,1030) is missing``."""
        return ", ".join(f"{k} {TAGS[k]} is {self._value(k)}" for k in keywords)

    def _value(self, keyword: str) -> str:
        text = self.written.get(keyword, "")
        if not text:
            return "missing"
        return repr(text if len(text) <= LONGEST_QUOTE else text[:LONGEST_QUOTE] + "...")
