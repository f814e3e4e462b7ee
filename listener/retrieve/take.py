"""C-GET, or C-MOVE to ourselves: what was asked for comes in on the same association, or by the listener's port.

Both at SERIES or IMAGE level of the Study Root model (PS3.4 C.4.2, C.4.3).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from pydicom import Dataset
from pynetdicom.events import Event

from egfr_dls.dimse_status import StoreStatus
from egfr_dls.settings import Source
from egfr_dls.telemetry import get_logger
from listener.admission import Accepted, AssociationRequest
from listener.retrieve.plan import Request
from listener.retrieve.source import GET, MOVE, PENDING, SUCCESS, Dialogue, SourceError
from listener.status import SUCCESS as STORED
from listener.status import Answer, InstanceRefusedError
from listener.storage.facts import FactsReader, InstanceFacts, StoreCommand
from listener.storage.part10 import file_head
from listener.storage.reception import Reception

UIDS_AT_ONCE = 100  # of a list in one identifier
NOT_ASKED_FOR = StoreStatus.DATA_SET_DOES_NOT_MATCH_SOP_CLASS  # A900H (PS3.4 table B.2-1)


@dataclass
class Inbox:
    """Takes what C-GET brings, and nothing that was not asked for, by way of ``Reception`` into the spool."""

    reception: Reception
    source: Source
    ae_title: str
    study_instance_uid: str
    association_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    taken: set[str] = field(default_factory=set)  # SOP Instance UIDs
    reports: dict[str, bytes] = field(default_factory=dict)  # SOP Instance UID -> Part 10 file of an earlier report
    too_much: bool = False
    _bytes: int = 0
    _asked: dict[str, tuple[str, str]] = field(default_factory=dict)  # SOP Instance UID -> UIDs of study and series
    _reports: set[str] = field(default_factory=set)  # SOP Instance UIDs of those that are expected

    def expect(self, request: Request, study_instance_uid: str) -> None:
        """Take the instances of a request from now on."""
        where = study_instance_uid, request.series_instance_uid
        self._asked.update(dict.fromkeys(request.sop_instance_uids, where))

    def expect_report(self, request: Request) -> None:
        """Keep what comes of a request as earlier reports; they are not the study's."""
        self._reports |= request.sop_instance_uids

    def on_store(self, event: Event) -> int:
        """Answer a C-STORE sub-operation (PS3.4 C.4.3.2)."""
        request: Any = event.request
        context = event.context
        command = StoreCommand(
            str(request.AffectedSOPClassUID),
            str(request.AffectedSOPInstanceUID),
            str(context.abstract_syntax),
            str(context.transfer_syntax),
        )
        data = request.DataSet.getvalue() if request.DataSet else b""
        self._bytes += len(data)
        self.too_much = self.too_much or self._bytes > self.source.max_bytes
        if self.too_much:
            return StoreStatus.OUT_OF_RESOURCES
        if not self._was_asked_for(command, data):
            get_logger().warning("instance_not_asked_for", association=self.association_id, source=self.source.name)
            return NOT_ASKED_FOR
        answer = self._keep(command, data)
        return answer.status

    def close(self, *, whole: bool) -> None:
        """Note how it ended, like the end of any association that brought instances."""
        if self.taken:
            (self.reception.released if whole else self.reception.lost)(self.association_id)

    @property
    def _accepted(self) -> Accepted:
        request = AssociationRequest(self.source.ae_title.strip(), self.ae_title.strip(), self.source.host[:64])
        return Accepted(self.association_id, request)

    def _keep(self, command: StoreCommand, data: bytes) -> Answer:
        uid = command.sop_instance_uid
        if uid in self._reports:
            self.reports[uid] = file_head(command.sop_class_uid, uid, command.transfer_syntax_uid) + data
            return STORED
        answer = self.reception.store(self._accepted, command, data)
        if answer is STORED:
            self.taken.add(uid)
        return answer

    def _was_asked_for(self, command: StoreCommand, data: bytes) -> bool:
        where = self._asked.get(command.sop_instance_uid)
        if where is None:
            return False
        facts = _facts(command, data)  # what cannot be read is answered by Reception
        return facts is None or (facts.study_instance_uid, facts.series_instance_uid) == where


def _facts(command: StoreCommand, data: bytes) -> InstanceFacts | None:
    try:
        reader = FactsReader(command)
        reader.feed(memoryview(data))
        return reader.finish()
    except InstanceRefusedError:
        return None


def fetch(source: Dialogue, requests: Sequence[Request], inbox: Inbox, study_instance_uid: str) -> None:
    """Have a source send what is requested of a study; returns when it says that it has.

    Raises
    ------
    SourceError
        it offers no way, does not give all, or goes over a limit
    """
    model = next((m for m in (GET, MOVE) if source.accepts(m)), None)
    if model is None:
        raise SourceError("RETRIEVE_NOT_OFFERED")
    incomplete: SourceError | None = None
    for request in requests:
        inbox.expect(request, study_instance_uid)
        for keys in _identifiers(study_instance_uid, request):
            incomplete = _retrieve(source, model, keys, inbox) or incomplete
    if incomplete is not None:
        raise incomplete
    if model == GET and any(
        not request.sop_instance_uids <= inbox.taken | inbox.reports.keys() for request in requests
    ):
        raise SourceError("INCOMPLETE")


def _retrieve(source: Dialogue, model: str, keys: Dataset, inbox: Inbox) -> SourceError | None:
    """Send one request to its last response; return what is wrong with that, if anything."""
    final = SUCCESS
    for status, _identifier in source.answers(lambda: _send(source, model, keys, inbox)):
        if inbox.too_much:
            source.abort(too_much := SourceError("SIZE_LIMIT", again=False))
            raise too_much
        final = status.Status if status.Status not in PENDING else final
    return None if final == SUCCESS else SourceError(f"RETRIEVE_STATUS_{final:04X}")


def _send(source: Dialogue, model: str, keys: Dataset, inbox: Inbox) -> Iterator[tuple[Dataset, Dataset | None]]:
    if model == GET:
        return source.assoc.send_c_get(keys, GET)
    return source.assoc.send_c_move(keys, inbox.ae_title, MOVE)


def _identifiers(study_instance_uid: str, request: Request) -> Iterator[Dataset]:
    ds = Dataset()
    ds.StudyInstanceUID = study_instance_uid
    ds.SeriesInstanceUID = request.series_instance_uid
    ds.QueryRetrieveLevel = "SERIES" if request.whole else "IMAGE"
    if request.whole:
        yield ds
        return
    for uids in _portions(request.sop_instance_uids):
        ds.SOPInstanceUID = uids
        yield ds


def _portions(uids: Set[str]) -> Iterable[list[str]]:
    ordered = sorted(uids)
    return (ordered[i : i + UIDS_AT_ONCE] for i in range(0, len(ordered), UIDS_AT_ONCE))
