"""A store with kept objects that are due, a sender with a clock of its own, and a PACS on loopback that answers by a script."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.acse import ACSE
from pynetdicom.sop_class import (
    ComprehensiveSRStorage,
    EncapsulatedPDFStorage,
    KeyObjectSelectionDocumentStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SegmentationStorage,
    Verification,
)

from egfr_dls import settings
from egfr_dls.job_loop import Clock
from egfr_dls.ledger import deliveries, destinations, results, studies
from egfr_dls.ledger.results import BuiltObject
from egfr_dls.settings import Settings
from egfr_dls.settings_sections import Destination
from egfr_dls.store import Store, open_store
from egfr_dls.study import StudyState
from listener.indexing.intake import data_set_offset
from reporting.delivery import transport
from reporting.prove import Prover
from reporting.register import Register
from reporting.send import Sender
from tests.builders import base_dataset, to_part10

CLASSES = {
    "roi": SegmentationStorage,
    "pages": MultiFrameTrueColorSecondaryCaptureImageStorage,
    "report": ComprehensiveSRStorage,
    "pdf": EncapsulatedPDFStorage,
    "rejection": KeyObjectSelectionDocumentStorage,
}
START = 1_700_000_000.0  # UTC seconds
ABORT = -1  # an answer: A-ABORT instead of a C-STORE-RSP


@dataclass
class ScriptedPacs:
    """A storage SCP; ``answers`` by SOP Instance UID are given one after the other, then success."""

    port: int = 0
    answers: dict[str, list[int]] = field(default_factory=dict)
    received: list[tuple[str, bytes]] = field(default_factory=list)
    associations: int = 0
    stores: threading.Semaphore | None = None  # where given, each answer waits for it

    def uids(self) -> list[str]:
        """Return what was stored with success or a warning, in order."""
        return [uid for uid, _ in self.received]

    def on_store(self, event: evt.Event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        if self.stores is not None:
            self.stores.acquire(timeout=20)
        script = self.answers.get(uid, [])
        status = script.pop(0) if script else 0x0000
        if status == ABORT:
            event.assoc.abort()
            return 0x0000
        if status in (0x0000, 0x0111) or status & 0xF000 == 0xB000:
            self.received.append((uid, event.request.DataSet.getvalue()))
        return status


@contextmanager
def scripted_pacs(
    pacs: ScriptedPacs | None = None,
    *,
    classes: tuple[str, ...] = tuple(CLASSES),
    syntaxes: tuple[str, ...] = (ExplicitVRLittleEndian, ImplicitVRLittleEndian),
    **ae_settings: Any,
) -> Iterator[ScriptedPacs]:
    """Run a PACS that takes these kinds of object in these transfer syntaxes."""
    pacs = pacs or ScriptedPacs()
    ae = AE("PACS")
    for name, value in ae_settings.items():
        setattr(ae, name, value)
    ae.add_supported_context(Verification)
    for kind in classes:
        ae.add_supported_context(CLASSES[kind], list(syntaxes))

    def count(_event: evt.Event) -> None:
        pacs.associations += 1

    handlers = [(evt.EVT_C_STORE, pacs.on_store), (evt.EVT_ESTABLISHED, count)]
    server = ae.start_server(("127.0.0.1", pacs.port), block=False, evt_handlers=handlers)
    pacs.port = server.server_address[1]
    try:
        yield pacs
    finally:
        server.shutdown()


def sender(settings: Settings, store: Store, destination: Destination, worker: str, clock: Clock) -> Sender:
    """Return what sends to a destination."""
    register = Register(settings, store, destination, worker, clock)
    return Sender(register, transport(register))


def prover(settings: Settings, store: Store, destination: Destination, worker: str, clock: Clock) -> Prover:
    """Return what proves at a destination."""
    register = Register(settings, store, destination, worker, clock)
    return Prover(register, transport(register))


@dataclass
class Desk:
    """One destination's sender over a store, with a clock that a test moves."""

    settings: Settings
    store: Store
    now: float = START

    def sender(self, destination: str = "pacs", worker: str = "reporter-1") -> Sender:
        """Return a new process's sender."""
        (chosen,) = [d for d in self.settings.destinations if d.name == destination]
        return sender(self.settings, self.store, chosen, worker, lambda: self.now)

    def send(self, sender: Sender | None = None) -> int:
        """Send what is due now."""
        return (sender or self.sender()).send_due(threading.Event())

    def prove(self) -> int:
        """Prove what is due now."""
        (destination,) = self.settings.destinations
        with self.store.ledger.changes() as changes:
            one = prover(self.settings, self.store, destination, "reporter-1", lambda: self.now)
            return one.prove_due(threading.Event(), changes)

    def keep(self, number: int = 1, kinds: tuple[str, ...] = ("roi", "pages", "report"), parked: str = "") -> list[str]:
        """Keep the objects of study ``number``, queue them for every destination, and return their UIDs."""
        study, built = study_uid(number), []
        for kind in kinds:
            data = to_part10(object_dataset(number, kind))
            uid = object_uid(number, kind)
            built.append(
                BuiltObject(
                    uid,
                    f"{study}.9",
                    str(CLASSES[kind]),
                    ExplicitVRLittleEndian,
                    kind,
                    self.store.objects.put(data),
                    START,
                )
            )
        with self.store.ledger.begin() as tx:
            studies.ensure(tx, study, self.store.site_key, START)
            studies.move(tx, study, StudyState.COMPLETE, START)
            studies.move(tx, study, StudyState.SCORED, START)
            findings = results.add_findings(tx, study, "pet_ct_egfr", f"dedup-{number}", "{}", "none", START)
            assert findings is not None
            results.add_objects(tx, findings, study, built)
            for destination in self.settings.destinations:
                deliveries.queue(tx, [b.sop_instance_uid for b in built], destination.name, START, parked_reason=parked)
        return [b.sop_instance_uid for b in built]

    def rows(self, number: int = 1, destination: str = "pacs") -> dict[str, Any]:
        """Return the delivery rows of a study by kind."""
        with self.store.ledger.read() as tx:
            found = deliveries.of_study(tx, study_uid(number))
        return {row.kind: row for row in found if row.destination == destination}

    def states(self, number: int = 1, destination: str = "pacs") -> dict[str, str]:
        """Return where each kind of a study's objects stands."""
        return {kind: row.state for kind, row in self.rows(number, destination).items()}

    def study_state(self, number: int = 1) -> StudyState:
        """Return where a study stands."""
        with self.store.ledger.read() as tx:
            return studies.state(tx, study_uid(number))

    def parked(self, destination: str = "pacs") -> str | None:
        """Return why a destination is parked; None: held by another sender."""
        with self.store.ledger.begin() as tx:
            return destinations.claim(tx, destination, "reporter-1", self.now, 1.0)


