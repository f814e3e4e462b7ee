"""SUVbw: the scale is right, and the header is named; and the gates of site acceptance."""

from __future__ import annotations

import pytest

from egfr_dls.errors import StudyRefusedError
from egfr_dls.refusals import RefusalCode, WarningCode
from inference.imaging.suv import Gates
from inference.imaging.suv_checks import NO_TRACER
from tests import builders
from tests.inference.imaging.pet_headers import (
    Change,
    code,
    codes,
    private,
    scale_of,
    to_all,
    to_dose,
)

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
