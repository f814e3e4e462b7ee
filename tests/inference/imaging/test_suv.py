"""SUVbw: reference objects, vendors' headers, and one refusal or warning for each change of a valid header."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import (
    PositronEmissionTomographyImageStorage,
    RealWorldValueMappingStorage,
    SecondaryCaptureImageStorage,
)

from egfr_dls.errors import StudyRefusedError
from egfr_dls.refusals import SCALE_FAILURES, RefusalCode, WarningCode
from inference.imaging.body_size import NORMS
from inference.imaging.suv import FactorSource, Gates, RwvClaim, SuvScale, assess_suv, suv_scale
from inference.imaging.suv_checks import NO_TRACER, SHARED
from inference.imaging.suv_header import TAGS
from inference.imaging.suv_times import ReferenceSource
from inference.read.pet import pet_slices, read_pet
from inference.read.rwv import rwv_claims
from inference.read.series import SeriesImages, group_series
from inference.roi.rtstruct import structure_masks
from tests import builders

Change = Callable[[list[Dataset]], None]


def series_of(datasets: Iterable[Dataset]) -> SeriesImages:
    (series,) = group_series(datasets)
    return series


def scale_of(datasets: Iterable[Dataset], gates: Gates = Gates(), rwv: tuple[RwvClaim, ...] = ()) -> SuvScale:  # noqa: B008
    return suv_scale(pet_slices(series_of(datasets)), gates, rwv)


def codes(scale: SuvScale) -> set[str]:
    return {str(w.code) for w in scale.warnings}


def to_all(**values: Any) -> Change:
    """Set attributes on every slice; None deletes."""

    def change(datasets: list[Dataset]) -> None:
        for ds in datasets:
            _set(ds, values)

    return change


def to_dose(**values: Any) -> Change:
    """Set attributes in the Radiopharmaceutical Information Sequence of every slice; None deletes."""

    def change(datasets: list[Dataset]) -> None:
        for ds in datasets:
            _set(ds.RadiopharmaceuticalInformationSequence[0], values)

    return change


def _set(ds: Dataset, values: dict[str, Any]) -> None:
    for keyword, value in values.items():
        if value is None:
            del ds[keyword]
        else:
            setattr(ds, keyword, value)


def to_last(**values: Any) -> Change:
    return lambda datasets: _set(datasets[-1], values)


def both(*changes: Change) -> Change:
    def change(datasets: list[Dataset]) -> None:
        for each in changes:
            each(datasets)

    return change


def private(tag: int, vr: str, value: Any, creator: str | None, manufacturer: str = "TEST") -> Change:
    def change(datasets: list[Dataset]) -> None:
        for ds in datasets:
            ds.Manufacturer = manufacturer
            if creator is not None:
                ds.add_new(Tag(tag >> 16, 0x10), "LO", creator)
            ds.add_new(Tag(tag), vr, value)

    return change


def code(value: str, scheme: str) -> list[Dataset]:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, "code"
    return [item]


def test_the_builders_series_has_the_builders_factor() -> None:
    scale = scale_of(builders.pet_slices())
    assert scale.factor == pytest.approx(builders.SUV_FACTOR, rel=1e-12)
    assert scale.factor_source is FactorSource.FORMULA
    assert scale.reference_source is ReferenceSource.SERIES
    assert scale.uptake_minutes == 60.0
    assert scale.warnings == ()


# --- refusals: one change each ----------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[Change, RefusalCode, str]] = {
    "class": (
        to_all(SOPClassUID=SecondaryCaptureImageStorage), RefusalCode.SUV_SOP_CLASS, "SOPClassUID (0008,0016)"),
    "mixed units": (to_last(Units="CNTS"), RefusalCode.SUV_MIXED_SERIES, "Units (0054,1001) is 'BQML' in instance"),
    "mixed weight": (to_last(PatientWeight=71), RefusalCode.SUV_MIXED_SERIES, "PatientWeight (0010,1030)"),
    "mixed series time": (to_last(SeriesTime="105900"), RefusalCode.SUV_MIXED_SERIES, "SeriesTime (0008,0031)"),
    "no ATTN": (
        to_all(CorrectedImage=["DECY"]), RefusalCode.SUV_NOT_ATTENUATION_CORRECTED, "CorrectedImage (0028,0051)"),
    "no DECY": (to_all(CorrectedImage=["ATTN"]), RefusalCode.SUV_NOT_DECAY_CORRECTED, "CorrectedImage (0028,0051)"),
    "intercept": (to_last(RescaleIntercept="1"), RefusalCode.SUV_INTERCEPT, "RescaleIntercept (0028,1052) is '1'"),
    "slope 0": (to_last(RescaleSlope="0"), RefusalCode.SUV_INTERCEPT, "RescaleSlope (0028,1053) is '0'"),
    "units": (to_all(Units="PROPCNTS"), RefusalCode.SUV_UNITS_UNSUPPORTED, "Units (0054,1001) is 'PROPCNTS'"),
    "no units": (to_all(Units=None), RefusalCode.SUV_UNITS_UNSUPPORTED, "Units (0054,1001) is missing"),
    "unknown SUV type": (
        to_all(Units="GML", SUVType="XYZ"), RefusalCode.SUV_UNITS_NOT_BW, "SUVType (0054,1006) is 'XYZ'"),
    "LBM without size": (
        to_all(Units="GML", SUVType="LBM"), RefusalCode.SUV_UNITS_NOT_BW, "PatientSize (0010,1020) is missing"),
    "LBM without sex": (
        to_all(Units="GML", SUVType="LBM", PatientSize=1.8, PatientSex=""), RefusalCode.SUV_UNITS_NOT_BW,
        "PatientSex (0010,0040) is missing"),
    "counts": (
        to_all(Units="CNTS"), RefusalCode.SUV_COUNTS_WITHOUT_FACTOR, "Philips SUV scale factor (7053,1000) is missing"),
    "no weight": (to_all(PatientWeight=None), RefusalCode.SUV_NO_WEIGHT, "PatientWeight (0010,1030) is missing"),
    "weight 0": (to_all(PatientWeight="0"), RefusalCode.SUV_NO_WEIGHT, "PatientWeight (0010,1030) is '0'"),
    "weight 500": (to_all(PatientWeight=500), RefusalCode.SUV_WEIGHT_IMPLAUSIBLE, "20 to 300 kg"),
    "no dose": (
        to_dose(RadionuclideTotalDose=None), RefusalCode.SUV_NO_DOSE, "RadionuclideTotalDose (0018,1074) is missing"),
    "dose 3 Bq": (to_dose(RadionuclideTotalDose=3), RefusalCode.SUV_DOSE_IMPLAUSIBLE, "20 to 1500 MBq"),
    "no half life": (
        to_dose(RadionuclideHalfLife=None, RadionuclideCodeSequence=None), RefusalCode.SUV_NO_HALF_LIFE,
        "RadionuclideHalfLife (0018,1075) is missing"),
    "Ga-68": (to_dose(RadionuclideHalfLife=4062.6), RefusalCode.SUV_NOT_F18, "F-18 (6400 to 6750 s)"),
    "Ga-68 by code": (
        to_dose(RadionuclideHalfLife=None, RadionuclideCodeSequence=code("35337001", "SCT")), RefusalCode.SUV_NOT_F18,
        "(35337001 SCT)"),
    "Ge-68": (to_dose(RadionuclideHalfLife=23410080), RefusalCode.SUV_NOT_F18, "Ge-68, a phantom"),
    "PSMA": (
        to_dose(Radiopharmaceutical="PSMA-1007", RadiopharmaceuticalCodeSequence=None), RefusalCode.NOT_FDG,
        "Radiopharmaceutical (0018,0031) is 'PSMA-1007'"),
    "decay": (to_all(DecayCorrection="SCAN"), RefusalCode.SUV_DECAY_UNKNOWN, "DecayCorrection (0054,1102) is 'SCAN'"),
    "NONE without frame duration": (
        to_all(DecayCorrection="NONE", ActualFrameDuration=None), RefusalCode.SUV_DECAY_UNKNOWN,
        "ActualFrameDuration (0018,1242) is missing"),
    "NONE with a negative frame duration": (
        to_all(DecayCorrection="NONE", ActualFrameDuration="-1"), RefusalCode.SUV_DECAY_UNKNOWN,
        "ActualFrameDuration (0018,1242) is '-1'"),
    "a child that is too short for the formula": (
        to_all(Units="GML", SUVType="IBW", PatientSize=1.0, PatientSex="F"), RefusalCode.SUV_UNITS_NOT_BW,
        "mass is above 0"),
    "no injection time": (
        to_dose(RadiopharmaceuticalStartTime=None, RadiopharmaceuticalStartDateTime=None),
        RefusalCode.SUV_NO_INJECTION_TIME, "RadiopharmaceuticalStartTime (0018,1072) is missing"),
    "injection 8 h before": (
        to_dose(RadiopharmaceuticalStartDateTime="20250102030000"), RefusalCode.SUV_UPTAKE_TIME, "0 to 6 h"),
    "no date at all": (
        to_all(SeriesDate=None, AcquisitionDate=None), RefusalCode.SUV_UPTAKE_TIME, "SeriesDate (0008,0021) is missing"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_one_change_of_a_valid_header_is_refused(case: str) -> None:
    change, expected, words = REFUSED[case]
    datasets = builders.pet_slices()
    change(datasets)
    with pytest.raises(StudyRefusedError) as refused:
        scale_of(datasets)
    assert refused.value.code is expected
    assert words in refused.value.message
    assert "Needed: " in refused.value.message


def test_every_code_of_the_suv_rules_has_a_case() -> None:
    wanted = {c for c in RefusalCode if c.startswith("SUV_")} | {RefusalCode.NOT_FDG}
    assert {expected for _, expected, _ in REFUSED.values()} == wanted


@pytest.mark.parametrize("case", REFUSED)
def test_scale_failures_are_values_and_others_refuse(case: str) -> None:
    change, expected, _ = REFUSED[case]
    datasets = builders.pet_slices()
    change(datasets)
    slices = pet_slices(series_of(datasets))
    if expected not in SCALE_FAILURES:
        with pytest.raises(StudyRefusedError):
            assess_suv(slices)
        return
    assessment = assess_suv(slices)
    assert assessment.scale is None
    assert assessment.failure is not None
    assert assessment.failure.code is expected


def test_a_scale_failure_does_not_hide_another_isotope() -> None:
    datasets = builders.pet_slices(PatientWeight=None)
    to_dose(RadionuclideHalfLife=4062.6)(datasets)
    with pytest.raises(StudyRefusedError) as refused:
        assess_suv(pet_slices(series_of(datasets)))
    assert refused.value.code is RefusalCode.SUV_NOT_F18


def test_a_scale_failure_keeps_the_warning_that_no_tracer_is_stated() -> None:
    datasets = builders.pet_slices(PatientWeight=None)
    to_dose(Radiopharmaceutical="Solution", RadiopharmaceuticalCodeSequence=None)(datasets)
    assert [w.code for w in assess_suv(pet_slices(series_of(datasets))).warnings] == [WarningCode.TRACER_NOT_STATED]


# --- bounds belong to the accepted side -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "kg"),
    [
        ("19.99", None), ("20", 20), ("300", 300), ("300.1", None), ("1000", None), ("1001", None),
        ("19999", None), ("20000", 20), ("300000", 300), ("300001", None),
    ],
)  # fmt: skip
def test_weight_is_20_to_300_kg_or_as_many_grams(written: str, kg: float | None) -> None:
    datasets = builders.pet_slices(PatientWeight=written)
    if kg is None:
        with pytest.raises(StudyRefusedError, match="SUV_WEIGHT_IMPLAUSIBLE"):
            scale_of(datasets)
        return
    scale = scale_of(datasets)
    assert scale.factor == pytest.approx(builders.SUV_FACTOR * kg / builders.WEIGHT_KG, rel=1e-12)
    assert (WarningCode.SUV_WEIGHT_IN_GRAMS in codes(scale)) is (float(written) > 1000)


@pytest.mark.parametrize(
    ("written", "mbq"),
    [
        ("19999999", None), ("20000000", 20), ("1500000000", 1500), ("1500000001", None), ("9.99", None), ("10", None),
        ("20", 20), ("1500", 1500), ("1501", None), ("2001", None),
    ],
)  # fmt: skip
def test_dose_is_20_to_1500_mbq_in_bq_or_in_mbq(written: str, mbq: float | None) -> None:
    datasets = builders.pet_slices()
    to_dose(RadionuclideTotalDose=written)(datasets)
    if mbq is None:
        with pytest.raises(StudyRefusedError, match="SUV_DOSE_IMPLAUSIBLE"):
            scale_of(datasets)
        return
    scale = scale_of(datasets)
    assert scale.factor == pytest.approx(builders.SUV_FACTOR * builders.DOSE_BQ / (mbq * 1e6), rel=1e-12)
    assert (WarningCode.SUV_DOSE_IN_MBQ in codes(scale)) is (float(written) <= 2000)


@pytest.mark.parametrize(("seconds", "accepted"), [(6399.9, False), (6400, True), (6750, True), (6750.1, False)])
def test_half_life_of_fluorine_18(seconds: float, accepted: bool) -> None:
    datasets = builders.pet_slices()
    to_dose(RadionuclideHalfLife=seconds)(datasets)
    if accepted:
        assert scale_of(datasets).warnings == ()
    else:
        with pytest.raises(StudyRefusedError, match="SUV_NOT_F18"):
            scale_of(datasets)


@pytest.mark.parametrize(("hours", "accepted"), [(6, True), (6.01, False)])
def test_the_longest_uptake(hours: float, accepted: bool) -> None:
    datasets = builders.pet_slices(SeriesTime="200000", AcquisitionTime="200000")
    injected = datetime(2025, 1, 2, 20) - timedelta(hours=hours)  # noqa: DTZ001  # as a header has it
    to_dose(RadiopharmaceuticalStartDateTime=injected.strftime("%Y%m%d%H%M%S"))(datasets)
    if accepted:
        assert scale_of(datasets).uptake_minutes == 60 * hours
    else:
        with pytest.raises(StudyRefusedError, match="SUV_UPTAKE_TIME"):
            scale_of(datasets)


# One field of the header record, and a value that no other slice has.
MIXED: dict[str, Any] = {
    "series_instance_uid": "1.2.3", "units": "CNTS", "suv_type": "LBM", "corrected_image": frozenset({"ATTN", "DECY"}),
    "weight": 71.0, "dose": 371e6, "half_life_seconds": 6588.0, "decay_correction": "ADMIN",
    "series_start": datetime(2025, 1, 2, 10, 59),  # noqa: DTZ001  # as a header has it
}  # fmt: skip


@pytest.mark.parametrize("field", MIXED)
def test_what_a_series_has_once_is_the_same_in_all_slices(field: str) -> None:
    *others, last = pet_slices(series_of(builders.pet_slices()))
    with pytest.raises(StudyRefusedError, match="SUV_MIXED_SERIES"):
        suv_scale([*others, replace(last, **{field: MIXED[field]})])


def test_every_value_of_the_series_has_its_case() -> None:
    slices = pet_slices(series_of(builders.pet_slices()))
    changed = {field: replace(slices[0], **{field: value}) for field, value in MIXED.items()}
    judged = [[name for name, s in changed.items() if value(s) != value(slices[0])] for value, _ in SHARED]
    assert sorted(judged) == [[name] for name in sorted(MIXED)]


# --- warnings: the scale is right, and the header is named ------------------------------------------------------------

WARNED: dict[str, tuple[Change, WarningCode]] = {
    "grams": (to_all(PatientWeight=70000), WarningCode.SUV_WEIGHT_IN_GRAMS),
    "MBq": (to_dose(RadionuclideTotalDose=370), WarningCode.SUV_DOSE_IN_MBQ),
    "injection dated a day after": (
        to_dose(RadiopharmaceuticalStartDateTime="20250103100000.00"), WarningCode.SUV_DATE_SHIFT),
    "no tracer": (
        to_dose(Radiopharmaceutical="", RadiopharmaceuticalCodeSequence=None), WarningCode.TRACER_NOT_STATED),
    "series after acquisition": (
        to_all(SeriesTime="113000", FrameReferenceTime="0"), WarningCode.SUV_REFERENCE_GUESSED),
    "frame reference 10 min": (to_all(FrameReferenceTime="600000"), WarningCode.SUV_REFERENCE_DIFFERS),
    "GE date in another frame": (
        private(0x0009100D, "DT", "20240601110000.00", "GEMS_PETD_01"), WarningCode.SUV_GE_DATE_IMPLAUSIBLE),
}  # fmt: skip


@pytest.mark.parametrize("case", WARNED)
def test_a_repaired_or_doubtful_header_warns_and_keeps_the_factor(case: str) -> None:
    change, expected = WARNED[case]
    datasets = builders.pet_slices()
    change(datasets)
    scale = scale_of(datasets)
    assert codes(scale) == {expected}
    assert scale.factor == pytest.approx(builders.SUV_FACTOR, rel=1e-12)


@pytest.mark.parametrize(
    ("injected", "warned"), [("101500", False), ("101501", True), ("090000", False), ("085959", True)]
)
def test_uptake_outside_45_to_120_minutes_warns(injected: str, warned: bool) -> None:
    datasets = builders.pet_slices()
    to_dose(RadiopharmaceuticalStartDateTime=f"20250102{injected}")(datasets)
    assert (WarningCode.SUV_UPTAKE_UNUSUAL in codes(scale_of(datasets))) is warned


@pytest.mark.parametrize(
    ("value", "scheme"), [("77004003", "SCT"), ("C-111A1", "SRT"), ("C-111A1", "SNM3"), ("C-111A1", "99SDM")]
)
def test_f18_by_code_replaces_a_missing_half_life(value: str, scheme: str) -> None:
    datasets = builders.pet_slices()
    to_dose(RadionuclideHalfLife=None, RadionuclideCodeSequence=code(value, scheme))(datasets)
    assert scale_of(datasets).factor == pytest.approx(builders.SUV_FACTOR, rel=1e-12)


@pytest.mark.parametrize(
    "name", ["Fluorodeoxyglucose F^18^", "18F-FDG", "FDG -- fluorodeoxyglucose", "Fludeoxyglucose"]
)
def test_names_of_fdg(name: str) -> None:
    datasets = builders.pet_slices()
    to_dose(Radiopharmaceutical=name, RadiopharmaceuticalCodeSequence=None)(datasets)
    assert codes(scale_of(datasets)) == set()


@pytest.mark.parametrize("name", sorted(NO_TRACER))
def test_what_names_no_tracer_only_warns(name: str) -> None:
    datasets = builders.pet_slices()
    to_dose(Radiopharmaceutical=name.capitalize(), RadiopharmaceuticalCodeSequence=None)(datasets)
    assert codes(scale_of(datasets)) == {WarningCode.TRACER_NOT_STATED}


@pytest.mark.parametrize(
    ("value", "scheme"),
    [("35321007", "SCT"), ("C-B1031", "SRT"), ("C-B1031", "SNM3"), ("Y-X1743", "99SDM"), ("Y-X1743", "SNM3")],
)
def test_codes_of_fdg(value: str, scheme: str) -> None:
    datasets = builders.pet_slices()
    to_dose(Radiopharmaceutical="Solution", RadiopharmaceuticalCodeSequence=code(value, scheme))(datasets)
    assert codes(scale_of(datasets)) == set()


# --- gates of site acceptance -----------------------------------------------------------------------------------------


def test_any_isotope_measures_gallium() -> None:
    datasets = builders.pet_slices()
    to_dose(RadionuclideHalfLife=4062.6)(datasets)
    expected = 70000 / (370e6 * 2 ** (-3600 / 4062.6))
    assert scale_of(datasets, Gates(any_isotope=True)).factor == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("seconds", "isotope"), [("59", "Fluorine"), (None, "Gallium")])
def test_any_isotope_still_needs_a_half_life_for_the_formula(seconds: str | None, isotope: str) -> None:
    datasets = builders.pet_slices()
    item = code("35337001", "SCT") if isotope == "Gallium" else code("77004003", "SCT")
    to_dose(RadionuclideHalfLife=seconds, RadionuclideCodeSequence=item)(datasets)
    with pytest.raises(StudyRefusedError, match="SUV_NO_HALF_LIFE"):
        scale_of(datasets, Gates(any_isotope=True))
    scale = scale_of([*builders.pet_slices(Units="GML")], Gates(any_isotope=True))
    assert scale.factor == 1.0


@pytest.mark.parametrize(("injected", "measured"), [("230000", True), ("225959", False)])
def test_nothing_is_measured_over_more_than_12_hours(injected: str, measured: bool) -> None:
    datasets = builders.pet_slices()
    to_dose(RadiopharmaceuticalStartDateTime=f"20250101{injected}")(datasets)
    for ds in datasets:  # no other day makes the time of day plausible
        ds.SeriesDate = "20250102"
    if measured:
        assert RefusalCode.SUV_UPTAKE_TIME in codes(scale_of(datasets, Gates(uptake_only_warns=True)))
    else:
        with pytest.raises(StudyRefusedError, match="SUV_UPTAKE_TIME"):
            scale_of(datasets, Gates(uptake_only_warns=True))


def test_a_frame_beyond_12_hours_of_the_injection_has_no_factor() -> None:
    """NONE: each frame has its own decay, and the last may lie long after the first."""
    datasets = builders.pet_slices(DecayCorrection="NONE", AcquisitionTime=lambda i: "110000" if i < 7 else "220001")
    with pytest.raises(StudyRefusedError, match=r"SUV_UPTAKE_TIME.*within 12 h"):
        scale_of(datasets)


def test_tracer_and_uptake_time_only_warn_where_asked() -> None:
    datasets = builders.pet_slices()
    to_dose(
        Radiopharmaceutical="NaF",
        RadiopharmaceuticalCodeSequence=None,
        RadiopharmaceuticalStartDateTime="20250102030000",
    )(datasets)
    scale = scale_of(datasets, Gates(tracer_only_warns=True, uptake_only_warns=True))
    assert codes(scale) >= {RefusalCode.NOT_FDG, RefusalCode.SUV_UPTAKE_TIME}
    assert scale.factor == pytest.approx(70000 / (370e6 * 2 ** (-8 * 3600 / 6586.2)), rel=1e-12)


# --- units ------------------------------------------------------------------------------------------------------------


def test_gml_needs_neither_weight_nor_dose_nor_times() -> None:
    datasets = builders.pet_slices(Units="GML", PatientWeight=None, SeriesTime=None, AcquisitionTime=None)
    to_dose(RadionuclideTotalDose=None, RadiopharmaceuticalStartTime=None, RadiopharmaceuticalStartDateTime=None)(
        datasets
    )
    scale = scale_of(datasets)
    assert (scale.factor, scale.factor_source) == (1.0, FactorSource.STORED_SUV)
    assert (scale.reference_time, scale.uptake_minutes) == (None, None)
    assert codes(scale) == {RefusalCode.SUV_NO_INJECTION_TIME}


def test_admin_needs_no_injection_time() -> None:
    datasets = builders.pet_slices(DecayCorrection="ADMIN")
    to_dose(RadiopharmaceuticalStartTime=None, RadiopharmaceuticalStartDateTime=None)(datasets)
    scale = scale_of(datasets)
    assert scale.factor == pytest.approx(70000 / 370e6, rel=1e-12)
    assert codes(scale) == {RefusalCode.SUV_NO_INJECTION_TIME}


@pytest.mark.parametrize(
    ("suv_type", "sex", "norm_kg"),
    [
        ("LBM", "M", 1.10 * 80 - 120 * (80 / 180) ** 2),
        ("LBM", "F", 1.07 * 80 - 148 * (80 / 180) ** 2),
        ("LBMJAMES128", "M", 1.10 * 80 - 128 * (80 / 180) ** 2),
        ("LBMJAMES128", "F", 1.07 * 80 - 148 * (80 / 180) ** 2),
        ("LBMJANMA", "M", 9270 * 80 / (6680 + 216 * 80 / 1.8**2)),
        ("LBMJANMA", "F", 9270 * 80 / (8780 + 244 * 80 / 1.8**2)),
        ("IBW", "M", 48 + 1.06 * 28),
        ("IBW", "F", 45.5 + 0.91 * 28),
        ("IBW", "O", (48 + 1.06 * 28 + 45.5 + 0.91 * 28) / 2),
    ],
)
@pytest.mark.parametrize("size", [1.8, 180])
def test_other_body_measures_become_body_weight(suv_type: str, sex: str, norm_kg: float, size: float) -> None:
    datasets = builders.pet_slices(Units="GML", SUVType=suv_type, PatientSex=sex, PatientSize=size, PatientWeight=80)
    assert scale_of(datasets).factor == pytest.approx(80 / norm_kg, rel=1e-12)


def test_body_surface_becomes_body_weight() -> None:
    datasets = builders.pet_slices(Units="CM2ML", PatientSize=1.8, PatientWeight=80)
    assert scale_of(datasets).factor == pytest.approx(1000 * 80 / (71.84 * 80**0.425 * 180**0.725), rel=1e-12)


PHILIPS_SUV = private(0x70531000, "DS", "0.0005", "Philips PET Private Group")
PHILIPS_ACTIVITY = private(0x70531009, "DS", "1.6", "Philips PET Private Group")


def test_philips_suv_factor_beats_the_activity_factor_and_needs_no_dose() -> None:
    datasets = builders.pet_slices(Units="CNTS", PatientWeight=None)
    both(PHILIPS_SUV, PHILIPS_ACTIVITY)(datasets)
    scale = scale_of(datasets)
    assert (scale.factor, scale.factor_source, codes(scale)) == (0.0005, FactorSource.PHILIPS_SUV, set())


def test_philips_activity_factor_leads_to_the_formula() -> None:
    datasets = builders.pet_slices(Units="CNTS")
    both(PHILIPS_ACTIVITY, private(0x70531000, "DS", "0", "Philips PET Private Group"))(datasets)
    scale = scale_of(datasets)
    assert scale.factor == pytest.approx(1.6 * builders.SUV_FACTOR, rel=1e-12)
    assert scale.factor_source is FactorSource.PHILIPS_ACTIVITY


def test_a_philips_factor_must_be_in_every_slice() -> None:
    """Where the SUV factor is not, the activity factor serves; where neither is, the series is refused."""
    datasets = builders.pet_slices(Units="CNTS")
    both(PHILIPS_SUV, PHILIPS_ACTIVITY)(datasets)
    del datasets[-1][0x70531000]
    assert scale_of(datasets).factor_source is FactorSource.PHILIPS_ACTIVITY
    del datasets[-1][0x70531009]
    with pytest.raises(StudyRefusedError, match="SUV_COUNTS_WITHOUT_FACTOR"):
        scale_of(datasets)


def test_philips_factor_beside_bqml_is_ignored() -> None:
    datasets = builders.pet_slices()
    PHILIPS_SUV(datasets)
    assert scale_of(datasets).factor == pytest.approx(builders.SUV_FACTOR, rel=1e-12)


@pytest.mark.parametrize(
    ("creator", "manufacturer", "accepted"),
    [(None, "Philips Medical Systems", True), (None, "TEST", False), ("ACME PRIVATE", "Philips", False)],
)
def test_a_private_block_without_or_of_another_creator(creator: str | None, manufacturer: str, accepted: bool) -> None:
    datasets = builders.pet_slices(Units="CNTS")
    private(0x70531000, "DS", "0.0005", creator, manufacturer)(datasets)
    if accepted:
        assert codes(scale_of(datasets)) == {WarningCode.SUV_PRIVATE_CREATOR_MISSING}
    else:
        with pytest.raises(StudyRefusedError, match="SUV_COUNTS_WITHOUT_FACTOR"):
            scale_of(datasets)


def test_a_relocated_private_block_is_found_by_its_creator() -> None:
    datasets = builders.pet_slices(Units="CNTS")
    for ds in datasets:
        ds.add_new(Tag(0x7053, 0x10), "LO", "ACME PRIVATE")
        ds.add_new(Tag(0x7053, 0x11), "LO", "Philips PET Private Group")
        ds.add_new(Tag(0x70531000), "DS", "9")
        ds.add_new(Tag(0x70531100), "DS", "0.0005")
    assert scale_of(datasets).factor == 0.0005


# --- decay and times --------------------------------------------------------------------------------------------------


def test_none_corrects_each_frame_to_its_own_start() -> None:
    """Two beds of 180 s, 10 minutes apart: the factor differs by slice."""
    datasets = builders.pet_slices(
        DecayCorrection="NONE", CorrectedImage=["ATTN"], AcquisitionTime=lambda i: "110000" if i < 4 else "111000"
    )
    scale = scale_of(datasets)
    decay = math.log(2) / 6586.2
    for i, ds in enumerate(datasets):
        elapsed = 3600 if i < 4 else 4200
        mean_to_start = decay * 180 / (1 - math.exp(-decay * 180))
        expected = 70000 / 370e6 * mean_to_start * math.exp(decay * elapsed)
        assert scale.factors[ds.SOPInstanceUID] == pytest.approx(expected, rel=1e-12)
    assert scale.factor is None
    assert scale.reference_source is None


@pytest.mark.parametrize("dated", [True, False])
def test_a_scan_after_midnight(dated: bool) -> None:
    datasets = builders.pet_slices(SeriesTime="001500", AcquisitionTime="001500")
    if dated:
        to_dose(RadiopharmaceuticalStartDateTime="20250101231500")(datasets)
    else:
        to_dose(RadiopharmaceuticalStartDateTime=None, RadiopharmaceuticalStartTime="2315")(datasets)
    scale = scale_of(datasets)
    assert scale.uptake_minutes == 60.0
    assert scale.factor == pytest.approx(builders.SUV_FACTOR, rel=1e-12)


def test_ge_private_time_is_the_reference_when_the_series_time_is_later_than_acquisition() -> None:
    """GE reprocessed series: SeriesTime 30 min after the scan, the scan's own time in (0009,100D)."""
    datasets = builders.pet_slices(SeriesTime="113000", AcquisitionTime=lambda i: "1101" if i < 4 else "1105")
    private(0x0009100D, "DT", "20250102110000.00", "GEMS_PETD_01")(datasets)
    scale = scale_of(datasets)
    assert scale.reference_source is ReferenceSource.GE_PRIVATE
    assert scale.factor == pytest.approx(builders.SUV_FACTOR, rel=1e-12)
    assert codes(scale) == set()


