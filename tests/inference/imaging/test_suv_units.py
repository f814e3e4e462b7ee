"""SUVbw: BQML, GML and its body measures, Philips counts."""

from __future__ import annotations

import pytest
from pydicom.tag import Tag

from egfr_dls.errors import StudyRefusedError
from egfr_dls.refusals import RefusalCode, WarningCode
from inference.imaging.suv import FactorSource
from tests import builders
from tests.inference.imaging.pet_headers import (
    both,
    codes,
    private,
    scale_of,
    to_dose,
)


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
