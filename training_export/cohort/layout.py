"""The layout of an exported cohort (schema ``egfr-dls-cohort/1``, docs/cohort.md): its names, and its reader."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from egfr_dls.errors import UsageError

SCHEMA = "egfr-dls-cohort/1"
STUDY_SCHEMA = "egfr-dls-cohort-study/1"
MANIFEST_NAME = "cohort.json"
PATIENTS_NAME, STUDIES_NAME, LESIONS_NAME = "patients.csv", "studies.csv", "lesions.csv"
SLICES_NAME, REFUSED_NAME = "slices.csv", "refused.csv"
HYPERIMAGES, RECORDS, DICOM = "hyperimages", "studies", "dicom"  # folders

UNKNOWN = -1  # a label that nobody stated
LABELS: dict[str, int] = {"": UNKNOWN, "0": 0, "1": 1}
LABEL_COLUMNS = {"egfr": "label", "pdl1": "pdl1_label"}  # task of a network -> column of studies.csv and patients.csv
ARRAYS = ("images", "lesion", "slice_index", "area_mm2")


@dataclass(frozen=True, eq=False)
class CohortImages:
    """The hyper-images of a cohort, every array with one entry an image, in the order of studies.csv.

    Parameters
    ----------
    images
        float32 ``[n, 3, rows, columns]``: PET, CT, FUSE, as they are served
    patient, study
        pseudonyms
    lesion
        int64: 1 is the study's primary lesion
    slice_index
        int64: slice of the CT
    area_mm2
        float64: of the lesion on that slice
    index_study
        bool: of the one study of the patient that counts (his baseline)
    counted
        bool: what patient scores are made of, the scored lesion of the index study
    egfr, pdl1
        int64: 1 is mutant, positive; 0 wild type, negative; -1 unknown. Of the study: a result counts in its time only
    """

    images: NDArray[np.float32]
    patient: NDArray[np.str_]
    study: NDArray[np.str_]
    lesion: NDArray[np.int64]
    slice_index: NDArray[np.int64]
    area_mm2: NDArray[np.float64]
    index_study: NDArray[np.bool_]
    counted: NDArray[np.bool_]
    egfr: NDArray[np.int64]
    pdl1: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def labels(self, task: str) -> NDArray[np.int64]:
        """Return the labels of a network's task: ``egfr`` or ``pdl1``."""
        return {"egfr": self.egfr, "pdl1": self.pdl1}[task]

    def labelled(self, task: str) -> CohortImages:
        """Return the images from which a task can be learnt, with one label a patient.

        These are the images of patients whose index study has a label, from all of his studies that have the same one: a
        result that changed between two scans (a resistance, say) is of neither class.
        """
        labels = self.labels(task)
        known = self.counted & (labels != UNKNOWN)
        of_patient = dict(zip(self.patient[known].tolist(), labels[known].tolist(), strict=True))
        wanted = np.array([of_patient.get(name, UNKNOWN) for name in self.patient.tolist()], np.int64)
        return self._where((labels == wanted) & (labels != UNKNOWN))

    def _where(self, kept: NDArray[np.bool_]) -> CohortImages:
        return CohortImages(**{field.name: getattr(self, field.name)[kept] for field in fields(self)})


def read_cohort(folder: Path) -> CohortImages:
    """Read the hyper-images and labels that ``egfr-dls export-cohort`` wrote; every file's digest is checked.

    Raises
    ------
    UsageError
        no cohort, another schema, a file that is missing, changed or damaged, or no image at all
    """
    files = _files(folder)
    rows = _table(
        folder, STUDIES_NAME, files, ("patient", "study", "index_study", "scored_lesion", *LABEL_COLUMNS.values())
    )
    parts = [_study(folder, row, files) for row in rows if f"{HYPERIMAGES}/{row['study']}.npz" in files]
    if not parts:
        raise UsageError(f"{folder} holds a cohort without hyper-images; {REFUSED_NAME} says why each study has none")
    return CohortImages(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(CohortImages)})


def _files(folder: Path) -> Mapping[str, str]:
    """Return the digest of each file of the cohort, as its manifest states it."""
    path = folder / MANIFEST_NAME
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"{folder} holds no cohort ({path.name}: {error.strerror}); make one with export-cohort"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON; export the cohort again") from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise UsageError(f"{path}: schema is {schema!r}; this version reads {SCHEMA}")
    files = document.get("files")
    if not isinstance(files, dict) or not all(isinstance(digest, str) for digest in files.values()):
        raise UsageError(f"{path}: files is not a list of digests; export the cohort again")
    return files


def _checked(folder: Path, name: str, files: Mapping[str, str]) -> bytes:
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        raise UsageError(f"{folder / name}: {error.strerror}; export the cohort again") from error
    if hashlib.sha256(data).hexdigest() != files.get(name):
        raise UsageError(f"{folder / name} is not what {MANIFEST_NAME} states (sha256); export the cohort again")
    return data


def _table(folder: Path, name: str, files: Mapping[str, str], needed: Sequence[str]) -> list[dict[str, str]]:
    rows = csv.DictReader(io.StringIO(_checked(folder, name, files).decode("utf-8"), newline=""))
    missing = [column for column in needed if column not in (rows.fieldnames or ())]
    if missing:
        raise UsageError(f"{folder / name}: column {missing[0]} is missing; export the cohort again")
    return list(rows)


def _study(folder: Path, row: Mapping[str, str], files: Mapping[str, str]) -> CohortImages:
    name = f"{HYPERIMAGES}/{row['study']}.npz"
    try:
        with np.load(io.BytesIO(_checked(folder, name, files)), allow_pickle=False) as arrays:
            images, lesion, slice_index, area_mm2 = (arrays[key] for key in ARRAYS)
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UsageError(f"{folder / name} is no npz of hyper-images; export the cohort again") from error
    n = len(images)
    egfr, pdl1 = (_label(folder, row, column) for column in LABEL_COLUMNS.values())
    return CohortImages(
        images=images,
        patient=np.full(n, row["patient"]),
        study=np.full(n, row["study"]),
        lesion=lesion,
        slice_index=slice_index,
        area_mm2=area_mm2,
        index_study=np.full(n, row["index_study"] == "1"),
        counted=(row["index_study"] == "1") & (lesion == int(row["scored_lesion"])),
        egfr=np.full(n, egfr, np.int64),
        pdl1=np.full(n, pdl1, np.int64),
    )


def _label(folder: Path, row: Mapping[str, str], column: str) -> int:
    if row[column] not in LABELS:
        raise UsageError(f"{folder / STUDIES_NAME}: {column} of study {row['study']} is not 0, 1 or blank")
    return LABELS[row[column]]