def test_ge_private_time_of_day_is_used_when_only_its_date_is_shifted() -> None:
    datasets = builders.pet_slices(SeriesTime="113000")
    private(0x0009100D, "DT", "20241210110000.00", "GEMS_PETD_01")(datasets)
    scale = scale_of(datasets)
    assert scale.reference_source is ReferenceSource.GE_PRIVATE
    assert scale.factor == pytest.approx(builders.SUV_FACTOR, rel=1e-12)
    assert codes(scale) == {WarningCode.SUV_GE_DATE_IMPLAUSIBLE}


def test_the_back_computed_reference_serves_when_the_series_time_is_later() -> None:
    """FrameReferenceTime counts to the mean activity of a frame: 90 s and a little less for one of 180 s."""
    datasets = builders.pet_slices(SeriesTime="113000", FrameReferenceTime="690000")
    scale = scale_of(datasets)
    assert scale.reference_source is ReferenceSource.BACK_COMPUTED
    assert scale.reference_time is not None
    decay = math.log(2) / 6586.2
    to_mean = math.log(decay * 180 / (1 - math.exp(-decay * 180))) / decay
    expected = datetime.fromisoformat("2025-01-02T11:00:00") + timedelta(seconds=to_mean - 690)
    assert abs(scale.reference_time - expected) < timedelta(milliseconds=1)


