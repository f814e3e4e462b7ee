"""SUVbw: ``SUVbw = stored x RescaleSlope(slice) x factor``, with the factor in g/ml per rescaled unit.

The checks are a sequence; the first failure decides the code. Timing mistakes alone change SUV by up to 32 %, and the
formula "BQML, START, SeriesTime" fails most vendor variants, so every value is checked before it is used.

References
----------
QIBA FDG-PET/CT UPICT profile, vendor-neutral SUV calculation; PS3.3 C.8.9.1 (PET Series); docs/reference/suv.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from egfr_dls.errors import StudyRefusedError
from egfr_dls.refusals import SCALE_FAILURES, RefusalCode, Remark, WarningCode
from inference.imaging.body_size import bw_over_type
from inference.imaging.suv_checks import CHECKS, STRICT, FactorSource, Gates, State, refuse, suv_type_of
from inference.imaging.suv_header import PetSlice
from inference.imaging.suv_times import MEASURABLE_UPTAKE, ReferenceSource, frame_decay

__all__ = ["STRICT", "FactorSource", "Gates", "RwvClaim", "SuvAssessment", "SuvScale", "assess_suv", "suv_scale"]


@dataclass(frozen=True)
class SuvScale:
    """How the series becomes SUVbw.

    Parameters
    ----------
    factors
        SOP Instance UID to g/ml per rescaled unit (stored value x RescaleSlope)
    reference_time, reference_source
        the time of the decay correction; None where no formula with START was needed
    uptake_minutes
        from injection to the reference time (START) or the earliest acquisition; None where unknown
    """

    units: str
    factors: Mapping[str, float]
    factor_source: FactorSource
    reference_time: datetime | None
    reference_source: ReferenceSource | None
    injection_time: datetime | None
    uptake_minutes: float | None
    warnings: tuple[Remark, ...]

    @property
    def factor(self) -> float | None:
        """The one factor of the series; None where it differs by slice."""
        values = set(self.factors.values())
        return values.pop() if len(values) == 1 else None


@dataclass(frozen=True)
class SuvAssessment:
    """A scale, or the scale-type failure (``SCALE_FAILURES``) that leaves a stored ROI scoreable without SUV."""

    scale: SuvScale | None
    failure: StudyRefusedError | None
    warnings: tuple[Remark, ...]

    def require_scale(self) -> SuvScale:
        """Return the scale; where there is none, raise the failure."""
        if self.scale is None:
            raise self.failure or ValueError("an assessment has a scale or a failure")
        return self.scale


@dataclass(frozen=True)
class RwvClaim:
    """A Real World Value Mapping in {SUVbw}g/ml: its slope (0040,9225) and the instances it is for."""

    slope: float
    sop_instance_uids: frozenset[str]
    claimed_by: str  # SOP Instance UID of the mapping


def suv_scale(slices: Sequence[PetSlice], gates: Gates = STRICT, rwv: Sequence[RwvClaim] = ()) -> SuvScale:
    """Return the SUVbw scale of one PET series.

    Raises
    ------
    StudyRefusedError
        any code ``SUV_*`` or ``NOT_FDG``
    """
    return assess_suv(slices, gates, rwv).require_scale()


def assess_suv(slices: Sequence[PetSlice], gates: Gates = STRICT, rwv: Sequence[RwvClaim] = ()) -> SuvAssessment:
    """Return the scale, or the first scale-type failure; the gates after it have then been passed all the same.

    Raises
    ------
    StudyRefusedError
        a failure that forbids scoring even with a stored ROI (not in ``SCALE_FAILURES``)
    """
    state, failure = State(tuple(slices), gates), None
    for check in CHECKS:
        try:
            state = check(state)
        except StudyRefusedError as error:
            if error.code not in SCALE_FAILURES:
                raise
            failure = failure or error
    if failure is not None:
        return SuvAssessment(None, failure, state.warnings)
    try:
        scale = _scale(state)
    except StudyRefusedError as error:
        return SuvAssessment(None, error, state.warnings)
    scale = replace(scale, warnings=scale.warnings + tuple(_disagreements(scale, state.slices, rwv)))
    return SuvAssessment(scale, None, scale.warnings)


def _scale(state: State) -> SuvScale:
    reference, injection = state.reference, state.injection
    return SuvScale(
        units=state.first.units,
        factors={s.sop_instance_uid: _factor(state, s) for s in state.slices},
        factor_source=state.source or FactorSource.FORMULA,
        reference_time=reference.time if reference else None,
        reference_source=reference.source if reference else None,
        injection_time=injection.time if injection else None,
        uptake_minutes=injection.uptake_minutes if injection else None,
        warnings=state.warnings,
    )


def _factor(state: State, s: PetSlice) -> float:
    if state.source is FactorSource.STORED_SUV:
        return bw_over_type(suv_type_of(s), state.weight_kg, s)
    if state.source is FactorSource.PHILIPS_SUV:
        return s.philips_suv or math.nan
    activity = s.philips_activity or math.nan if state.source is FactorSource.PHILIPS_ACTIVITY else 1.0
    return activity * state.weight_kg * 1000 / state.dose_bq * _decay_since_injection(state, s)


def _decay_since_injection(state: State, s: PetSlice) -> float:
    """Return activity at injection over activity at the moment to which the slice's values are corrected."""
    half_life = state.half_life_seconds or math.nan
    if s.decay_correction == "ADMIN" or state.injection is None:
        return 1.0
    if s.decay_correction == "NONE":
        return _frame_factor(state.injection.time, half_life, s)
    reference = state.reference.time if state.reference else state.injection.time
    return float(2 ** ((reference - state.injection.time).total_seconds() / half_life))


