"""One study of a cohort: its hyper-images, regions and de-identified copies as files, and its record."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmwrite
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset

from egfr_dls.errors import StudyRefusedError
from inference.engine.gate import Scorer
from inference.read.header import as_date, day, integer, text
from training_export.cohort.analysis import ExportedLesion, ExportedStudy
from training_export.cohort.folder import CohortFolder, Record
from training_export.cohort.key import CohortKey
from training_export.cohort.layout import DICOM, HYPERIMAGES
from training_export.cohort.patients import StudyPlace
from training_export.deidentification.instance import Deidentifier, kept_age
from training_export.deidentification.pixels import burned_in
from training_export.package_writer import npz

NAMES = {"PT": "pt", "CT": "ct", "SEG": "roi", "RTSTRUCT": "roi"}  # modality -> start of a copy's file name
UNREADABLE = "PIXELS_UNREADABLE"  # why a copy is left out, beside those of ``burned_in``


@dataclass(frozen=True)
class StudyNames:
    """Who a study and its patient are in the cohort."""

    key: CohortKey
    patient: str
    study: str

    @staticmethod
    def of(key: CohortKey, place: StudyPlace) -> StudyNames:
        """Return the pseudonyms of a study of the source."""
        return StudyNames(
            key, key.patient(place.identity.issuer, place.identity.patient_id), key.study(place.study_instance_uid)
        )


def refused_record(names: StudyNames, code: str, fingerprint: str) -> Record:
    """Return the record of a study without hyper-images."""
    return {
        "study": names.study,
        "patient": names.patient,
        "fingerprint": fingerprint,
        "status": "refused",
        "code": code,
        "files": {},
    }


def write_study(
    names: StudyNames, found: ExportedStudy, folder: CohortFolder, fingerprint: str, *, dicom: bool
) -> Record:
    """Write a study's files, then its record, and return the record."""
    reference = found.reference if found.reference is not None else Dataset()
    images = f"{HYPERIMAGES}/{names.study}.npz"
    files = {images: folder.write(images, npz(_arrays(found)))}
    left_out: Counter[str] = Counter()
    if dicom:
        folder.clear_dicom(names.study)
        for name, data in _copies(names, found, left_out):
            files[name] = folder.write(name, data)
    study_date = day(reference, "StudyDate")
    record = {
        "study": names.study,
        "patient": names.patient,
        "fingerprint": fingerprint,
        "status": "exported",
        "code": None,
        "study_date": None if study_date is None else names.key.moved(study_date, names.patient).isoformat(),
        "sex": text(reference, "PatientSex") if text(reference, "PatientSex") in ("M", "F", "O") else "",
        "age": _age_years(reference),
        "warnings": list(found.warnings),
        "burned_in": dict(sorted(Counter(code for ds in found.used if (code := burned_in(ds))).items())),
        "copies_left_out": dict(sorted(left_out.items())),
        "scored_lesion": found.scored_lesion,
        "lesions": [_lesion(lesion) for lesion in found.lesions],
        "slices": [row for lesion in found.lesions for row in _slices(lesion)],
        "files": files,
    }
    folder.write_record(record)
    return record


def score_columns(scorers: Mapping[str, Scorer]) -> list[dict[str, str]]:
    """Return which networks gave the scores, for the manifest."""
    return [
        {"task": task, "name": use.name, "version": use.version, "sha256": use.sha256, "status": use.status}
        for task, use in sorted((task, scorer.use) for task, scorer in scorers.items())
    ]


