"""The studies that are sent: Part 10 files made by the tests' builders, with noise for pixels, written once."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.uid import UID

from egfr_dls.content_digest import content_digest
from tests.builders import ct_slices, pet_slices, to_part10

CT_PIXELS, PT_PIXELS, SMALL_PIXELS, TINY_PIXELS = 512, 192, 180, 16  # 180 x 180 x 2 bytes and its header: 64 KiB
MIB = 1 << 20
LARGE_COLUMNS = 16384
# Two counters that the light sender may rewrite in place: the same eight digits end these UIDs in every copy of a template.
STUDY_DIGITS, INSTANCE_DIGITS = "88888888", "77777777"


@dataclass(frozen=True)
class Study:
    """Files in the order in which they are sent; a template is one file that the light sender multiplies."""

    name: str
    files: tuple[Path, ...]
    copies: int = 1

    @property
    def instances(self) -> int:
        """How many instances are sent."""
        return len(self.files) * self.copies

    @property
    def n_bytes(self) -> int:
        """Bytes of all instances as files."""
        return sum(path.stat().st_size for path in self.files) * self.copies

    def every(self, step: int) -> Study:
        """Return a thinner study."""
        return Study(self.name, self.files[::step])

    def digests(self) -> frozenset[str]:
        """Return the content digest of each data set, without file meta."""
        return frozenset(map(dataset_digest, self.files))


@dataclass(frozen=True)
class Studies:
    """Makes each study at its first use, under ``folder``."""

    folder: Path
    quick: bool

    def petct(self) -> Study:
        """Return 300 CT of 512 x 512 and 300 PT of 192 x 192, alternating: 180 MB."""
        n = 60 if self.quick else 300
        return self._study("petct", n, ct=CT_PIXELS, pt=PT_PIXELS)

    def small(self) -> Study:
        """Return 2,000 objects of 64 KiB."""
        return self._study("small", 200 if self.quick else 2000, ct=SMALL_PIXELS)

    def few(self) -> Study:
        """Return 20 objects, for strace."""
        return self._study("few", 10, ct=CT_PIXELS, pt=PT_PIXELS)

    def large(self, mib: int, count: int) -> Study:
        """Return ``count`` objects with ``mib`` MiB of pixels each."""
        folder = self.folder / f"large-{mib}"
        if not folder.exists():
            folder.mkdir(parents=True)
            for n in range(count):
                _write_large(folder / f"{n:05d}.dcm", n, mib * MIB)
        return Study(folder.name, tuple(sorted(folder.iterdir())))

    def many(self, copies: int) -> Study:
        """Return a template of a tiny object, to be sent under ``copies`` UIDs, 1,000 a study."""
        path = self.folder / "template.dcm"
        ds = ct_slices(np.zeros((1, TINY_PIXELS, TINY_PIXELS)))[0]
        ds.StudyInstanceUID = f"{ds.StudyInstanceUID}.1{STUDY_DIGITS}"
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(f"{ds.SeriesInstanceUID}.1{INSTANCE_DIGITS}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(to_part10(ds))
        return Study("many", (path,), copies)

    def _study(self, name: str, count: int, **pixels: int) -> Study:
        folder = self.folder / name
        if not folder.exists():
            folder.mkdir(parents=True)
            for series, (modality, side) in enumerate(pixels.items()):
                for n, ds in enumerate(_series(modality, side, count)):
                    (folder / f"{n:05d}-{series}.dcm").write_bytes(to_part10(ds))
        return Study(name, tuple(sorted(folder.iterdir())))


def dataset_offset(part10: bytes | memoryview) -> int:
    """Return where the data set begins: after preamble and the group of File Meta Information (PS3.10 7.1)."""
    (group_length,) = struct.unpack_from("<L", part10, 140)  # (0002,0000) UL, explicit VR little endian
    return 144 + int(group_length)


def dataset_digest(path: Path) -> str:
    """Return the content digest of a Part 10 file's data set."""
    part10 = memoryview(path.read_bytes())
    return content_digest([part10[dataset_offset(part10) :]])


def _series(modality: str, side: int, count: int) -> Iterator[Dataset]:
    build = ct_slices if modality == "ct" else pet_slices
    ds = build(np.zeros((1, side, side)))[0]
    for n in range(count):
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(f"{ds.SeriesInstanceUID}.{n + 1}")
        ds.PixelData = np.random.default_rng(n).integers(0, 4096, side * side, np.uint16).tobytes()
        yield ds


def _write_large(path: Path, seed: int, n_bytes: int) -> None:
    """Write an image of many rows; its pixels go to the file piece by piece."""
    ds = next(_series("ct", TINY_PIXELS, 1))
    ds.Rows, ds.Columns, ds.PixelData = n_bytes // (2 * LARGE_COLUMNS), LARGE_COLUMNS, bytes(MIB)
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(f"{ds.SeriesInstanceUID}.{n_bytes}.{seed}")
    front = to_part10(ds)[: -MIB - 4]  # up to the length of Pixel Data (7FE0,0010), the last element
    noise = np.random.default_rng(seed)
    with path.open("wb") as file:
        file.write(front + struct.pack("<L", n_bytes))
        for _ in range(n_bytes // MIB):
            file.write(noise.bytes(MIB))