def _frame_factor(injection: datetime, half_life: float, s: PetSlice) -> float:
    """NONE: mean activity of the frame back to its start, then to the injection."""
    if s.acquisition_start is None or not s.frame_duration_ms or s.frame_duration_ms < 0:
        found = s.found("DecayCorrection", "AcquisitionDate", "AcquisitionTime", "ActualFrameDuration")
        raise refuse(RefusalCode.SUV_DECAY_UNKNOWN, found, "the start and duration of every frame where it is NONE")
    elapsed = s.acquisition_start - injection
    if elapsed > MEASURABLE_UPTAKE:
        found = s.found("AcquisitionDate", "AcquisitionTime")
        raise refuse(RefusalCode.SUV_UPTAKE_TIME, found, f"a frame within 12 h of the injection at {injection}")
    return frame_decay(half_life, s.frame_duration_ms / 1000) * float(2 ** (elapsed.total_seconds() / half_life))


RWV_TOLERANCE = 0.01


def _disagreements(scale: SuvScale, slices: Sequence[PetSlice], rwv: Sequence[RwvClaim]) -> list[Remark]:
    """Compare with stored mappings. By PS3.3 C.7.6.16.2.11 a slope maps stored values; some writers mean rescaled ones."""
    remarks = []
    for claim in rwv:
        ours = [(scale.factors[s.sop_instance_uid], s) for s in slices if s.sop_instance_uid in claim.sop_instance_uids]
        worst = max((_off(claim.slope, factor, s) for factor, s in ours), default=0.0)
        if worst > RWV_TOLERANCE:
            remarks.append(
                Remark(
                    WarningCode.SUV_RWV_DISAGREES,
                    f"Real World Value Mapping {claim.claimed_by} has slope (0040,9225) {claim.slope:g} g/ml; "
                    f"the header gives {ours[0][0]:g}: they differ by {100 * worst:.1f} %",
                )
            )
    return remarks


def _off(slope: float, factor: float, s: PetSlice) -> float:
    return min(abs(slope / factor - 1), abs(slope / (factor * (s.rescale_slope or 1)) - 1))
