"""A listener on 127.0.0.1 with a free port, and senders to talk to it."""

from __future__ import annotations

import io
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from pydicom import Dataset
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import Verification

from egfr_dls import settings as configuration
from egfr_dls.ledger import instances, studies
from egfr_dls.settings import Settings
from egfr_dls.spool import SpooledRecord
from egfr_dls.store import Store, open_store
from egfr_dls.study import ReceivedInstance, StudyState
from listener import stage
from listener.bell import Bell
from listener.indexing.intake import data_set_offset
from tests.builders import to_part10
from tests.listener.wire import Peer, request

LIMIT_SECONDS = 20.0
PEERS = [{"ae_title": "SCANNER", "host": "127.0.0.1"}, {"ae_title": "PACS", "host": "127.0.0.0/8"}]


def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait until a condition holds, with a limit."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError(f"not within {LIMIT_SECONDS} s: {what}")


def node_settings(root: Path, **sections: dict[str, Any]) -> Settings:
    """Return the settings of a test node: free port, two peers, no disk floor, no quiet time."""
    base: dict[str, dict[str, Any]] = {
        "storage": {"root": root, "min_free_bytes": 0},
        "listener": {"port": 0, "peers": PEERS, "drain_seconds": 2},
        "study": {"quiet_seconds": 0},
    }
    return configuration.load(
        None, {name: {**base.get(name, {}), **sections.get(name, {})} for name in base | sections}
    )


@dataclass
class Node:
    """A running listener."""

    settings: Settings
    store: Store
    port: int
    events: list[dict[str, Any]]
    stop: threading.Event = field(default_factory=threading.Event)

    def associate(
        self, datasets: Iterable[Dataset] = (), calling: str = "SCANNER", called: str = "EGFR_DLS", **how: Any
    ) -> Association:
        """Open an association that proposes what the datasets need, and Verification."""
        ae = AE(calling)
        ae.add_requested_context(Verification)
        for sop_class, syntax in sorted({(d.SOPClassUID, d.file_meta.TransferSyntaxUID) for d in datasets}):
            ae.add_requested_context(sop_class, syntax)
        return ae.associate("127.0.0.1", self.port, ae_title=called, **how)

    def rejected(
        self, calling: str = "SCANNER", called: str = "EGFR_DLS", tls: ssl.SSLContext | None = None
    ) -> tuple[int, int, int]:
        """Ask for an association, and return Result, Source and Reason/Diag. of the A-ASSOCIATE-RJ.

        In bytes: pynetdicom as caller can lose a rejection that comes at once.
        """
        with Peer(self.port, tls) as peer:
            peer.send(request(calling=calling, called=called))
            kind, (_, result, source, reason) = peer.answer()
            assert kind == 3
            return result, source, reason

    def send(self, datasets: list[Dataset], calling: str = "SCANNER") -> list[int]:
        """Send in one association, release it, and return the statuses."""
        assoc = self.associate(datasets, calling)
        assert assoc.is_established
        statuses = [assoc.send_c_store(ds).Status for ds in datasets]
        assoc.release()
        return statuses

    def spooled(self) -> list[str]:
        """Return the SOP Instance UID of every instance in the spool, in their order in its segments."""
        return [r.entry.sop_instance_uid for r in self.records() if isinstance(r.entry, ReceivedInstance)]

    def records(self) -> list[SpooledRecord]:
        """Return every record in the spool."""
        return list(self.store.spool.records("listener-test", {}, everything=True))

    def indexed(self) -> list[str]:
        """Return the SOP Instance UIDs that the ledger knows."""
        with self.store.ledger.read() as tx:
            return instances.all_sop_instance_uids(tx)

    def state(self, study_instance_uid: str) -> StudyState | None:
        """Return where a study stands, None if the ledger does not know it."""
        with self.store.ledger.read() as tx:
            rows = {row.study_instance_uid: StudyState(row.state) for row in studies.listed(tx)}
        return rows.get(study_instance_uid)

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Return the events of this name so far."""
        return [entry for entry in self.events if entry["event"] == event]


class Threads:
    """A crew of threads, so that a test sees their events and may replace what they call."""

    def __init__(self) -> None:
        self._members: list[threading.Thread] = []

    def start(self, name: str, work: Callable[[], None], hears: Sequence[Bell]) -> None:  # of processes
        member = threading.Thread(target=work, name=name)
        member.start()
        self._members.append(member)

    def check(self) -> None:
        assert all(member.is_alive() for member in self._members)

    def join(self, name: str) -> None:
        for member in [m for m in self._members if m.name == name]:
            member.join()
            self._members.remove(member)


@contextmanager
def running(settings: Settings) -> Iterator[Node]:
    """Run ``listener.stage.main`` in a thread, its indexer in another."""
    failures: list[BaseException] = []
    stop = threading.Event()

    def work() -> None:
        try:
            stage.main(settings, "listener-test", stop, Threads())
        except BaseException as error:  # noqa: BLE001  # handed to the test
            failures.append(error)

    with structlog.testing.capture_logs() as events, open_store(settings) as store:
        thread = threading.Thread(target=work)
        thread.start()
        try:
            listening = until(lambda: failures or [e for e in events if e["event"] == "listening"], "listening")
            if failures:
                raise failures[0]
            yield Node(settings, store, listening[0]["port"], events, stop)
        finally:
            stop.set()
            thread.join(LIMIT_SECONDS)
            assert not thread.is_alive()
        if failures:
            raise failures[0]


def paused(assoc: Association) -> None:
    """Wait until pynetdicom's reactor of a sender really waits.

    pynetdicom believes so a moment too early; an answer that comes at once is then taken from whoever sent the request.
    """
    assoc._reactor_checkpoint.clear()
    waiters: Any = assoc._reactor_checkpoint._cond  # type: ignore[attr-defined]
    until(lambda: waiters._waiters or not assoc.is_alive(), "sender paused")


def raw_data_set(ds: Dataset) -> bytes:
    """Return the encoded data set without file meta, as it goes over the wire."""
    body = to_part10(ds)
    return body[data_set_offset(body) :]


def store_raw(assoc: Association, ds: Dataset, raw: bytes) -> int:
    """Send bytes as they are under the UIDs of ``ds`` and return the status; what no honest sender does."""
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    request.DataSet = io.BytesIO(raw)
    (context,) = [c for c in assoc.accepted_contexts if c.abstract_syntax == ds.SOPClassUID]
    paused(assoc)
    assoc.dimse.send_msg(request, context.context_id)
    _, response = assoc.dimse.get_msg(block=True)
    assoc._reactor_checkpoint.set()
    return response.Status
