"""The checks of a PET header, in order; each adds what it found to the state or refuses. Pure.

Every message says what was found, where and what is needed. docs/reference/suv.md has the table.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from egfr_dls.errors import StudyRefusedError
from egfr_dls.refusals import RefusalCode, Remark, WarningCode
from inference.imaging.body_size import NORMS
from inference.imaging.suv_header import PetSlice
from inference.imaging.suv_times import Injection, Reference, earliest_acquisition, injection_time, reference_time

PET_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.128"
WEIGHT_KG = (20.0, 300.0)
WEIGHT_IN_GRAMS_ABOVE = 1000.0
DOSE_BQ = (20e6, 1.5e9)
DOSE_IN_MBQ = (10.0, 2000.0)
F18_HALF_LIFE_SECONDS = 6586.2
F18_RANGE_SECONDS = (6400.0, 6750.0)
GE68_RANGE_SECONDS = (23.0e6, 24.0e6)  # 270.9 days: the isotope of scanner phantoms
SHORTEST_HALF_LIFE_SECONDS = 60.0  # Rb-82 has 75 s
F18_CODES = frozenset({("77004003", "SCT"), ("C-111A1", "SRT"), ("C-111A1", "SNM3"), ("C-111A1", "99SDM")})
FDG_CODES = frozenset(
    {("35321007", "SCT"), ("C-B1031", "SRT"), ("C-B1031", "SNM3"), ("Y-X1743", "99SDM"), ("Y-X1743", "SNM3")}
)
FDG_WORDS = ("fdg", "deoxyglucose")  # fluorodeoxyglucose, fludeoxyglucose
# What some scanners write in Radiopharmaceutical (0018,0031) that names no tracer.
NO_TRACER = frozenset({"", "solution", "unknown", "other", "none", "f18", "f-18", "18f", "18-f", "fluorine"})
DECAY_CORRECTIONS = ("ADMIN", "START", "NONE")


class FactorSource(StrEnum):
    """How the factor was found."""

    FORMULA = "formula"  # weight, dose and decay
    STORED_SUV = "stored_suv"  # the pixels are SUV already
    PHILIPS_SUV = "philips_suv"  # (7053,1000)
    PHILIPS_ACTIVITY = "philips_activity"  # (7053,1009), then the formula


@dataclass(frozen=True)
class Gates:
    """Which gates only warn (site acceptance) or are off."""

    any_isotope: bool = False
    tracer_only_warns: bool = False
    uptake_only_warns: bool = False


STRICT = Gates()


@dataclass(frozen=True)
class State:
    """What the checks have found so far."""

    slices: tuple[PetSlice, ...]
    gates: Gates
    source: FactorSource | None = None
    weight_kg: float = math.nan
    dose_bq: float = math.nan
    half_life_seconds: float | None = None
    reference: Reference | None = None
    injection: Injection | None = None
    warnings: tuple[Remark, ...] = ()

    @property
    def first(self) -> PetSlice:
        """The slice whose values stand for the series, once the first check has passed."""
        return self.slices[0]

    @property
    def needs_formula(self) -> bool:
        """Whether weight, dose and decay make the factor."""
        return self.source in (FactorSource.FORMULA, FactorSource.PHILIPS_ACTIVITY)

    @property
    def needs_weight(self) -> bool:
        """Whether the factor needs the weight: the formula, and SUV by another measure of the body."""
        return self.needs_formula or (self.source is FactorSource.STORED_SUV and suv_type_of(self.first) != "BW")

    def warn(self, *remarks: Remark) -> State:
        """Return the state with these warnings added."""
        return replace(self, warnings=self.warnings + remarks)


def refuse(code: RefusalCode, found: str, needed: str) -> StudyRefusedError:
    """Return the refusal that says what was found and what is needed."""
    return StudyRefusedError(code, f"{found}. Needed: {needed}.")


# Values that one series has once, and the elements to name when it has several.
SHARED: tuple[tuple[Callable[[PetSlice], object], tuple[str, ...]], ...] = (
    (lambda s: s.series_instance_uid, ("SeriesInstanceUID",)),
    (lambda s: s.units, ("Units",)),
    (lambda s: s.suv_type, ("SUVType",)),
    (lambda s: s.corrected_image, ("CorrectedImage",)),
    (lambda s: s.weight, ("PatientWeight",)),
    (lambda s: s.dose, ("RadionuclideTotalDose",)),
    (lambda s: s.half_life_seconds, ("RadionuclideHalfLife",)),
    (lambda s: s.decay_correction, ("DecayCorrection",)),
    (lambda s: s.series_start, ("SeriesDate", "SeriesTime")),
)


def _one_series(state: State) -> State:
    for s in state.slices:
        if s.sop_class_uid != PET_IMAGE_STORAGE:
            raise refuse(
                RefusalCode.SUV_SOP_CLASS,
                f"SOPClassUID (0008,0016) is {s.sop_class_uid or 'missing'}",
                f"PET Image Storage ({PET_IMAGE_STORAGE})",
            )
    for value, keywords in SHARED:
        other = next((s for s in state.slices if value(s) != value(state.first)), None)
        if other is not None:
            raise refuse(
                RefusalCode.SUV_MIXED_SERIES,
                f"{state.first.found(*keywords)} in instance {state.first.sop_instance_uid}, but "
                f"{other.found(*keywords)} in instance {other.sop_instance_uid}",
                "one value in all slices of the series",
            )
    return state


def _corrections(state: State) -> State:
    first = state.first
    found = first.found("CorrectedImage")
    if "ATTN" not in first.corrected_image:
        raise refuse(RefusalCode.SUV_NOT_ATTENUATION_CORRECTED, found, "ATTN among its values")
    if "DECY" not in first.corrected_image and first.decay_correction != "NONE":
        found = first.found("CorrectedImage", "DecayCorrection")
        raise refuse(RefusalCode.SUV_NOT_DECAY_CORRECTED, found, "DECY among its values, or DecayCorrection NONE")
    return state


def _rescale(state: State) -> State:
    for s in state.slices:
        if s.rescale_intercept or (s.rescale_intercept is None and s.written.get("RescaleIntercept")):
            raise refuse(RefusalCode.SUV_INTERCEPT, s.found("RescaleIntercept"), "0 (a PET value is slope x stored)")
        if s.rescale_slope is None or s.rescale_slope <= 0:
            raise refuse(RefusalCode.SUV_INTERCEPT, s.found("RescaleSlope"), "a number above 0 in every slice")
    return state


def _units(state: State) -> State:
    first = state.first
    if first.units == "BQML":
        return replace(state, source=FactorSource.FORMULA)
    if first.units == "CNTS":
        return _philips(state)
    if first.units not in ("GML", "CM2ML"):
        raise refuse(RefusalCode.SUV_UNITS_UNSUPPORTED, first.found("Units"), "BQML, GML, CM2ML or CNTS")
    if first.units == "GML" and suv_type_of(first) not in ("BW", *NORMS):
        raise refuse(RefusalCode.SUV_UNITS_NOT_BW, first.found("Units", "SUVType"), f"BW, {', '.join(NORMS)} or none")
    return replace(state, source=FactorSource.STORED_SUV)


def suv_type_of(first: PetSlice) -> str:
    return "BSA" if first.units == "CM2ML" else first.suv_type or "BW"


def _philips(state: State) -> State:
    """Take the private factors: they apply to Units CNTS only (headers with BQML carry them too)."""
    choices: tuple[tuple[str, FactorSource, Callable[[PetSlice], float | None]], ...] = (
        ("Philips SUV scale factor", FactorSource.PHILIPS_SUV, lambda s: s.philips_suv),
        ("Philips activity concentration scale factor", FactorSource.PHILIPS_ACTIVITY, lambda s: s.philips_activity),
    )
    for name, source, value in choices:
        if all((value(s) or 0) > 0 for s in state.slices):
            if name in state.first.creator_missing:
                text = f"{state.first.found(name)} without its private creator; accepted by Manufacturer (0008,0070)"
                state = state.warn(Remark(WarningCode.SUV_PRIVATE_CREATOR_MISSING, text))
            return replace(state, source=source)
    raise refuse(
        RefusalCode.SUV_COUNTS_WITHOUT_FACTOR,
        state.first.found("Units", *(name for name, _, _ in choices)),
        "a factor above 0 in every slice where Units is CNTS",
    )


def _weight(state: State) -> State:
    if not state.needs_weight:
        return state
    kg, found = state.first.weight, state.first.found("PatientWeight")
    low, high = WEIGHT_KG
    if kg is None or kg <= 0:
        raise refuse(RefusalCode.SUV_NO_WEIGHT, found, f"{low:.0f} to {high:.0f} kg")
    if kg > WEIGHT_IN_GRAMS_ABOVE:
        kg /= 1000
        state = state.warn(Remark(WarningCode.SUV_WEIGHT_IN_GRAMS, f"{found}: read as grams, {kg:g} kg"))
    if not low <= kg <= high:
        raise refuse(RefusalCode.SUV_WEIGHT_IMPLAUSIBLE, found, f"{low:.0f} to {high:.0f} kg")
    return replace(state, weight_kg=kg)


def _dose(state: State) -> State:
    if not state.needs_formula:
        return state
    bq, found = state.first.dose, state.first.found("RadionuclideTotalDose")
    needed = f"{DOSE_BQ[0] / 1e6:.0f} to {DOSE_BQ[1] / 1e6:.0f} MBq, written in Bq"
    if bq is None or bq <= 0:
        raise refuse(RefusalCode.SUV_NO_DOSE, found, needed)
    if DOSE_IN_MBQ[0] <= bq <= DOSE_IN_MBQ[1]:
        bq *= 1e6
        state = state.warn(Remark(WarningCode.SUV_DOSE_IN_MBQ, f"{found}: read as MBq"))
    if not DOSE_BQ[0] <= bq <= DOSE_BQ[1]:
        raise refuse(RefusalCode.SUV_DOSE_IMPLAUSIBLE, found, needed)
    return replace(state, dose_bq=bq)


def _isotope(state: State) -> State:
    """F-18 by its half life, or by its code where no half life is given."""
    first = state.first
    seconds = first.half_life_seconds
    found = first.found("RadionuclideHalfLife", "RadionuclideCodeSequence")
    low, high = F18_RANGE_SECONDS
    needed = f"F-18 ({low:.0f} to {high:.0f} s)"
    if state.gates.any_isotope and not state.needs_formula:
        return replace(state, half_life_seconds=seconds)
    if seconds is None or seconds <= 0:
        if F18_CODES.intersection(first.radionuclide):
            return replace(state, half_life_seconds=F18_HALF_LIFE_SECONDS)
        other = first.radionuclide and not state.gates.any_isotope
        raise refuse(RefusalCode.SUV_NOT_F18 if other else RefusalCode.SUV_NO_HALF_LIFE, found, needed)
    if not state.gates.any_isotope and not low <= seconds <= high:
        phantom = GE68_RANGE_SECONDS[0] <= seconds <= GE68_RANGE_SECONDS[1]
        raise refuse(RefusalCode.SUV_NOT_F18, found + (": Ge-68, a phantom" if phantom else ""), needed)
    if seconds < SHORTEST_HALF_LIFE_SECONDS:
        raise refuse(RefusalCode.SUV_NO_HALF_LIFE, found, f"at least {SHORTEST_HALF_LIFE_SECONDS:.0f} s")
    return replace(state, half_life_seconds=seconds)


def _tracer(state: State) -> State:
    first = state.first
    name, codes = first.radiopharmaceutical.casefold(), [c for c in first.radiopharmaceutical_codes if any(c)]
    if any(word in name for word in FDG_WORDS) or FDG_CODES.intersection(codes):
        return state
    found = first.found("Radiopharmaceutical", "RadiopharmaceuticalCodeSequence")
    if name in NO_TRACER and not codes:
        return state.warn(Remark(WarningCode.TRACER_NOT_STATED, f"{found}: no tracer is named"))
    if state.gates.tracer_only_warns:
        return state.warn(Remark(RefusalCode.NOT_FDG, f"{found}: not FDG"))
    raise refuse(RefusalCode.NOT_FDG, found, "FDG")


def _decay(state: State) -> State:
    if not state.needs_formula or state.first.decay_correction in DECAY_CORRECTIONS:
        return state
    raise refuse(RefusalCode.SUV_DECAY_UNKNOWN, state.first.found("DecayCorrection"), ", ".join(DECAY_CORRECTIONS))


def _times(state: State) -> State:
    """Find reference and injection; where the factor needs neither, what is wrong with them is a warning."""
    first = state.first
    start = earliest_acquisition(state.slices) or first.series_start
    if state.needs_formula and first.decay_correction == "START":
        reference = reference_time(state.slices, state.half_life_seconds)
        state = replace(state, reference=reference).warn(*(reference.warnings if reference else ()))
        start = reference.time if reference else None
    try:
        injection = injection_time(first, start, only_warn=state.gates.uptake_only_warns)
    except StudyRefusedError as error:
        if _only_warns(state, error.code):
            return state.warn(error.remark)
        raise
    return replace(state, injection=injection).warn(*injection.warnings)


def _only_warns(state: State, code: RefusalCode) -> bool:
    if not state.needs_formula:
        return True
    if code is RefusalCode.SUV_NO_INJECTION_TIME:
        return state.first.decay_correction == "ADMIN"  # the dose and the pixels are of one moment
    return False


CHECKS: tuple[Callable[[State], State], ...] = (
    _one_series,
    _corrections,
    _rescale,
    _units,
    _weight,
    _dose,
    _isotope,
    _tracer,
    _decay,
    _times,
)