def test_the_earliest_of_the_back_computed_references_counts() -> None:
    """Two beds whose FrameReferenceTime does not go on: 11:00 and 11:10, both 690 s after their reference."""
    datasets = builders.pet_slices(
        SeriesTime="113000", FrameReferenceTime="690000", AcquisitionTime=lambda i: "1100" if i < 4 else "1110"
    )
    scale = scale_of(datasets)
    assert scale.reference_time is not None
    assert abs(scale.reference_time - datetime(2025, 1, 2, 10, 50)) < timedelta(seconds=1)  # noqa: DTZ001


@pytest.mark.parametrize(
    ("series_time", "source"),
    [("110001", ReferenceSource.SERIES), ("110001.2", ReferenceSource.BACK_COMPUTED)],
)
def test_a_series_time_may_be_a_second_later_than_the_scan(series_time: str, source: ReferenceSource) -> None:
    assert scale_of(builders.pet_slices(SeriesTime=series_time)).reference_source is source


@pytest.mark.parametrize(("frame_reference_ms", "warned"), [("149000", False), ("152000", True)])
def test_a_reference_a_minute_from_the_back_computed_one_warns(frame_reference_ms: str, warned: bool) -> None:
    scale = scale_of(builders.pet_slices(FrameReferenceTime=frame_reference_ms))
    assert (WarningCode.SUV_REFERENCE_DIFFERS in codes(scale)) is warned


