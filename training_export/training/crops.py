"""Crops of brain metastases as arrays: ``crops.npy`` and ``lesions.csv`` (docs/training.md); needs no PyTorch.

The biomarker that makes such crops from DICOM is not part of this version; whoever has crops trains on this layout.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training_export.training.refusal import Reason, TrainingRefusedError
from training_export.training.slices import Float32, Slices

CROPS, LESIONS = "crops.npy", "lesions.csv"
SLICES, SIZE = 5, 96  # the middle of the lesion and two to either side; pixels (docs/reference/science.md F)
CHANNELS = 3  # the slice three times, as weights of ImageNet want it
COLUMNS = ("patient", "label")


@dataclass(frozen=True)
class _Lesion:
    patient: str
    label: int
    slices: int


def read_crops(folder: Path) -> Slices:
    """Return the crops of a folder as images ``[n, 3, 96, 96]``, one for each slice that a lesion has.

    Raises
    ------
    TrainingRefusedError
        a file is missing or not of the layout
    """
    lesions = _lesions(folder / LESIONS)
    crops = _crops(folder / CROPS)
    if len(crops) != len(lesions):
        raise TrainingRefusedError(
            Reason.SHAPE_WRONG, f"{CROPS} holds {len(crops)} lesions, {LESIONS} {len(lesions)}; needed: a row for each"
        )
    names = tuple(dict.fromkeys(lesion.patient for lesion in lesions))
    number = {name: index for index, name in enumerate(names)}
    there = np.array([np.arange(SLICES) < lesion.slices for lesion in lesions])
    row = np.flatnonzero(there)
    lesion_of = row // SLICES
    flat = crops.reshape(-1, 1, SIZE, SIZE)
    return Slices(
        images=np.broadcast_to(flat, (len(flat), CHANNELS, SIZE, SIZE)),
        rows=row,
        label=np.array([lesion.label for lesion in lesions], np.int64)[lesion_of],
        patient=np.array([number[lesion.patient] for lesion in lesions], np.int64)[lesion_of],
        counted=np.ones(len(row), np.bool_),
        names=names,
    )


def _crops(path: Path) -> Float32:
    try:
        crops = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise TrainingRefusedError(Reason.DATA_UNREADABLE, f"{path}: {error}; needed: a NPY file of numbers") from error
    if crops.ndim != 4 or crops.shape[1:] != (SLICES, SIZE, SIZE) or crops.dtype != np.float32:
        raise TrainingRefusedError(
            Reason.SHAPE_WRONG,
            f"{path} is {crops.dtype} {list(crops.shape)}; needed: float32 [n, {SLICES}, {SIZE}, {SIZE}]",
        )
    return np.asarray(crops)


def _lesions(path: Path) -> list[_Lesion]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            header: Sequence[str] = reader.fieldnames or ()
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TrainingRefusedError(Reason.DATA_UNREADABLE, f"{path}: {error}; needed: a CSV table") from error
    missing = [column for column in COLUMNS if column not in header]
    if missing:
        raise TrainingRefusedError(
            Reason.DATA_UNREADABLE,
            f"{path}: no column {missing[0]}; needed: {', '.join(COLUMNS)} and, if wished, slices",
        )
    return [_lesion(path, line, row) for line, row in enumerate(rows, 2)]


def _lesion(path: Path, line: int, row: Mapping[str, str | None]) -> _Lesion:
    patient, label = (row["patient"] or "").strip(), (row["label"] or "").strip()
    slices = (row.get("slices") or str(SLICES)).strip()
    if not patient or label not in ("0", "1") or slices not in [str(n) for n in range(1, SLICES + 1)]:
        raise TrainingRefusedError(
            Reason.DATA_UNREADABLE,
            f"{path}, line {line}: patient {patient or 'empty'}, label {label or 'empty'}, slices {slices}; needed: a name, "
            f"0 or 1, and 1 to {SLICES} slices",
        )
    return _Lesion(patient, int(label), int(slices))
