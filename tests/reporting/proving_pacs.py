"""A PACS on loopback that keeps what it is sent, commits to it and is queried, all by a script."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # pynetdicom makes its SOP classes at run time
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from tests.reporting.deliveries import CLASSES

SYNTAXES = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"]


@dataclass
class ProvingPacs:
    """What it does, and what it was asked.

    Parameters
    ----------
    action_status
        of each N-ACTION-RSP
    reports
        whether an N-EVENT-REPORT follows on the association that asked
    failures
        SOP Instance UID -> Failure Reason (0008,1197) of the report
    lost
        SOP Instance UIDs that no query finds
    find_status
        of the last C-FIND-RSP
    """

    port: int = 0
    action_status: int = 0x0000
    reports: bool = True
    failures: dict[str, int] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    find_status: int = 0x0000
    stored: dict[str, tuple[str, str]] = field(default_factory=dict)  # SOP Instance UID -> study, series
    asked: list[list[str]] = field(default_factory=list)  # SOP Instance UIDs of each N-ACTION
    queried: list[str] = field(default_factory=list)
    heard: list[int] = field(default_factory=list)  # statuses of the answers to our reports
    _answered: threading.Event = field(default_factory=threading.Event)

    def on_store(self, event: evt.Event) -> int:
        ds = event.dataset
        self.stored[str(ds.SOPInstanceUID)] = (str(ds.StudyInstanceUID), str(ds.SeriesInstanceUID))
        return 0x0000

    def on_action(self, event: evt.Event) -> tuple[int, None]:
        self._answered.clear()
        information: Dataset = event.action_information
        uids = [str(item.ReferencedSOPInstanceUID) for item in information.ReferencedSOPSequence]
        self.asked.append(uids)
        if self.reports and self.action_status == 0x0000:
            threading.Thread(target=self._report, args=(event.assoc, information)).start()
        return self.action_status, None

    def on_sent(self, event: evt.Event) -> None:
        if type(event.message).__name__ == "N_ACTION_RSP":
            self._answered.set()

    def _report(self, assoc: Any, information: Dataset) -> None:
        self._answered.wait(10)
        failed = [i for i in information.ReferencedSOPSequence if str(i.ReferencedSOPInstanceUID) in self.failures]
        report = Dataset()
        report.TransactionUID = information.TransactionUID
        report.ReferencedSOPSequence = [i for i in information.ReferencedSOPSequence if i not in failed]
        for item in failed:
            item.FailureReason = self.failures[str(item.ReferencedSOPInstanceUID)]
        if failed:
            report.FailedSOPSequence = failed
        answer, _ = assoc.send_n_event_report(
            report, 2 if failed else 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        self.heard.append(int(answer.Status) if "Status" in answer else -1)

    def on_find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        uid = str(event.identifier.SOPInstanceUID)
        self.queried.append(uid)
        if uid in self.stored and uid not in self.lost:
            match = Dataset()
            match.QueryRetrieveLevel, match.SOPInstanceUID = "IMAGE", uid
            match.StudyInstanceUID, match.SeriesInstanceUID = self.stored[uid]
            yield 0xFF00, match
        if self.find_status:
            yield self.find_status, None


@contextmanager
def proving_pacs(*, commits: bool = True, finds: bool = True) -> Iterator[ProvingPacs]:
    """Run it; with or without storage commitment and the query."""
    pacs, ae = ProvingPacs(), AE("PACS")
    offered = {StorageCommitmentPushModel: commits, StudyRootQueryRetrieveInformationModelFind: finds}
    for sop_class in (Verification, *CLASSES.values(), *(proof for proof, there in offered.items() if there)):
        ae.add_supported_context(sop_class, SYNTAXES)
    handlers: list[Any] = [
        (evt.EVT_C_STORE, pacs.on_store),
        (evt.EVT_N_ACTION, pacs.on_action),
        (evt.EVT_DIMSE_SENT, pacs.on_sent),
        (evt.EVT_C_FIND, pacs.on_find),
    ]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    pacs.port = server.server_address[1]
    try:
        yield pacs
    finally:
        server.shutdown()
