"""SUVbw: one refusal for each change of a valid header."""

from __future__ import annotations

import pytest
from pydicom.uid import (
    SecondaryCaptureImageStorage,
)

from egfr_dls.errors import StudyRefusedError
from egfr_dls.refusals import SCALE_FAILURES, RefusalCode, WarningCode
from inference.imaging.suv import assess_suv
from inference.read.pet import pet_slices
from tests import builders
from tests.inference.imaging.pet_headers import (
    Change,
    code,
    scale_of,
    series_of,
    to_all,
    to_dose,
    to_last,
)

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
