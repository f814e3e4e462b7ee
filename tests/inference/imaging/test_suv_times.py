"""SUVbw: decay correction, the time that it refers to, and the dates that headers shift."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

import pytest

from egfr_dls.refusals import WarningCode
from inference.imaging.suv_times import ReferenceSource
from tests import builders
from tests.inference.imaging.pet_headers import (
    codes,
    private,
    scale_of,
    to_dose,
)


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
