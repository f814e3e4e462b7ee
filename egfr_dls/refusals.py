"""The one table of refusal and warning codes. Codes are stable; a new meaning is a new code.

A new code is a line here, its ``NS-...`` code in ``egfr_dls/codes.py`` (refusals), its row with what to do and an example
in ``docs/reference/refusals.md``, and its change of a sound study in ``tests/inference/changes.py``; the tests fail until
all are there. The sentence that a person reads is written where the facts are: ``StudyRefusedError(code, message)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Remark:
    """A refusal or a warning: its code and the sentence a person reads."""

    code: str
    message: str


class RefusalCode(StrEnum):
    """Why a study, a series or a lesion is not scored."""

    # series and geometry
    SERIES_MISSING = "SERIES_MISSING"
    SERIES_AMBIGUOUS = "SERIES_AMBIGUOUS"
    STUDY_INCOMPLETE = "STUDY_INCOMPLETE"
    INSTANCE_UID_CONFLICT = "INSTANCE_UID_CONFLICT"
    SOP_CLASS_UNSUPPORTED = "SOP_CLASS_UNSUPPORTED"
    PET_NOT_ATTENUATION_CORRECTED = "PET_NOT_ATTENUATION_CORRECTED"
    GEOMETRY_MISMATCH = "GEOMETRY_MISMATCH"
    REGISTRATION_IMPLAUSIBLE = "REGISTRATION_IMPLAUSIBLE"
    PIXELS_UNREADABLE = "PIXELS_UNREADABLE"
    # region of interest and field of view
    NO_ROI = "NO_ROI"
    ROI_TOO_LATE = "ROI_TOO_LATE"
    ROI_AMBIGUOUS = "ROI_AMBIGUOUS"
    ROI_REFERENCE_MISSING = "ROI_REFERENCE_MISSING"
    NO_LUNG_FIELD = "NO_LUNG_FIELD"
    ROI_TOO_SMALL = "ROI_TOO_SMALL"
    FOV_NO_TUMOUR = "FOV_NO_TUMOUR"
    FOV_TRUNCATED = "FOV_TRUNCATED"
    FOV_LARGE = "FOV_LARGE"
    FOV_MARGIN = "FOV_MARGIN"
    HYPERIMAGE_FLAT_CHANNEL = "HYPERIMAGE_FLAT_CHANNEL"
    ROI_WITHOUT_UPTAKE = "ROI_WITHOUT_UPTAKE"
    FEW_SLICES = "FEW_SLICES"
    # PET quantity, in the order of the checks
    SUV_SOP_CLASS = "SUV_SOP_CLASS"
    SUV_MIXED_SERIES = "SUV_MIXED_SERIES"
    SUV_NOT_ATTENUATION_CORRECTED = "SUV_NOT_ATTENUATION_CORRECTED"
    SUV_NOT_DECAY_CORRECTED = "SUV_NOT_DECAY_CORRECTED"
    SUV_INTERCEPT = "SUV_INTERCEPT"
    SUV_UNITS_UNSUPPORTED = "SUV_UNITS_UNSUPPORTED"
    SUV_UNITS_NOT_BW = "SUV_UNITS_NOT_BW"
    SUV_COUNTS_WITHOUT_FACTOR = "SUV_COUNTS_WITHOUT_FACTOR"
    SUV_NO_WEIGHT = "SUV_NO_WEIGHT"
    SUV_WEIGHT_IMPLAUSIBLE = "SUV_WEIGHT_IMPLAUSIBLE"
    SUV_NO_DOSE = "SUV_NO_DOSE"
    SUV_DOSE_IMPLAUSIBLE = "SUV_DOSE_IMPLAUSIBLE"
    SUV_NO_HALF_LIFE = "SUV_NO_HALF_LIFE"
    SUV_NOT_F18 = "SUV_NOT_F18"
    NOT_FDG = "NOT_FDG"
    SUV_DECAY_UNKNOWN = "SUV_DECAY_UNKNOWN"
    SUV_NO_INJECTION_TIME = "SUV_NO_INJECTION_TIME"
    SUV_UPTAKE_TIME = "SUV_UPTAKE_TIME"
    # population
    EXCLUDED_PHANTOM = "EXCLUDED_PHANTOM"


class WarningCode(StrEnum):
    """What a reader of the score must know."""

    REGISTRATION_ESTIMATED = "REGISTRATION_ESTIMATED"
    ROI_PROPOSED = "ROI_PROPOSED"
    ROI_AMBIGUOUS = "ROI_AMBIGUOUS"
    ROI_REFERENCE_MISSING = "ROI_REFERENCE_MISSING"
    ROI_UNREADABLE = "ROI_UNREADABLE"  # a stored ROI cannot be read or placed; another one serves
    ROI_OTHER_PATIENT = "ROI_OTHER_PATIENT"  # a stored ROI names another patient than the images
    ROI_EMPTY = "ROI_EMPTY"  # a stored tumour encloses nothing inside the CT; another one serves
    ROI_PARTLY_REPLACED = "ROI_PARTLY_REPLACED"  # most of an older ROI lies outside what is scored in its stead
    FOV_MARGIN = "FOV_MARGIN"
    FOV_LARGE = "FOV_LARGE"
    ROI_WITHOUT_UPTAKE = "ROI_WITHOUT_UPTAKE"
    FEW_SLICES = "FEW_SLICES"
    CROP_PADDED = "CROP_PADDED"
    HYPERIMAGE_FLAT_CHANNEL = "HYPERIMAGE_FLAT_CHANNEL"
    SUV_WEIGHT_IN_GRAMS = "SUV_WEIGHT_IN_GRAMS"
    SUV_DOSE_IN_MBQ = "SUV_DOSE_IN_MBQ"
    SUV_UPTAKE_UNUSUAL = "SUV_UPTAKE_UNUSUAL"
    SUV_REFERENCE_GUESSED = "SUV_REFERENCE_GUESSED"
    SUV_REFERENCE_DIFFERS = "SUV_REFERENCE_DIFFERS"
    SUV_GE_DATE_IMPLAUSIBLE = "SUV_GE_DATE_IMPLAUSIBLE"
    SUV_DATE_SHIFT = "SUV_DATE_SHIFT"
    SUV_PRIVATE_CREATOR_MISSING = "SUV_PRIVATE_CREATOR_MISSING"
    SUV_OMITTED = "SUV_OMITTED"
    SUV_RWV_DISAGREES = "SUV_RWV_DISAGREES"
    TRACER_NOT_STATED = "TRACER_NOT_STATED"
    HISTOLOGY_UNKNOWN = "HISTOLOGY_UNKNOWN"
    OUTSIDE_TRAINING_DOMAIN = "OUTSIDE_TRAINING_DOMAIN"
    SERIES_FETCHED = "SERIES_FETCHED"
    PRIORS_LEFT_OUT = "PRIORS_LEFT_OUT"  # earlier results of the patient that are not in the time line


# Scale-type failures: a stored ROI may still be scored, because the network input does not depend on the
# scale of the PET values (docs/reference/science.md B; suv_failure_policy = "omit").
SCALE_FAILURES = frozenset(
    {
        RefusalCode.SUV_NOT_DECAY_CORRECTED,
        RefusalCode.SUV_UNITS_NOT_BW,
        RefusalCode.SUV_COUNTS_WITHOUT_FACTOR,
        RefusalCode.SUV_NO_WEIGHT,
        RefusalCode.SUV_WEIGHT_IMPLAUSIBLE,
        RefusalCode.SUV_NO_DOSE,
        RefusalCode.SUV_DOSE_IMPLAUSIBLE,
        RefusalCode.SUV_NO_HALF_LIFE,
        RefusalCode.SUV_DECAY_UNKNOWN,
        RefusalCode.SUV_NO_INJECTION_TIME,
        RefusalCode.SUV_UPTAKE_TIME,
    }
)
