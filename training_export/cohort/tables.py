"""The tables of a cohort, from the records of its studies and what is known of its patients. Pure.

``slices.csv`` and ``patients.csv`` are what `egfr-dls evaluate` reads.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from training_export.cohort.folder import Record
from training_export.cohort.labels import KnownLabels
from training_export.cohort.layout import (
    LABEL_COLUMNS,
    LESIONS_NAME,
    PATIENTS_NAME,
    REFUSED_NAME,
    SLICES_NAME,
    STUDIES_NAME,
)
from training_export.pathology.labels import FOLLOW_UP

LABELS = tuple(LABEL_COLUMNS.values())
PATIENT_COLUMNS = ("patient", "study", *LABELS, "sex", "age", "suvmax")
STUDY_COLUMNS = ("patient", "study", "study_date", "index_study", "scored_lesion", "images", *LABELS, "warnings")
LESION_COLUMNS = (
    "patient", "study", "lesion", "roi_source", "confirmed", "volume_ml", "suv_max", "suv_mean", "mtv_ml", "tlg_g",
    "images", "code",
)  # fmt: skip
SLICE_COLUMNS = ("patient", "slice", "p0", "p1", "model", "area_mm2")
REFUSED_COLUMNS = ("patient", "study", "code", "advice")
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Refused:
    """A study without hyper-images: its code, and what a person does."""

    patient: str
    study: str
    code: str
    advice: str


@dataclass(frozen=True)
class LabelledStudy:
    """An exported study with the labels that hold for it."""

    record: Record
    labels: Mapping[str, str]

    @property
    def patient(self) -> str:
        """The patient's pseudonym."""
        return str(self.record["patient"])


def tables(studies: Sequence[LabelledStudy], refused: Sequence[Refused], known: KnownLabels) -> dict[str, bytes]:
    """Return the CSV files by name; rows are in the order of pseudonyms."""
    ordered = sorted(studies, key=lambda study: (study.patient, _age_of(study)))
    index = _index_studies(ordered)
    baseline = [study for study in ordered if index[study.patient] is study]
    rows = {row: known.of_patient[row].stated for row in known.of_patient}
    follow_up = [name for name in FOLLOW_UP if any(name in stated for stated in rows.values())]
    return {
        PATIENTS_NAME: _csv((*PATIENT_COLUMNS, *follow_up), (_patient(s, rows.get(s.patient, {})) for s in baseline)),
        STUDIES_NAME: _csv(STUDY_COLUMNS, (_study(s, index=index[s.patient] is s) for s in ordered)),
        LESIONS_NAME: _csv(LESION_COLUMNS, (row for study in ordered for row in _lesions(study))),
        SLICES_NAME: _csv(SLICE_COLUMNS, (row for study in baseline for row in _slices(study))),
        REFUSED_NAME: _csv(REFUSED_COLUMNS, (vars(r) for r in sorted(refused, key=lambda r: (r.patient, r.study)))),
    }


def _age_of(study: LabelledStudy) -> tuple[bool, str, str]:
    """Sort studies by date, those without one last."""
    day = study.record["study_date"]
    return day is None, day or "", study.record["study"]


def _index_studies(ordered: Sequence[LabelledStudy]) -> Mapping[str, LabelledStudy]:
    """Return each patient's baseline: his first study that has a label, else his first."""
    index: dict[str, LabelledStudy] = {}
    for study in ordered:
        before = index.setdefault(study.patient, study)
        if not any(before.labels.values()) and any(study.labels.values()):
            index[study.patient] = study
    return index


def _patient(study: LabelledStudy, stated: Mapping[str, str]) -> Row:
    record = study.record
    suv_max = next(x["suv_max"] for x in record["lesions"] if x["lesion"] == record["scored_lesion"])
    followed = {name: value for name, value in stated.items() if name in FOLLOW_UP}
    return {**record, **study.labels, "suvmax": suv_max, **followed}


def _study(study: LabelledStudy, *, index: bool) -> Row:
    record = study.record
    return {
        **record,
        **study.labels,
        "index_study": int(index),
        "images": sum(lesion["images"] for lesion in record["lesions"]),
        "warnings": " ".join(record["warnings"]),
    }


def _lesions(study: LabelledStudy) -> Iterable[Row]:
    of_study = {name: study.record[name] for name in ("patient", "study")}
    return ({**of_study, **lesion, "confirmed": int(lesion["confirmed"])} for lesion in study.record["lesions"])


def _slices(study: LabelledStudy) -> Iterable[Row]:
    """Return the slices of the lesion whose score is the patient's."""
    record = study.record
    return ({"patient": study.patient, **row} for row in record["slices"] if row["lesion"] == record["scored_lesion"])


def _csv(columns: Sequence[str], rows: Iterable[Row]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, extrasaction="ignore", restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
