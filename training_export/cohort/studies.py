"""Where the studies of a cohort come from: the service's ledger and spool, or a folder of DICOM files.

Of ``training_export`` this module alone reads what the stages keep (pyproject.toml, import contracts).
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Protocol

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info

from egfr_dls import biomarkers
from egfr_dls.content_digest import content_digest
from egfr_dls.errors import StudyRefusedError, UsageError
from egfr_dls.ledger import instances, studies
from egfr_dls.ledger.instances import INPUT_MODALITIES
from egfr_dls.refusals import RefusalCode
from egfr_dls.settings import Settings
from egfr_dls.store import Store, open_store
from egfr_dls.study import SpoolRef, StudyState
from egfr_dls.uids import OBJECT_KINDS, series_uid
from inference.read.folder import read_folder
from inference.read.header import text
from inference.read.part10 import read_part10
from training_export.cohort.patients import Fault, StudyPlace, place_of

IMAGES = frozenset({"PT", "CT"})
SURVEYED = (
    "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "Modality", "PatientID", "IssuerOfPatientID",
    "PatientName", "PatientBirthDate", "StudyDate", "SpecificCharacterSet",
)  # fmt: skip
UNFINISHED = frozenset({StudyState.RECEIVING, StudyState.COMPLETE})
META_START = 144  # preamble, DICM, and the element that says how long the rest of the file meta is (PS3.10 7.1)


@dataclass(frozen=True)
class StudyContent:
    """The instances of a study, pixels not decoded; why it is no whole study all the same; and the digest of them all."""

    datasets: tuple[Dataset, ...] = field(repr=False)
    refuse_as: StudyRefusedError | None
    sha256: str


@dataclass(frozen=True)
class Survey:
    """The studies of a source in the order of their UIDs, and what else was found there."""

    places: tuple[StudyPlace, ...]
    skipped_files: int = 0  # no DICOM
    damaged_files: int = 0  # DICOM that cannot be read


class StudySource(Protocol):
    """Studies that can be listed, then read one by one."""

    def survey(self) -> Survey:
        """List the studies by their headers."""

    def read(self, place: StudyPlace) -> StudyContent:
        """Read one of them."""


class FolderStudies:
    """The studies under a folder, whatever the names of the files; nothing there is changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: dict[str, dict[str, list[Path]]] = {}  # study -> SOP Instance UID -> its files
        self._damaged: Counter[Path] = Counter()  # folder -> damaged files

    def survey(self) -> Survey:
        """List the studies; objects of our own are passed over.

        Raises
        ------
        UsageError
            the path does not exist, or holds no DICOM file
        """
        if not self._path.exists():
            raise UsageError(f"--from {self._path} does not exist; give a folder of DICOM files")
        headers: defaultdict[str, list[Dataset]] = defaultdict(list)
        skipped = 0
        for file in sorted(f for f in self._path.rglob("*") if f.is_file()):
            ds = _header(file)
            if ds is None:
                skipped += not _is_dicom(file)
                self._damaged[file.parent] += _is_dicom(file)
                continue
            study = text(ds, "StudyInstanceUID")
            if text(ds, "SeriesInstanceUID") not in own_series(study):
                headers[study].append(ds)
                self._files.setdefault(study, {}).setdefault(text(ds, "SOPInstanceUID"), []).append(file)
        if not headers:
            raise UsageError(f"--from {self._path} holds no readable DICOM file; give a folder of DICOM files")
        places = (place_of(uid, _images(found), _fault(found)) for uid, found in sorted(headers.items()))
        return Survey(tuple(places), skipped, sum(self._damaged.values()))

    def read(self, place: StudyPlace) -> StudyContent:
        """Read a study; a damaged file beside its files, and nobody else's, makes it one that is not whole."""
        each = self._files[place.study_instance_uid]
        found = [_readable(files[0]) for _, files in sorted(each.items())]
        datasets = [ds for ds in found if ds is not None]
        digests = {
            text(ds, "SOPInstanceUID"): [_digest(file) for file in each[text(ds, "SOPInstanceUID")]]
            for ds in datasets
            if text(ds, "Modality") in INPUT_MODALITIES  # as the ledger tells one content of a study from another
        }
        cut = (
            _unreadable(f"{len(found) - len(datasets)} of its files cannot be read")
            if len(datasets) < len(found)
            else None
        )
        refuse_as = cut or self._not_whole(each) or _two_contents(digests)
        return StudyContent(tuple(datasets), refuse_as, _joined((uid, same[0]) for uid, same in digests.items()))

    def _not_whole(self, each: dict[str, list[Path]]) -> StudyRefusedError | None:
        own = {file.parent for files in each.values() for file in files}
        shared = {
            file.parent
            for other in self._files.values()
            if other is not each
            for files in other.values()
            for file in files
        }
        damaged = sum(self._damaged[folder] for folder in own - shared)
        return _unreadable(f"{damaged} DICOM files beside it cannot be read") if damaged else None


