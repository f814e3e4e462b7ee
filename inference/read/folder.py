"""A folder of DICOM files, whatever their names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from egfr_dls.errors import UsageError
from inference.read.header import text

# Longer values (pixel data) stay in the file until they are asked for; pydicom keeps the path for that.
DEFER_ABOVE_BYTES = 65536
# What says which instance a file is (PS3.3 C.12.1, C.7.3.1, C.7.2.1); without one of them no report can name it.
IDENTITY = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
UID_CHARACTERS = 64  # PS3.5 9.1
DICOMDIR = "1.2.840.10008.1.3.10"  # Media Storage Directory: an index of files, no object of a study


@dataclass(frozen=True, eq=False)
class FolderContents:
    """The DICOM objects under a path in the order of their names, and what else there was.

    ``damaged`` are DICOM files (PS3.10 7.1: prefix DICM) that cannot be read or do not say which instance they are;
    ``skipped`` is how many files are none.
    """

    datasets: tuple[Dataset, ...] = field(repr=False)
    skipped: int
    damaged: tuple[Path, ...] = ()


class _NoObject(Enum):
    """What a file is that gives no object."""

    OTHER = "no DICOM, or a DICOMDIR"
    DAMAGED = "DICOM, but cut or broken"


def read_folder(path: Path) -> FolderContents:
    """Read the headers of every DICOM file at a path (a file, or a folder with all folders below it).

    Raises
    ------
    UsageError
        the path does not exist, or holds no DICOM file
    """
    if not path.exists():
        raise UsageError(f"{path} does not exist; give a DICOM file or a folder that holds some")
    found = [(file, _read(file)) for file in _files(path)]
    datasets = tuple(ds for _, ds in found if isinstance(ds, Dataset))
    damaged = tuple(file for file, ds in found if ds is _NoObject.DAMAGED)
    skipped = len(found) - len(datasets) - len(damaged)
    if not datasets:
        others = f"{skipped} other files, {len(damaged)} damaged"
        raise UsageError(f"{path} holds no readable DICOM file ({others}); give a folder of DICOM files")
    return FolderContents(datasets, skipped, damaged)


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
    for folder, folders, names in os.walk(path):
        folders.sort()
        paths = (Path(folder, name) for name in sorted(names))
        yield from (file for file in paths if file.is_file())  # a pipe or a device would be read for ever


def _read(file: Path) -> Dataset | _NoObject:
    try:
        ds = pydicom.dcmread(file, defer_size=DEFER_ABOVE_BYTES)
    except InvalidDicomError:
        return _NoObject.OTHER
    except Exception:  # noqa: BLE001  # any file may lie in the folder, and pydicom raises anything on broken ones
        return _NoObject.DAMAGED if _has_prefix(file) else _NoObject.OTHER
    if text(ds.file_meta, "MediaStorageSOPClassUID") == DICOMDIR:
        return _NoObject.OTHER
    return ds if all(0 < len(text(ds, keyword)) <= UID_CHARACTERS for keyword in IDENTITY) else _NoObject.DAMAGED


def _has_prefix(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            return opened.read(132)[128:] == b"DICM"
    except OSError:
        return False
