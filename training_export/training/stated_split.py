"""A split that the user states, patient by patient (hospitals, years): a table ``patient,split``; needs no PyTorch."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from training_export.training.refusal import Reason, TrainingRefusedError

COLUMNS = ("patient", "split")


def read_split(path: Path) -> Mapping[str, str]:
    """Return each patient's part.

    Raises
    ------
    TrainingRefusedError
        the table is not of this form, or puts a patient into two parts
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            header, rows = reader.fieldnames or (), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TrainingRefusedError(Reason.DATA_UNREADABLE, f"{path}: {error}; needed: a CSV table") from error
    if not set(COLUMNS) <= set(header):
        raise TrainingRefusedError(
            Reason.DATA_UNREADABLE, f"{path}: columns {', '.join(header) or 'none'}; needed: {', '.join(COLUMNS)}"
        )
    parts: dict[str, str] = {}
    for line, row in enumerate(rows, 2):
        patient, part = ((row[column] or "").strip() for column in COLUMNS)
        if parts.setdefault(patient, part) != part:
            raise TrainingRefusedError(
                Reason.PATIENT_IN_TWO_SPLITS,
                f"{path}, line {line}: patient {patient} is in {part} and in {parts[patient]}; needed: one part a patient",
            )
    return parts
