"""A folder of DICOM files, whatever their names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from egfr_dls.errors import UsageError
from inference.read.header import text

# Longer values (pixel data) stay in the file until they are asked for; pydicom keeps the path for that.
DEFER_ABOVE_BYTES = 65536
DICOMDIR = "1.2.840.10008.1.3.10"  # Media Storage Directory: an index of files, no object of a study


@dataclass(frozen=True, eq=False)
class FolderContents:
    """The DICOM objects under a path in the order of their names, and how many other files there were."""

    datasets: tuple[Dataset, ...] = field(repr=False)
    skipped: int


def read_folder(path: Path) -> FolderContents:
    """Read the headers of every DICOM file at a path (a file, or a folder with all folders below it).

    Raises
    ------
    UsageError
        the path does not exist, or holds no DICOM file
    """
    if not path.exists():
        raise UsageError(f"{path} does not exist; give a DICOM file or a folder that holds some")
    found = [_read(file) for file in _files(path)]
    datasets = tuple(ds for ds in found if ds is not None)
    skipped = len(found) - len(datasets)
    if not datasets:
        raise UsageError(f"{path} holds no DICOM file ({skipped} other files); give a folder of DICOM files")
    return FolderContents(datasets, skipped)


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
    for folder, folders, names in os.walk(path):
        folders.sort()
        yield from (Path(folder, name) for name in sorted(names))


def _read(file: Path) -> Dataset | None:
    try:
        ds = pydicom.dcmread(file, defer_size=DEFER_ABOVE_BYTES)
    except Exception:  # noqa: BLE001  # any file may lie in the folder, and pydicom raises anything on broken ones
        return None
    has_identity = text(ds, "SOPInstanceUID") and text(ds, "StudyInstanceUID")
    return ds if has_identity and text(ds, "SOPClassUID") != DICOMDIR else None