class LedgerStudies:
    """The studies that the service keeps; nothing of the running service is changed."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def survey(self) -> Survey:
        """List the studies by the header of one image each."""
        with self._store.ledger.read() as tx:
            rows = sorted(studies.listed(tx), key=lambda row: str(row.study_instance_uid))
            kept = {row.study_instance_uid: instances.locations(tx, row.study_instance_uid) for row in rows}
        return Survey(tuple(self._place(row, kept[row.study_instance_uid]) for row in rows))

    def read(self, place: StudyPlace) -> StudyContent:
        """Read a study as the service's inference does: what can be read, and the refusal of what cannot."""
        uid = place.study_instance_uid
        with self._store.ledger.read() as tx:
            places, content = instances.locations(tx, uid), instances.content_digest_rows(tx, uid)
        datasets, refusal = [], None
        for sop_instance_uid, ref in places.items():
            try:
                datasets.append(read_part10(self._store.spool.read(ref), sop_instance_uid))
            except StudyRefusedError as error:
                refusal = refusal or error
        return StudyContent(tuple(datasets), refusal, _joined(content))

    def _place(self, row: object, kept: dict[str, SpoolRef]) -> StudyPlace:
        uid, state = str(row.study_instance_uid), StudyState(row.state)  # type: ignore[attr-defined]  # a row of SQLAlchemy
        fault = _state_fault(state, released=row.released_at is not None)  # type: ignore[attr-defined]  # likewise
        header = self._header(kept)
        if header is None:
            return place_of(uid, [Dataset()], fault or (Fault.UNREADABLE if kept else Fault.STUDY_RELEASED))
        return place_of(uid, [header], fault)

    def _header(self, kept: dict[str, SpoolRef]) -> Dataset | None:
        """Return the header of the first image, else of the first object that can be read."""
        other = None
        for sop_instance_uid, ref in kept.items():
            try:
                ds = read_part10(self._store.spool.read(ref), sop_instance_uid)
            except StudyRefusedError:
                continue
            if text(ds, "Modality") in IMAGES:
                return ds
            other = other or ds
        return other


@cache
def own_series(study_instance_uid: str) -> frozenset[str]:
    """Return the series in which our own results of a study stand."""
    return frozenset(
        series_uid(study_instance_uid, rule.name, kind, demonstration=demonstration)
        for rule in biomarkers.RULES
        for kind in OBJECT_KINDS
        for demonstration in (True, False)
    )


def _state_fault(state: StudyState, *, released: bool) -> Fault | None:
    if released:
        return Fault.STUDY_RELEASED
    if state is StudyState.NOT_APPLICABLE:
        return Fault.NOT_APPLICABLE
    return Fault.STUDY_UNFINISHED if state in UNFINISHED else None


def _fault(headers: Sequence[Dataset]) -> Fault | None:
    asked = {rule.asks_for for rule in biomarkers.RULES}
    return None if any(text(ds, "Modality") in asked for ds in headers) else Fault.NOT_APPLICABLE


def _images(headers: Sequence[Dataset]) -> Sequence[Dataset]:
    """Return the headers by which a study is a patient's: a region of another patient is not used, and said."""
    return [ds for ds in headers if text(ds, "Modality") in IMAGES] or headers


def _header(file: Path) -> Dataset | None:
    """Return what the survey needs of a file; None where it is no DICOM object that says which instance it is."""
    try:
        ds = dcmread(file, stop_before_pixels=True, specific_tags=list(SURVEYED))
    except (InvalidDicomError, OSError):
        return None
    except Exception:  # noqa: BLE001  # any file may lie in the folder, and pydicom raises anything on broken ones
        return None
    needed = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID")
    return ds if all(0 < len(text(ds, keyword)) <= 64 for keyword in needed) else None


def _readable(file: Path) -> Dataset | None:
    try:
        return read_folder(file).datasets[0]
    except UsageError:  # its header was read, the rest of it cannot be
        return None


def _is_dicom(file: Path) -> bool:
    """Whether a file that gave no header claims to be DICOM (PS3.10 7.1), and is no index of a medium."""
    try:
        with file.open("rb") as opened:
            head = opened.read(4096)
    except OSError:
        return False
    return head[128:132] == b"DICM" and b"1.2.840.10008.1.3.10" not in head


def _digest(file: Path) -> str:
    """Return the digest of a file without preamble and file meta, as the ledger has it (PS3.10 7.1)."""
    data = file.read_bytes()
    meta_bytes = read_file_meta_info(file).get("FileMetaInformationGroupLength")
    return content_digest([data if meta_bytes is None else data[META_START + meta_bytes :]])


def _joined(content: Iterable[tuple[str, str]]) -> str:
    return hashlib.sha256(";".join(f"{uid}:{digest}" for uid, digest in content).encode()).hexdigest()


def _two_contents(digests: dict[str, list[str]]) -> StudyRefusedError | None:
    if all(len(set(found)) == 1 for found in digests.values()):
        return None
    return StudyRefusedError(
        RefusalCode.SERIES_AMBIGUOUS, "one SOPInstanceUID (0008,0018) is that of files with different contents"
    )


def _unreadable(what: str) -> StudyRefusedError:
    return StudyRefusedError(RefusalCode.PIXELS_UNREADABLE, f"{what}. Needed: every file whole; copy the study again")


@contextmanager
def service_studies(settings: Settings) -> Iterator[LedgerStudies]:
    """Open the service's ledger and spool for reading.

    Raises
    ------
    UsageError
        no service has ever kept anything there
    """
    if settings.ledger_url.startswith("sqlite") and not Path(settings.ledger_url.removeprefix("sqlite:///")).exists():
        raise UsageError(
            f"storage.root {settings.storage.root} holds no ledger; give --config of a service, or --from DIR"
        )
    with open_store(settings) as store:
        yield LedgerStudies(store)
