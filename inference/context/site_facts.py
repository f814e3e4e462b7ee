"""The site's clinical facts in the running service: taken over from the folder, looked up for a study, and acted on when late.

The ledger has the facts under keyed hashes, so a file may be removed once it was taken over. Each file counts in one
transaction with what follows from it: a study that was scored with other facts is analysed again.
"""

from __future__ import annotations

import contextvars
import json
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

from pydicom.dataset import Dataset

from egfr_dls.background import beside
from egfr_dls.biomarkers import enabled_rules
from egfr_dls.errors import TemporaryFailureError
from egfr_dls.ledger import Tx, clinical, completion, instances, studies
from egfr_dls.ledger.clinical import ConcludedStudy, Statement
from egfr_dls.settings import Settings
from egfr_dls.store import Store
from egfr_dls.telemetry import error_fields, get_logger
from inference.biomarkers.clinical_context import UNKNOWN, ClinicalContext
from inference.context.entries import Entry, FaultCode, FaultyFileError
from inference.context.folder import DroppedFile, Folder
from inference.context.resolve import resolve
from inference.read.header import text

LOOK_SECONDS = 5.0
ACTOR = "context"  # in the audit trail
MAY_MEND = frozenset({FaultCode.FROM_THE_FUTURE, FaultCode.UNREADABLE})  # without the file being written again


@dataclass(frozen=True)
class Known:
    """What is known of one study: of whom, by the most specific subject first, and what follows for it."""

    context: ClinicalContext = UNKNOWN
    subjects: tuple[str, ...] = ()
    study_date: str = ""


class SiteFacts:
    """The facts of one installation. Its methods may be called from several threads, and by several processes at once.

    Parameters
    ----------
    folder
        ``[context] folder``
    clock
        UTC seconds
    """

    def __init__(self, folder: Path, settings: Settings, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._folder = Folder(folder)
        self._settings = settings
        self._ledger = store.ledger
        self._site_key = store.site_key
        self._clock = clock
        self._enabled = frozenset(rule.name for rule in enabled_rules(settings))
        self._lock = threading.Lock()
        self._done: dict[str, DroppedFile] = {}  # taken over, or wrong for good as it is
        self._told: dict[str, DroppedFile] = {}  # wrong, and said so
        self._reachable = True

    def watching(self) -> AbstractContextManager[None]:
        """Look into the folder again and again, in a thread, while the context lasts."""
        stop = threading.Event()
        ours = contextvars.copy_context()  # the thread's log lines name stage and worker too
        return beside("context", lambda: ours.run(self._watch, stop), stop.set)

    def _watch(self, stop: threading.Event) -> None:
        while not stop.wait(LOOK_SECONDS):
            try:
                self.look()
            except TemporaryFailureError as error:
                get_logger().warning("ledger_unavailable", **error_fields(error))
            except Exception as error:  # noqa: BLE001  # the loop of a thread: a defect must not end the watch for ever
                get_logger().error("context_failed", **error_fields(error))

    def look(self) -> None:
        """Take over every file that is new, whole and sound; say of the others what is wrong with them, once."""
        with self._lock:
            try:
                files = self._folder.files()
            except OSError as error:
                self._say_unreachable(error)
                return
            self._reachable = True
            there = {file.name for file in files}
            self._done = {name: file for name, file in self._done.items() if name in there}
            self._told = {name: file for name, file in self._told.items() if name in there}
            for file in files:
                if self._done.get(file.name) != file:
                    self._take(file)

    def _say_unreachable(self, error: OSError) -> None:
        if self._reachable:
            get_logger().error("context_folder_unreadable", reason=error.strerror, **error_fields(error))
        self._reachable = False

    def _take(self, file: DroppedFile) -> None:
        try:
            entries = self._folder.read(file, self._clock())
        except FaultyFileError as fault:
            self._reject(file, fault)
            return
        if entries is None:
            return
        self._enter(self._statements(entries, file.written_at))
        self._done[file.name] = file
        get_logger().info("context_file_taken", count=len(entries))

    def _reject(self, file: DroppedFile, fault: FaultyFileError) -> None:
        if self._told.get(file.name) != file:
            get_logger().error("context_file_rejected", code=fault.code.value, reason=str(fault), count=fault.place)
        self._told[file.name] = file
        if fault.code not in MAY_MEND:
            self._done[file.name] = file

    def _statements(self, entries: Iterable[Entry], stated_at: float) -> list[Statement]:
        return [
            Statement(clinical.subject_key(self._site_key, *entry.subject), fact, value, stated_at)
            for entry in entries
            for fact, value in entry.stated.items()
        ]

    def _enter(self, statements: Sequence[Statement]) -> None:
        with self._ledger.begin() as tx:
            for study in clinical.concluded(tx, clinical.state(tx, statements)):
                self._reconsider(tx, study)

    def of(self, datasets: Sequence[Dataset]) -> Known:
        """Return what is known of a study; nothing where its PET images disagree on patient or examination."""
        subjects, study_date = self._subjects(datasets)
        with self._ledger.read() as tx:
            return Known(resolve(clinical.stated(tx, subjects), study_date), subjects, study_date)

    def _subjects(self, datasets: Sequence[Dataset]) -> tuple[tuple[str, ...], str]:
        keywords = ("PatientID", "IssuerOfPatientID", "AccessionNumber", "StudyDate")
        images = [ds for ds in datasets if text(ds, "Modality") == "PT"]
        named = {tuple(text(ds, keyword) for keyword in keywords) for ds in images}
        if len(named) != 1:
            return (), ""
        patient_id, issuer, accession_number, study_date = named.pop()
        meant = [(patient_id, issuer, accession_number)] if patient_id and accession_number else []
        meant += [("", "", accession_number)] if accession_number else []
        meant += [(patient_id, issuer, "")] if patient_id else []
        return tuple(clinical.subject_key(self._site_key, *one) for one in meant), study_date[:8]

    def conclude(self, tx: Tx, study_instance_uid: str, biomarker: str, known: Known) -> None:
        """Note what a study was scored with, in the transaction of its findings; if that changed meanwhile, it goes again."""
        study = ConcludedStudy(study_instance_uid, biomarker, known.subjects, known.study_date, _as_json(known.context))
        clinical.conclude(tx, study)
        self._reconsider(tx, study)

    def _reconsider(self, tx: Tx, study: ConcludedStudy) -> None:
        """Queue a scored study again if other facts hold for it now than it was concluded with."""
        context = _as_json(resolve(clinical.stated(tx, study.subjects), study.study_date))
        if context == study.context or study.biomarker not in self._enabled:
            return
        uid, key = study.study_instance_uid, studies.study_key(self._site_key, study.study_instance_uid)
        if not instances.count(tx, uid):
            get_logger().warning("context_too_late", study_key=key)
            return
        because = f"{context}|{clinical.last_stated_at(tx, study.subjects)!r}"
        now = self._clock()
        if completion.analyse_again(tx, uid, study.biomarker, because, self._settings, now):
            studies.record_action(tx, ACTOR, "analyse again", uid, "other clinical facts than it was scored with", now)
            get_logger().info("context_changed", study_key=key)


def _as_json(context: ClinicalContext) -> str:
    return json.dumps(asdict(context), sort_keys=True)