def test_a_back_computed_reference_after_the_scan_is_none() -> None:
    """A FrameReferenceTime that does not even reach the middle of its frame says nothing."""
    scale = scale_of(builders.pet_slices(FrameReferenceTime="1"))
    assert (scale.reference_source, codes(scale)) == (ReferenceSource.SERIES, set())


def test_a_ge_scan_that_began_before_midnight_is_of_the_same_scan() -> None:
    datasets = builders.pet_slices(SeriesTime="003000", AcquisitionTime="000500", FrameReferenceTime="690000")
    to_dose(RadiopharmaceuticalStartDateTime="20250101225500")(datasets)
    private(0x0009100D, "DT", "20250101235500.00", "GEMS_PETD_01")(datasets)
    scale = scale_of(datasets)
    assert scale.reference_source is ReferenceSource.GE_PRIVATE
    assert scale.factor == pytest.approx(builders.SUV_FACTOR, rel=1e-12)
    assert codes(scale) == set()


@pytest.mark.parametrize("days_off", ["20241231", "20250104", "19591224"])
def test_a_ge_date_days_away_that_nothing_confirms_is_ignored(days_off: str) -> None:
    """Without FrameReferenceTime its time of day, an hour before the scan, could be that of anything."""
    datasets = builders.pet_slices(SeriesTime="113000", FrameReferenceTime="0")
    private(0x0009100D, "DT", f"{days_off}100500.00", "GEMS_PETD_01")(datasets)
    scale = scale_of(datasets)
    assert scale.reference_source is ReferenceSource.ACQUISITION
    assert codes(scale) == {WarningCode.SUV_GE_DATE_IMPLAUSIBLE, WarningCode.SUV_REFERENCE_GUESSED}


