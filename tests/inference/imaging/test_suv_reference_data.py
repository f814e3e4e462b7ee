"""SUVbw of reference objects and vendors' headers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.tag import Tag
from pydicom.uid import (
    PositronEmissionTomographyImageStorage,
)

from egfr_dls.errors import StudyRefusedError
from egfr_dls.refusals import WarningCode
from inference.imaging.suv import FactorSource, Gates, suv_scale
from inference.imaging.suv_times import ReferenceSource
from inference.read.pet import pet_slices, read_pet
from inference.read.rwv import rwv_claims
from inference.read.series import SeriesImages
from inference.roi.rtstruct import structure_masks
from tests.inference.imaging.pet_headers import (
    Change,
    both,
    codes,
    private,
    scale_of,
    series_of,
    to_all,
    to_dose,
)

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
