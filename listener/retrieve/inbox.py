"""Takes what a source brings, and nothing that was not asked for, by way of ``Reception`` into the spool."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from egfr_dls.dimse_status import StoreStatus
from egfr_dls.listed_report import NotFetched
from egfr_dls.settings_sections import Source
from egfr_dls.telemetry import get_logger
from listener.admission import Accepted, AssociationRequest
from listener.retrieve.plan import Request
from listener.retrieve.source import CLASSES, OWN_CLASSES, TRANSFER_SYNTAXES, SourceError
from listener.status import SUCCESS as STORED
from listener.status import InstanceRefusedError
from listener.storage.facts import FactsReader, InstanceFacts, StoreCommand
from listener.storage.part10 import file_head
from listener.storage.reception import Reception

NOT_ASKED_FOR = StoreStatus.DATA_SET_DOES_NOT_MATCH_SOP_CLASS  # A900H (PS3.4 table B.2-1)
MAX_REPORT_BYTES = 8 * 1024**2  # ours have some hundred thousand; they are kept in memory
TAKEN_CLASSES: Final = frozenset({*OWN_CLASSES, *(uid for classes in CLASSES.values() for uid in classes)})


@dataclass
class Inbox:
    """What came from one source about one study; for one thread.

    Every instance is answered by a C-STORE status (PS3.4 B.2.3), also where its transport has no word for it.
    """

    reception: Reception
    source: Source
    ae_title: str
    study_instance_uid: str
    association_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    taken: set[str] = field(default_factory=set)  # SOP Instance UIDs
    patient_id: str | None = None  # of the images that are here; None: not known, and not compared
    reports: dict[str, bytes] = field(default_factory=dict)  # SOP Instance UID -> Part 10 file of an earlier report
    left_out: dict[str, NotFetched] = field(default_factory=dict)  # of those that did not come; see ``leave_out``
    too_much: bool = False  # more bytes than ``max_bytes``, or more that was not asked for than ``max_instances``
    _bytes: int = 0
    _strangers: int = 0
    _asked: dict[str, tuple[str, str]] = field(default_factory=dict)  # SOP Instance UID -> UIDs of study and series
    _reports: set[str] = field(default_factory=set)  # SOP Instance UIDs of those that are expected

    def expect(self, request: Request, study_instance_uid: str) -> None:
        """Take the instances of a request from now on."""
        where = study_instance_uid, request.series_instance_uid
        self._asked.update(dict.fromkeys(request.sop_instance_uids, where))

    def expect_report(self, request: Request) -> None:
        """Keep what comes of a request as earlier reports; they are not the study's."""
        self._reports |= request.sop_instance_uids

    def leave_out(self, uid: str, study_instance_uid: str, reason: str) -> None:
        """Note why an earlier report does not come; ``uid``: its SOP Instance UID, or the study's where that is not known."""
        self.left_out[uid] = NotFetched(study_instance_uid, reason)

    def take(self, command: StoreCommand, data: Iterable[bytes]) -> int:
        """Take an instance whose data set comes in pieces, to the last of them, and return the status.

        What the pieces raise gives up the instance, and is raised.
        """
        pieces = self._counted(data)
        status = self._take(command, pieces)
        for _ in pieces:  # of what was not asked for
            pass
        return StoreStatus.OUT_OF_RESOURCES if self.too_much else status

    def check_whole(self, requests: Sequence[Request]) -> None:
        """Raise SourceError where not all of what was requested is here."""
        came = self.taken | self.reports.keys()
        if not all(request.sop_instance_uids <= came for request in requests):
            raise SourceError("INCOMPLETE")

    def close(self, *, whole: bool) -> None:
        """Note how it ended, like the end of any association that brought instances."""
        if self.taken:
            (self.reception.released if whole else self.reception.lost)(self.association_id)

    @property
    def _accepted(self) -> Accepted:
        """Who sent it: the AE title and host of the source, or its name and the host of its address."""
        title = self.source.ae_title.strip() or self.source.name[:16]
        host = self.source.host or urlsplit(self.source.url or "").hostname or ""
        return Accepted(self.association_id, AssociationRequest(title, self.ae_title.strip(), host[:64]))

    def _counted(self, data: Iterable[bytes]) -> Iterator[bytes]:
        for piece in data:
            self._bytes += len(piece)
            self.too_much = self.too_much or self._bytes > self.source.max_bytes
            if self.too_much:
                return
            yield piece

    def _take(self, command: StoreCommand, pieces: Iterator[bytes]) -> int:
        uid = command.sop_instance_uid
        is_known = command.sop_class_uid in TAKEN_CLASSES and command.transfer_syntax_uid in TRANSFER_SYNTAXES
        if uid not in self._asked or not is_known:
            return self._not_asked_for()
        if uid in self._reports:
            return self._keep_report(command, pieces)
        return self._store(command, pieces)

    def _store(self, command: StoreCommand, pieces: Iterator[bytes]) -> int:
        incoming = self.reception.begin(self._accepted, command)
        seen, held = _Facts(command), b""
        try:
            for piece in pieces:
                seen.feed(piece)
                if held:
                    incoming.write(memoryview(held))
                held = piece
        except SourceError:
            incoming.discard()
            raise
        if self.too_much or not self._belongs(command, seen.finish()):
            incoming.discard()
            return StoreStatus.OUT_OF_RESOURCES if self.too_much else self._not_asked_for()
        answer = incoming.finish(memoryview(held))
        if answer is STORED:
            self.taken.add(command.sop_instance_uid)
        return answer.status

    def _keep_report(self, command: StoreCommand, pieces: Iterator[bytes]) -> int:
        uid = command.sop_instance_uid
        report, seen = bytearray(file_head(command.sop_class_uid, uid, command.transfer_syntax_uid)), _Facts(command)
        for piece in pieces:
            if len(report) + len(piece) > MAX_REPORT_BYTES:
                return StoreStatus.OUT_OF_RESOURCES
            seen.feed(piece)
            report += piece
        if not self._belongs(command, seen.finish()):
            return self._not_asked_for()
        self.reports[uid] = bytes(report)
        return STORED.status

    def _belongs(self, command: StoreCommand, facts: InstanceFacts | None) -> bool:
        """Whether it is of the study and series of which it was asked for, and of the patient whose images are here.

        What cannot be read is answered by Reception, and of a report where findings are made.
        """
        if facts is None:
            return True
        where = self._asked[command.sop_instance_uid]
        same_patient = self.patient_id is None or facts.patient_id == self.patient_id
        return same_patient and (facts.study_instance_uid, facts.series_instance_uid) == where

    def _not_asked_for(self) -> int:
        self._strangers += 1
        self.too_much = self.too_much or self._strangers > self.source.max_instances
        get_logger().warning("instance_not_asked_for", association=self.association_id, source=self.source.name)
        return NOT_ASKED_FOR


class _Facts:
    """The facts of a data set that comes in pieces; None where it cannot be read."""

    def __init__(self, command: StoreCommand) -> None:
        self._reader: FactsReader | None = FactsReader(command)

    def feed(self, piece: bytes) -> None:
        if self._reader is not None:
            try:
                self._reader.feed(memoryview(piece))
            except InstanceRefusedError:
                self._reader = None

    def finish(self) -> InstanceFacts | None:
        try:
            return self._reader.finish() if self._reader is not None else None
        except InstanceRefusedError:
            return None