def study_uid(number: int) -> str:
    """Return a study's UID."""
    return f"1.2.826.0.1.3680043.10.7.{number}"


def object_uid(number: int, kind: str) -> str:
    """Return the UID of a study's object."""
    return f"{study_uid(number)}.{list(CLASSES).index(kind) + 1}"


def object_dataset(number: int, kind: str, size: int = 256) -> Dataset:
    """Return something of the right class; nobody on the way looks inside."""
    ds = base_dataset(CLASSES[kind], "OT", f"{study_uid(number)}.9", object_uid(number, kind))
    ds.StudyInstanceUID = study_uid(number)
    ds.TextValue = hashlib.sha256(kind.encode()).hexdigest() * (size // 64)
    return ds


def kept_data_set(desk: Desk, number: int, kind: str) -> bytes:
    """Return the data set of a kept object: its bytes without preamble and file meta."""
    data = to_part10(object_dataset(number, kind))
    kept = desk.store.objects.get(hashlib.sha256(data).hexdigest())
    return kept[data_set_offset(kept) :]


@contextmanager
def desk(
    root: Path, *ports: int, host: str = "127.0.0.1", names: tuple[str, ...] = ("pacs", "second"), **keys: Any
) -> Iterator[Desk]:
    """Open a store with one destination a port; ``keys`` are further ones of each."""
    destinations = [
        Destination(name=name, ae_title="PACS", host=host, port=port, retry_seconds=30, **keys)
        for name, port in zip(names, ports, strict=False)
    ]
    loaded = settings.load(
        None, {"storage": {"root": root, "min_free_bytes": 0}, "destinations": [d.model_dump() for d in destinations]}
    )
    with open_store(loaded) as store:
        yield Desk(loaded, store)


def pass_time(work: Desk, sender: Sender, rounds: int, seconds: float = 4000) -> None:
    """Let the sender try again after each wait."""
    for _ in range(rounds):
        work.send(sender)
        work.now += seconds


def reject(monkeypatch: pytest.MonkeyPatch, result: int, source: int, reason: int) -> None:
    """Make the PACS reject every association with this triple (PS3.8 table 9-21)."""

    def negotiate(acse: ACSE) -> None:
        acse.send_reject(result, source, reason)
        acse.assoc.kill()

    monkeypatch.setattr(ACSE, "_negotiate_as_acceptor", negotiate)