def test_a_ge_time_after_the_scan_is_no_reference() -> None:
    datasets = builders.pet_slices(SeriesTime="113000", FrameReferenceTime="0")
    private(0x0009100D, "DT", "20250102110500.00", "GEMS_PETD_01")(datasets)
    assert scale_of(datasets).reference_source is ReferenceSource.ACQUISITION


def test_a_ge_time_without_its_creator_is_said() -> None:
    datasets = builders.pet_slices(SeriesTime="113000")
    private(0x0009100D, "DT", "20250102110000.00", None, "GE MEDICAL SYSTEMS")(datasets)
    scale = scale_of(datasets)
    assert scale.reference_source is ReferenceSource.GE_PRIVATE
    assert codes(scale) == {WarningCode.SUV_PRIVATE_CREATOR_MISSING}


def test_a_ge_date_days_away_without_its_creator_is_said_twice() -> None:
    datasets = builders.pet_slices()
    private(0x0009100D, "DT", "20240601110000.00", None, "GE MEDICAL SYSTEMS")(datasets)
    assert codes(scale_of(datasets)) == {
        WarningCode.SUV_GE_DATE_IMPLAUSIBLE,
        WarningCode.SUV_PRIVATE_CREATOR_MISSING,
    }


def test_a_time_of_day_belongs_to_the_day_of_the_series() -> None:
    """An acquisition date that a gateway moved does not move the injection."""
    datasets = builders.pet_slices(AcquisitionDate="20250105")
    to_dose(RadiopharmaceuticalStartDateTime=None)(datasets)
    assert scale_of(datasets).uptake_minutes == 60.0


