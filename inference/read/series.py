"""The series of one study, and the facts of each that choosing needs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from pydicom.dataset import Dataset

from inference.read.header import integer, items, numbers, text, texts
from inference.select import ROI_CLASSES, SeriesFacts


@dataclass(frozen=True, eq=False)
class SeriesImages:
    """The instances of one series as read, pixels not decoded, in the order of InstanceNumber (0020,0013)."""

    series_instance_uid: str
    modality: str
    sop_class_uid: str  # of the first instance
    frame_of_reference_uid: str  # of the first instance
    datasets: tuple[Dataset, ...] = field(repr=False)


def group_series(datasets: Iterable[Dataset]) -> tuple[SeriesImages, ...]:
    """Group the instances of one study by SeriesInstanceUID (0020,000E).

    The order is that of SeriesNumber (0020,0011), then UID. A SOP Instance UID that comes twice is one instance.
    """
    groups: dict[str, dict[str, Dataset]] = {}
    for ds in datasets:
        instance = text(ds, "SOPInstanceUID")
        groups.setdefault(text(ds, "SeriesInstanceUID"), {}).setdefault(instance, ds)
    series = [_series(uid, tuple(found.values())) for uid, found in groups.items()]
    return tuple(sorted(series, key=lambda s: (_order(s.datasets[0], "SeriesNumber"), s.series_instance_uid)))


def _series(uid: str, datasets: Sequence[Dataset]) -> SeriesImages:
    ordered = sorted(datasets, key=lambda ds: (_order(ds, "InstanceNumber"), text(ds, "SOPInstanceUID")))
    first = ordered[0]
    return SeriesImages(
        series_instance_uid=uid,
        modality=text(first, "Modality"),
        sop_class_uid=text(first, "SOPClassUID"),
        frame_of_reference_uid=text(first, "FrameOfReferenceUID"),
        datasets=tuple(ordered),
    )


def _order(ds: Dataset, keyword: str) -> int:
    value = integer(ds, keyword)
    return value if value is not None else 2**31


def series_facts(series: SeriesImages) -> SeriesFacts:
    """Return what ``inference.select`` judges a series by.

    Raises
    ------
    StudyRefusedError
        ``PIXELS_UNREADABLE``: a sequence of references cannot be decoded
    """
    first = series.datasets[0]
    referring = (
        series.datasets if series.sop_class_uid in ROI_CLASSES else (first,)
    )  # each SEG may refer to other images
    return SeriesFacts(
        series_instance_uid=series.series_instance_uid,
        modality=series.modality,
        sop_class_uids=frozenset(text(ds, "SOPClassUID") for ds in series.datasets),
        frame_of_reference_uids=frozenset().union(*(_frames(ds) for ds in referring)),
        n_instances=len(series.datasets),
        image_type=texts(first, "ImageType"),
        series_type=texts(first, "SeriesType"),
        description=text(first, "SeriesDescription"),
        units=text(first, "Units"),
        corrected_image=frozenset(texts(first, "CorrectedImage")),
        attenuation_correction=text(first, "AttenuationCorrectionMethod"),
        quality_control=any(text(ds, "QualityControlImage") == "YES" for ds in series.datasets),
        z_range_mm=_z_range_mm(series.datasets),
        referenced_series_uids=frozenset().union(*(_referenced_series(ds) for ds in referring)),
    )


def _frames(ds: Dataset) -> frozenset[str]:
    """Return FrameOfReferenceUID (0020,0052), and those of an RTSTRUCT's (3006,0010)."""
    frames = {text(ds, "FrameOfReferenceUID")}
    frames |= {text(item, "FrameOfReferenceUID") for item in items(ds, "ReferencedFrameOfReferenceSequence")}
    return frozenset(frames - {""})


def _referenced_series(ds: Dataset) -> frozenset[str]:
    """Return the series of a SEG's (0008,1115) or an RTSTRUCT's (3006,0010)/(3006,0012)/(3006,0014)."""
    found = {text(item, "SeriesInstanceUID") for item in items(ds, "ReferencedSeriesSequence")}
    for frame in items(ds, "ReferencedFrameOfReferenceSequence"):
        for study in items(frame, "RTReferencedStudySequence"):
            found |= {text(item, "SeriesInstanceUID") for item in items(study, "RTReferencedSeriesSequence")}
    return frozenset(found - {""})


def _z_range_mm(datasets: Sequence[Dataset]) -> tuple[float, float] | None:
    """Return the lowest and highest z (LPS) of the slices' first pixels; None where any has no position."""
    positions = [numbers(ds, "ImagePositionPatient", 3) for ds in datasets]
    known = [p[2] for p in positions if p is not None]
    return (float(np.min(known)), float(np.max(known))) if known and len(known) == len(positions) else None
