"""SUVbw: bounds belong to the accepted side."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from egfr_dls.errors import StudyRefusedError
from egfr_dls.refusals import WarningCode
from inference.imaging.suv import suv_scale
from inference.imaging.suv_checks import SHARED
from inference.read.pet import pet_slices
from tests import builders
from tests.inference.imaging.pet_headers import (
    codes,
    scale_of,
    series_of,
    to_dose,
)


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