# --- Real World Value Mapping -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("off", "warned"), [(1.0, False), (1.0099, False), (1.0101, True), (0.9899, True)])
def test_a_mapping_that_disagrees_by_more_than_a_percent_warns(off: float, warned: bool) -> None:
    datasets = builders.pet_slices()
    uids = frozenset(ds.SOPInstanceUID for ds in datasets)
    scale = scale_of(datasets, rwv=(RwvClaim(builders.SUV_FACTOR * off, uids, "1.2.3"),))
    assert (WarningCode.SUV_RWV_DISAGREES in codes(scale)) is warned


def test_a_mapping_of_stored_values_agrees_too_and_one_of_other_images_says_nothing() -> None:
    datasets = builders.pet_slices()
    of_stored = [
        RwvClaim(float(ds.RescaleSlope) * builders.SUV_FACTOR, frozenset({ds.SOPInstanceUID}), "1.2.3")
        for ds in datasets
    ]
    foreign = RwvClaim(1.0, frozenset({"1.2.3.4"}), "1.2.3")
    assert codes(scale_of(datasets, rwv=(*of_stored, foreign))) == set()


def test_a_mapping_that_fits_some_of_its_slices_warns() -> None:
    """Its slope is that of the stored values of every other slice."""
    datasets = builders.pet_slices()
    uids = frozenset(ds.SOPInstanceUID for ds in datasets)
    claim = RwvClaim(float(datasets[0].RescaleSlope) * builders.SUV_FACTOR, uids, "1.2.3")
    (warning,) = scale_of(datasets, rwv=(claim,)).warnings
    assert warning.code == WarningCode.SUV_RWV_DISAGREES
    assert "differ by" in warning.message


def rwv_mapping(unit: str, image: Dataset) -> Dataset:
    """Return a Real World Value Mapping of slope 0.5 for an image."""
    mapping = builders.base_dataset(RealWorldValueMappingStorage, "RWV", "1.2.3.8", "1.2.3")
    group, value, reference = Dataset(), Dataset(), Dataset()
    reference.ReferencedSOPInstanceUID = image.SOPInstanceUID
    value.RealWorldValueSlope, value.MeasurementUnitsCodeSequence = 0.5, code(unit, "UCUM")
    group.ReferencedImageSequence, group.RealWorldValueMappingSequence = [reference], [value]
    mapping.ReferencedImageRealWorldValueMappingSequence = [group]
    return mapping


