"""SUVbw of one PET series and of every region drawn on it, as the document of ``egfr-dls suv --json``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from egfr_dls.errors import StudyRefusedError, UsageError
from egfr_dls.refusals import RefusalCode, Remark
from egfr_dls.study import RoiSource
from egfr_dls.volume import Mask, Volume
from inference.imaging.suv import Gates, SuvAssessment, SuvScale, assess_suv
from inference.read.header import text
from inference.read.pet import pet_slices, read_pet
from inference.read.rwv import rwv_claims
from inference.read.series import SeriesImages, group_series, series_facts
from inference.roi.header import reference_of
from inference.roi.lesion_statistics import MTV_THRESHOLD, RoiStatistics, lesion_statistics
from inference.roi.rtstruct import RT_STRUCTURE_SET, structure_masks
from inference.roi.seg import SEGMENTATION_CLASSES, segment_masks
from inference.roi.stored import StoredRoi
from inference.select import NOT_SELECTED, SeriesFacts, pet_reasons, select_pet

SUV_SCHEMA = "egfr-dls-suv/1"
READERS = {**dict.fromkeys(SEGMENTATION_CLASSES, segment_masks), RT_STRUCTURE_SET: structure_masks}
SOURCES = {RoiSource.STORED_SEG: "SEG", RoiSource.STORED_RTSTRUCT: "RTSTRUCT"}
# What a refused document leaves null.
UNKNOWN = (
    "units", "factor", "factor_source", "reference_time", "reference_source", "injection_time", "uptake_minutes",
    "whole_series",
)  # fmt: skip


@dataclass(frozen=True)
class _Measured:
    scale: SuvScale
    volume: Volume
    rois: tuple[StoredRoi, ...]
    warnings: tuple[Remark, ...]


def is_roi(ds: Dataset) -> bool:
    """Tell whether a dataset is a SEG or RTSTRUCT that can be read."""
    return text(ds, "SOPClassUID") in READERS


def suv_document(
    datasets: Sequence[Dataset],
    roi_datasets: Sequence[Dataset] = (),
    series_uid: str | None = None,
    mtv_threshold: float = MTV_THRESHOLD,
    *,
    any_isotope: bool = False,
) -> dict[str, Any]:
    """Measure one PET series.

    Parameters
    ----------
    datasets
        the instances of one study, PET alone suffices
    roi_datasets
        SEG and RTSTRUCT objects to measure; none: those among ``datasets`` that refer to the series or its frame
    series_uid
        SeriesInstanceUID (0020,000E) to measure; None: the one attenuation corrected PET
    mtv_threshold
        share of a region's maximum above which its volume is metabolic
    any_isotope
        measure isotopes other than F-18 too

    Returns
    -------
    dict
        schema ``egfr-dls-suv/1``; a refusal is a document with status "refused"

    Raises
    ------
    UsageError
        no series has ``series_uid``
    """
    series = group_series(datasets)
    document: dict[str, Any] = {
        "schema": SUV_SCHEMA,
        "study_instance_uid": text(datasets[0], "StudyInstanceUID"),
        "series_instance_uid": _asked_for(series, series_uid),
        "status": "refused",
        "refusal": None,
        **dict.fromkeys(UNKNOWN),
        "rois": [],
        "series_refused": [],
        "warnings": [],
    }
    try:
        facts = [series_facts(s) for s in series]
        document["series_refused"] = _series_refused(facts)
        document["series_instance_uid"] = chosen = _choose(facts, series_uid)
        images = next(s for s in series if s.series_instance_uid == chosen)
        assessment = _assess(images, datasets, any_isotope=any_isotope)
        document["warnings"] = _as_json(assessment.warnings)  # they stand beside a refusal too
        measured = _measure(images, assessment, datasets, roi_datasets)
    except StudyRefusedError as error:
        return document | {"refusal": asdict(error.remark)}
    return document | _figures(measured, mtv_threshold)


def _asked_for(series: Sequence[SeriesImages], series_uid: str | None) -> str | None:
    if series_uid is not None and all(s.series_instance_uid != series_uid for s in series):
        there = ", ".join(s.series_instance_uid for s in series if s.modality == "PT") or "none"
        raise UsageError(f"no series {series_uid} here; PET series here: {there}")
    return series_uid


def _series_refused(facts: Sequence[SeriesFacts]) -> list[dict[str, str]]:
    reasons = pet_reasons(facts, allow_phantoms=True)
    return [
        {"series_instance_uid": s.series_instance_uid, "modality": s.modality, **asdict(reasons[s.series_instance_uid])}
        for s in facts
        if s.series_instance_uid in reasons
    ]


def _choose(facts: Sequence[SeriesFacts], series_uid: str | None) -> str:
    """Return the series to measure; phantoms are measured too (site acceptance)."""
    if series_uid is None:
        return select_pet(facts, allow_phantoms=True).series_instance_uid
    reason = pet_reasons(facts, allow_phantoms=True).get(series_uid)
    if reason is not None and reason.code != NOT_SELECTED:
        raise StudyRefusedError(RefusalCode(reason.code), f"series {series_uid}: {reason.message}")
    return series_uid


def _assess(images: SeriesImages, datasets: Sequence[Dataset], *, any_isotope: bool) -> SuvAssessment:
    gates = Gates(any_isotope=any_isotope, tracer_only_warns=True, uptake_only_warns=True)
    return assess_suv(pet_slices(images), gates, rwv_claims(datasets, images.datasets[0]))


def _as_json(remarks: Sequence[Remark]) -> list[dict[str, str]]:
    return [asdict(remark) for remark in remarks]


def _measure(
    images: SeriesImages, assessment: SuvAssessment, datasets: Sequence[Dataset], roi_datasets: Sequence[Dataset]
) -> _Measured:
    scale = assessment.require_scale()
    volume = read_pet(images, scale)
    given = roi_datasets or [ds for ds in datasets if is_roi(ds) and reference_of(ds).serves(volume)]
    rois, refused = _stored_rois(given, volume)
    return _Measured(scale, volume, rois, scale.warnings + refused)


def _stored_rois(objects: Sequence[Dataset], grid: Volume) -> tuple[tuple[StoredRoi, ...], tuple[Remark, ...]]:
    """Read the regions; an object that cannot be read is a warning, the series is measured all the same."""
    rois: list[StoredRoi] = []
    refused: list[Remark] = []
    for ds in objects:
        try:
            rois += READERS[text(ds, "SOPClassUID")](ds, grid)
        except StudyRefusedError as error:
            refused.append(error.remark)
    return tuple(rois), tuple(refused)


def _figures(measured: _Measured, mtv_threshold: float) -> dict[str, Any]:
    scale, volume = measured.scale, measured.volume
    everything = np.ones(volume.geometry.shape, np.bool_)
    return {
        "status": "measured",
        "units": scale.units,
        "factor": scale.factor,
        "factor_source": scale.factor_source.value,
        "reference_time": scale.reference_time and scale.reference_time.isoformat(),
        "reference_source": scale.reference_source and scale.reference_source.value,
        "injection_time": scale.injection_time and scale.injection_time.isoformat(),
        "uptake_minutes": scale.uptake_minutes,
        "whole_series": {"label": "whole series", "number": None, "source": None}
        | _statistics(volume, everything, mtv_threshold),
        "rois": [
            {"label": roi.label, "number": roi.number, "source": SOURCES[roi.source]}
            | _statistics(volume, roi.mask, mtv_threshold)
            for roi in measured.rois
        ],
        "warnings": _as_json(measured.warnings),
    }


def _statistics(volume: Volume, mask: Mask, mtv_threshold: float) -> dict[str, Any]:
    found = lesion_statistics(volume, mask, mtv_threshold)
    if found is not None:
        return asdict(found)
    nothing = dict.fromkeys(f.name for f in fields(RoiStatistics))
    return {**nothing, "voxels": 0, "volume_ml": 0.0, "mtv_threshold": mtv_threshold}
