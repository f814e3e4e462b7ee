"""A PACS that keeps every byte it is sent and answers as a test tells it to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

from pydicom import Dataset, dcmread
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification

from tests.system.service import PACS, free_port

SR_CLASS = "1.2.840.10008.5.1.4.1.1.88.34"
SUCCESS = 0x0000
ABORT = -1  # an answer: A-ABORT instead of a C-STORE-RSP


@dataclass(frozen=True)
class StoreRequest:
    """One C-STORE-RQ as it arrived, at ``at`` (UTC seconds); ``data`` is the encoded data set, ``part10`` the same as a file."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    calling_ae_title: str
    at: float
    data: bytes
    part10: bytes
    status: int

    @property
    def dataset(self) -> Dataset:
        """The object."""
        return dcmread(BytesIO(self.part10))


class ScriptedPacs:
    """A storage SCP on loopback.

    ``answer`` gives the status of each request and may block; ``requests`` holds them in order of arrival, with the status
    that they got. ``rejects`` makes it reject every association as one of an unknown calling AE title.
    """

    def __init__(self, sop_classes: Sequence[str] | None = None) -> None:
        self.port = free_port()
        self.requests: list[StoreRequest] = []
        self.associations = 0
        self.answer: Callable[[StoreRequest], int] = lambda _request: SUCCESS
        self.rejects = False
        self._lock = threading.Lock()
        self._sop_classes = sop_classes
        self._ae: AE | None = None

    def start(self) -> None:
        """Listen; after ``stop`` on the same port again."""
        ae = AE(PACS)
        if self._sop_classes is None:
            ae.supported_contexts = AllStoragePresentationContexts
        for sop_class in self._sop_classes or ():
            ae.add_supported_context(sop_class)
        ae.add_supported_context(Verification)
        ae.require_calling_aet = ["NOBODY"] if self.rejects else []
        ae.start_server(
            ("127.0.0.1", self.port),
            block=False,
            evt_handlers=[(evt.EVT_C_STORE, self._on_store), (evt.EVT_ESTABLISHED, self._on_association)],
        )
        self._ae = ae

    def stop(self) -> None:
        """Abort what is open and close the socket."""
        if self._ae is not None:
            self._ae.shutdown()
            self._ae = None

    def of_study(self, study_instance_uid: str, *, stored: bool = True) -> list[StoreRequest]:
        """Return a study's requests: those answered with success, or all."""
        with self._lock:
            found = [r for r in self.requests if r.study_instance_uid == study_instance_uid]
        return [r for r in found if r.status == SUCCESS] if stored else found

    def reports(self, study_instance_uid: str, *, stored: bool = True) -> list[StoreRequest]:
        """Return a study's structured reports."""
        return [r for r in self.of_study(study_instance_uid, stored=stored) if r.sop_class_uid == SR_CLASS]

    def _on_association(self, _event: evt.Event) -> None:
        self.associations += 1

    def _on_store(self, event: evt.Event) -> int:
        ds = event.dataset
        request = StoreRequest(
            str(event.request.AffectedSOPClassUID),
            str(event.request.AffectedSOPInstanceUID),
            str(ds.StudyInstanceUID),
            str(event.assoc.requestor.ae_title).strip(),
            time.time(),
            event.request.DataSet.getvalue(),
            event.encoded_dataset(),
            SUCCESS,
        )
        status = self.answer(request)
        with self._lock:
            self.requests.append(StoreRequest(**{**vars(request), "status": status}))
        if status == ABORT:
            event.assoc.abort(block=False)
            return 0xC000
        return status


@contextmanager
def running_pacs(sop_classes: Sequence[str] | None = None) -> Iterator[ScriptedPacs]:
    """Run a PACS until the block ends."""
    pacs = ScriptedPacs(sop_classes)
    pacs.start()
    try:
        yield pacs
    finally:
        pacs.stop()


def answers(*statuses: int, then: int = SUCCESS) -> Callable[[StoreRequest], int]:
    """Return a script: these statuses for the first requests, one each, then always ``then``."""
    left = list(statuses)
    return lambda _request: left.pop(0) if left else then