@pytest.mark.parametrize(("unit", "taken"), [("{SUVbw}g/ml", True), ("g/ml{SUVbw}", True), ("{SUVlbm}g/ml", False)])
def test_only_mappings_in_suvbw_are_compared(unit: str, taken: bool) -> None:
    image = builders.pet_slices()[0]
    expected = (RwvClaim(0.5, frozenset({image.SOPInstanceUID}), "1.2.3"),)
    assert rwv_claims([rwv_mapping(unit, image)], image) == (expected if taken else ())


@pytest.mark.parametrize(
    ("attributes", "taken"),
    [
        ({}, True),
        ({"PatientID": ""}, True),  # says of nobody that it is his
        ({"PatientID": "SOMEBODY ELSE"}, False),
        ({"StudyInstanceUID": "1.2.3.9"}, False),
    ],
)
def test_a_mapping_of_another_patient_or_study_claims_nothing(attributes: dict[str, str], taken: bool) -> None:
    image = builders.pet_slices()[0]
    mapping = rwv_mapping("{SUVbw}g/ml", image)
    for keyword, changed in attributes.items():
        setattr(mapping, keyword, changed)
    assert bool(rwv_claims([mapping], image)) is taken


# --- contracts --------------------------------------------------------------------------------------------------------


def test_tags_in_messages_are_those_of_the_dictionary() -> None:
    for keyword, shown in TAGS.items():
        if " " not in keyword:
            assert shown == str(Tag(tag_for_keyword(keyword) or 0))


def test_the_rules_import_no_dicom_library() -> None:
    check = "import sys, inference.imaging.suv, inference.select; sys.exit('pydicom' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_a_long_hostile_value_is_cut_in_the_message() -> None:
    datasets = builders.pet_slices()
    to_dose(Radiopharmaceutical=None, RadiopharmaceuticalCodeSequence=None)(datasets)
    for ds in datasets:
        tag, value = Tag(0x00180031), b"x" * 5000  # as read from a file: an LO holds 64 characters
        element = RawDataElement(tag, "LO", len(value), value, 0, False, True)
        ds.RadiopharmaceuticalInformationSequence[0]._dict[tag] = element
    with pytest.raises(StudyRefusedError) as refused:
        scale_of(datasets)
    assert len(refused.value.message) < 500


def test_every_norm_is_positive_for_an_ordinary_adult() -> None:
    assert all(40 < norm(70, 170) < 75 for by_sex in NORMS.values() for norm in by_sex.values())


# --- reference data ---------------------------------------------------------------------------------------------------

# What a truncated stored value costs in DRO_3_1 (0.2 SUV is 1051.66 stored units of 1.9e-4): its own levels, not 1e-4.
LEVELS = {"DRO_3_1": (1051 * 70 / 368080, 5258 * 70 / 368080, 21033 * 70 / 368080)}


def dro(shared_data: Path, name: str) -> list[Dataset]:
    return [dcmread(f) for f in sorted((shared_data / "suv_dro" / name / "PT").glob("*.dcm"))]


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("DRO_0_0", FactorSource.FORMULA),
        ("DRO_1_0", FactorSource.FORMULA),
        ("DRO_2_0", FactorSource.STORED_SUV),
        ("DRO_2_4", FactorSource.PHILIPS_SUV),
        ("DRO_3_1", FactorSource.FORMULA),
        ("DRO_4_1", FactorSource.FORMULA),
    ],
)
def test_digital_reference_objects(shared_data: Path, name: str, source: FactorSource) -> None:
    series = series_of(dro(shared_data, name))
    scale = suv_scale(pet_slices(series))
    volume = read_pet(series, scale)
    (rs,) = (shared_data / "suv_dro" / name / "RS").glob("*.dcm")
    (region,) = structure_masks(dcmread(rs), volume)
    inside = volume.voxels[region.mask]
    assert (region.label, inside.size) == ("region_1", 174_691)
    found = (inside.min(), np.median(inside), inside.max())
    assert found == pytest.approx((0.2, 1.0, 4.0), abs=1e-4 if name not in LEVELS else 2e-4)
    if name in LEVELS:
        assert found == pytest.approx(LEVELS[name], abs=1e-6)
    assert scale.factor_source is source
    expected = {WarningCode.SUV_PRIVATE_CREATOR_MISSING} if name == "DRO_2_4" else set()
    assert codes(scale) == expected


W, H, DOSE, T12 = 70.0, 175.0, 368.08e6, 6586.2
DRO_FACTOR = 1000 * W / (DOSE * 2 ** (-3600 / T12))
JAMES128 = ((1.10 * W - 128 * (W / H) ** 2) + (1.07 * W - 148 * (W / H) ** 2)) / 2
IBW = ((48 + 1.06 * 23) + (45.5 + 0.91 * 23)) / 2
BSA_CM2 = 71.84 * W**0.425 * H**0.725


def _none_factor(index: int) -> float:
    decay = math.log(2) / T12
    elapsed = 3600 if index < 10 else 4200
    return 1000 * W / DOSE * decay * 300 / (1 - math.exp(-decay * 300)) * math.exp(decay * elapsed)


def _two_beds(datasets: list[Dataset]) -> None:
    for i, ds in enumerate(datasets):
        ds.AcquisitionTime = "110000" if i < 10 else "111000"


# name -> header changes of DRO_0_0, and the factor that the slope must undo for the same SUV (a function of the slice)
FAMILY: dict[str, tuple[Change, Callable[[int], float]]] = {
    "LBMJAMES128": (to_all(Units="GML", SUVType="LBMJAMES128"), lambda _: W / JAMES128),
    "IBW, sex O": (to_all(Units="GML", SUVType="IBW"), lambda _: W / IBW),
    "BSA": (to_all(Units="CM2ML"), lambda _: 1000 * W / BSA_CM2),
    "(7053,1009)": (
        both(to_all(Units="CNTS"), private(0x70531009, "DS", "2.5", "Philips PET Private Group")),
        lambda _: 2.5 * DRO_FACTOR,
    ),
    "dose in MBq": (to_dose(RadionuclideTotalDose="368.08"), lambda _: DRO_FACTOR),
    "SeriesTime after AcquisitionTime": (to_all(SeriesTime="114500", FrameReferenceTime="0"), lambda _: DRO_FACTOR),
    "NONE, two beds": (
        both(to_all(DecayCorrection="NONE", CorrectedImage=["ATTN"]), _two_beds), _none_factor),
    "midnight": (
        both(
            to_all(SeriesTime="003000", AcquisitionTime="003000"),
            to_dose(RadiopharmaceuticalStartTime="233000", RadiopharmaceuticalStartDateTime=None),
        ),
        lambda _: DRO_FACTOR,
    ),
    "Ga-68": (
        to_dose(RadionuclideHalfLife="4062.6"), lambda _: 1000 * W / (DOSE * 2 ** (-3600 / 4062.6))),
}  # fmt: skip