def _arrays(found: ExportedStudy) -> dict[str, NDArray[Any]]:
    """Return the arrays of a study's npz file (docs/cohort.md)."""
    frames = [(lesion.number, frame) for lesion in found.lesions for frame in lesion.hyper.frames]
    arrays: dict[str, NDArray[Any]] = {
        "images": np.concatenate([lesion.hyper.images for lesion in found.lesions]),
        "lesion": np.array([number for number, _ in frames], np.int64),
        "slice_index": np.array([frame.slice_index for _, frame in frames], np.int64),
        "area_mm2": np.concatenate([lesion.area_mm2 for lesion in found.lesions]).astype(np.float64),
        "position_mm": np.array([frame.position_mm for _, frame in frames], np.float64),
        "side_mm": np.array([frame.side_mm for _, frame in frames], np.float64),
        "margin_mm": np.array([frame.margin_mm for _, frame in frames], np.float64),
        "pixels": np.array([frame.pixels for _, frame in frames], np.int64).reshape(-1, 4),
    }
    if found.grid is not None:
        arrays |= {"grid_shape": np.array(found.grid.shape, np.int64), "grid_index_to_mm": found.grid.index_to_mm}
    for lesion in found.lesions:
        held = np.flatnonzero(lesion.roi.mask.any(axis=(1, 2)))
        arrays[f"roi_{lesion.number}"] = lesion.roi.mask[held]
        arrays[f"roi_slices_{lesion.number}"] = held.astype(np.int64)
    return arrays


def _copies(names: StudyNames, found: ExportedStudy, left_out: Counter[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the de-identified copies of what was used; what may show the patient in its pixels is counted instead."""
    regions = {
        (lesion.roi.sop_instance_uid, lesion.roi.number): lesion.number
        for lesion in found.lesions
        if lesion.roi.sop_instance_uid is not None and lesion.roi.number is not None
    }
    by = Deidentifier(names.key, names.patient, regions)
    numbers: Counter[str] = Counter()
    for ds in sorted(found.used, key=_order):
        reason = burned_in(ds)
        if reason is not None:
            left_out[reason] += 1
            continue
        try:
            cleaned = by.clean(ds)
        except StudyRefusedError:
            left_out[UNREADABLE] += 1
            continue
        kind = NAMES.get(text(ds, "Modality"), "other")
        numbers[kind] += 1
        yield f"{DICOM}/{names.study}/{kind}-{numbers[kind]:04d}.dcm", _part10(cleaned)


def _order(ds: Dataset) -> tuple[str, int, str]:
    return text(ds, "SeriesInstanceUID"), integer(ds, "InstanceNumber") or 0, text(ds, "SOPInstanceUID")


def _part10(ds: Dataset) -> bytes:
    buffer = io.BytesIO()
    with disable_value_validation():
        dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def _age_years(ds: Dataset) -> int | None:
    """Return the age in years at the scan, 90 for all above 89: as stated, else from birth date and study date."""
    stated = kept_age(text(ds, "PatientAge"))
    if stated:
        return int(stated[:3]) if stated.endswith("Y") else 0
    born, scanned = as_date(text(ds, "PatientBirthDate")), day(ds, "StudyDate")
    if born is None or scanned is None or scanned < born:
        return None
    years = scanned.year - born.year - ((scanned.month, scanned.day) < (born.month, born.day))
    return int(kept_age(f"{min(years, 999):03d}Y")[:3])


def _lesion(lesion: ExportedLesion) -> dict[str, Any]:
    statistics, refusal = lesion.roi.statistics, lesion.hyper.refusal
    return {
        "lesion": lesion.number,
        "roi_source": lesion.roi.source.value,
        "confirmed": lesion.roi.confirmed,
        "volume_ml": lesion.roi.volume_ml,
        "suv_max": None if statistics is None else statistics.suv_max,
        "suv_mean": None if statistics is None else statistics.suv_mean,
        "mtv_ml": None if statistics is None else statistics.mtv_ml,
        "tlg_g": None if statistics is None else statistics.tlg_g,
        "images": len(lesion.hyper.images),
        "code": None if refusal is None else refusal.code,
    }


def _slices(lesion: ExportedLesion) -> Iterator[dict[str, Any]]:
    area = dict(zip(lesion.hyper.slice_index, lesion.area_mm2.tolist(), strict=True))
    for task, scores in sorted(lesion.scores.items()):
        for z, (wild, mutant) in scores.items():
            yield {
                "lesion": lesion.number,
                "slice": z,
                "model": task,
                "p0": float(wild),
                "p1": float(mutant),
                "area_mm2": area.get(z),
            }