@pytest.mark.shared_data
@pytest.mark.parametrize("case", FAMILY)
def test_edited_reference_objects_keep_their_suv(shared_data: Path, case: str) -> None:
    change, factor = FAMILY[case]
    datasets = dro(shared_data, "DRO_0_0")
    change(datasets)
    for i, ds in enumerate(datasets):
        ds.RescaleSlope = f"{DRO_FACTOR / factor(i):.10g}"
    series = series_of(datasets)
    volume = read_pet(series, suv_scale(pet_slices(series), Gates(any_isotope=case == "Ga-68")))
    assert np.unique(volume.voxels.round(4)) == pytest.approx([0.0, 0.2, 1.0, 4.0], abs=1e-4)


HEADERS: dict[str, tuple[float, ReferenceSource | None, set[str]]] = {
    "PHILIPS_BQML": (0.00074637470138895, ReferenceSource.SERIES, {WarningCode.SUV_REFERENCE_DIFFERS}),
    "PHILIPS_CNTS_AND_BQML_SUV": (0.000551, None, set()),
    "PHILIPS_CNTS_AND_SUV": (0.000728, None, set()),
    "SIEMENS": (0.00042748316187197, ReferenceSource.SERIES, set()),
    "GE_MEDICAL_AND_BQML": (0.00053673876818197, ReferenceSource.SERIES, set()),
    "BQML_AC_DT_lessThan_S_DT_SIEMENS": (0.00040691568540093, ReferenceSource.SERIES, set()),
    "CPS_AND_BQML_AC_DT_-_S_DT": (
        0.00026503312764157, ReferenceSource.ACQUISITION, {WarningCode.SUV_REFERENCE_GUESSED}),
    "RADIOPHARM_DATETIME_UNDEFINED": (0.00037210892028187, ReferenceSource.SERIES, set()),
}  # fmt: skip
NOT_ABOUT_REFERENCE = {WarningCode.SUV_UPTAKE_UNUSUAL, WarningCode.TRACER_NOT_STATED}


def dataset_of(facts: dict[str, Any], index: int) -> Dataset:
    """Build a header from the facts of one instance; the values keep their trailing blanks."""
    ds, dose = Dataset(), Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = PositronEmissionTomographyImageStorage, f"1.2.3.{index}"
    ds.SeriesInstanceUID, ds.RescaleSlope, ds.RescaleIntercept = "1.2.3", "1", "0"
    for keyword, value in facts.items():
        if keyword.startswith("Radio"):
            setattr(dose, keyword, value)
        elif keyword != "PhilipsPETPrivateGroup":
            setattr(ds, keyword, value)
    ds.RadiopharmaceuticalInformationSequence = [dose]
    philips = facts["PhilipsPETPrivateGroup"]
    ds.add_new(Tag(0x70530010), "LO", "Philips PET Private Group")
    for name, tag in (("SUVScaleFactor", 0x70531000), ("ActivityConcentrationScaleFactor", 0x70531009)):
        if name in philips:
            ds.add_new(Tag(tag), "DS", philips[name])
    return ds


@pytest.mark.shared_data
@pytest.mark.parametrize("name", HEADERS)
def test_vendors_headers(shared_data: Path, name: str) -> None:
    factor, source, warned = HEADERS[name]
    facts = json.loads((shared_data / "suv_headers" / f"{name}-instances.json").read_text())
    scale = scale_of(dataset_of(f, i) for i, f in enumerate(facts))
    assert scale.factor == pytest.approx(factor, rel=1e-6)
    assert scale.reference_source == source
    assert codes(scale) - NOT_ABOUT_REFERENCE == warned


@pytest.fixture(scope="module")
def lung_pet(shared_data: Path) -> SeriesImages:
    return series_of(dcmread(f) for f in (shared_data / "petct_lung_acrin042" / "PT_PET_AC_081015").glob("*.dcm"))


@pytest.mark.shared_data
def test_lung_study_has_the_factor_of_its_mappings_and_three_warnings(
    shared_data: Path, lung_pet: SeriesImages
) -> None:
    mappings = (dcmread(f) for f in (shared_data / "petct_lung_acrin042").glob("RWV*/*.dcm"))
    claims = rwv_claims(mappings, lung_pet.datasets[0])
    scale = suv_scale(pet_slices(lung_pet), rwv=claims)
    assert scale.factor == pytest.approx(0.00042111007, rel=1e-8)
    ours = frozenset(scale.factors)
    agreeing = [c.slope for c in claims if c.sop_instance_uids & ours]
    assert agreeing == pytest.approx([scale.factor] * 2, rel=1e-6)
    assert scale.uptake_minutes == pytest.approx(158.8, abs=0.05)
    assert codes(scale) == {
        WarningCode.SUV_UPTAKE_UNUSUAL,
        WarningCode.SUV_REFERENCE_DIFFERS,
        WarningCode.SUV_GE_DATE_IMPLAUSIBLE,
    }
    (differs,) = [w for w in scale.warnings if w.code == WarningCode.SUV_REFERENCE_DIFFERS]
    assert "456 s after" in differs.message
    assert read_pet(lung_pet, scale).voxels.max() == pytest.approx(51.09, abs=0.005)


@pytest.mark.shared_data
def test_lung_study_without_attenuation_correction_is_refused_by_its_units(shared_data: Path) -> None:
    folder = shared_data / "petct_lung_acrin042" / "PT_PET_NAC_462754"
    with pytest.raises(StudyRefusedError, match="Units \\(0054,1001\\) is 'PROPCNTS'"):
        scale_of(dcmread(f) for f in folder.glob("*.dcm"))


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("patient", "warned"),
    [("STS_002", {WarningCode.SUV_DATE_SHIFT}), ("STS_006", set()), ("STS_012", {WarningCode.SUV_DATE_SHIFT})],
)
def test_stored_suv_of_sarcoma_studies_takes_no_formula(shared_data: Path, patient: str, warned: set[str]) -> None:
    folder = shared_data / "pet_rtstruct_sts" / patient / "PET" / "image"
    scale = scale_of(dcmread(f) for f in folder.iterdir())
    assert (scale.factor, scale.factor_source) == (1.0, FactorSource.STORED_SUV)
    assert codes(scale) == warned
