"""A requester of storage commitment: what it asks, and the AE that hears the report."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Queue
from typing import Any

from pydicom import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dsutils import encode
from pynetdicom.events import Event

from listener.commitment.request import TRANSFER_SYNTAXES
from listener.commitment.status import PUSH_MODEL_CLASS, PUSH_MODEL_INSTANCE
from tests.listener.nodes import until

TRANSACTION = "1.2.826.0.1.3680043.10.7.1"
LIMIT_SECONDS = 30.0
EXPLICIT, IMPLICIT = str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian)


def request(
    instances: Iterable[str | tuple[str, str]], transaction_uid: str = TRANSACTION, **attributes: Any
) -> Dataset:
    """Return the data set that asks for these instances: a SOP Instance UID of a CT, or (class, instance)."""
    ds = Dataset()
    ds.TransactionUID = transaction_uid
    ds.ReferencedSOPSequence = [item(one) for one in instances]
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def item(instance: str | tuple[str, str]) -> Dataset:
    """Return an item of the Referenced SOP Sequence."""
    ds = Dataset()
    ds.ReferencedSOPClassUID, ds.ReferencedSOPInstanceUID = (
        (CTImageStorage, instance) if isinstance(instance, str) else instance
    )
    return ds


def as_bytes(ds: Dataset, transfer_syntax_uid: str = EXPLICIT) -> bytes:
    """Return the data set as it goes over the wire."""
    data = encode(ds, is_implicit_vr=transfer_syntax_uid == IMPLICIT, is_little_endian=True)
    assert data is not None
    return data


@dataclass(frozen=True)
class Heard:
    """A report as it arrived."""

    event_type: int
    transaction_uid: str
    committed: list[str]
    failed: dict[str, int]
    transfer_syntax_uid: str
    called_ae_title: str
    calling_ae_title: str


@dataclass
class Requester:
    """An AE that takes reports; ``answers`` are the statuses of the next ones, then success."""

    ae_title: str
    port: int
    heard: Queue[Heard] = field(default_factory=Queue)
    answers: list[int] = field(default_factory=list)

    def next(self) -> Heard:
        """Return the next report, once it is there."""
        return self.heard.get(timeout=LIMIT_SECONDS)

    def on_report(self, event: Event) -> tuple[int, None]:
        """Take an N-EVENT-REPORT, on whichever association."""
        assert event.request.AffectedSOPClassUID == PUSH_MODEL_CLASS
        assert event.request.AffectedSOPInstanceUID == PUSH_MODEL_INSTANCE
        ds = event.event_information
        self.heard.put(
            Heard(
                int(event.event_type),
                str(ds.TransactionUID),
                [str(i.ReferencedSOPInstanceUID) for i in ds.get("ReferencedSOPSequence", [])],
                {str(i.ReferencedSOPInstanceUID): int(i.FailureReason) for i in ds.get("FailedSOPSequence", [])},
                str(event.context.transfer_syntax),
                str(event.assoc.requestor.primitive.called_ae_title).strip(),
                str(event.assoc.requestor.primitive.calling_ae_title).strip(),
            )
        )
        return (self.answers.pop(0) if self.answers else 0x0000), None


@contextmanager
def listening(
    requester: Requester,
    syntaxes: Iterable[str] = TRANSFER_SYNTAXES,
    *,
    takes_roles: bool = True,
    tls: ssl.SSLContext | None = None,
) -> Iterator[None]:
    """Take associations at the requester's port until the block ends."""
    ae = AE(requester.ae_title)
    roles = {"scu_role": True, "scp_role": True} if takes_roles else {}
    ae.add_supported_context(PUSH_MODEL_CLASS, list(syntaxes), **roles)
    server = ae.start_server(
        ("127.0.0.1", requester.port),
        block=False,
        evt_handlers=[(evt.EVT_N_EVENT_REPORT, requester.on_report)],
        ssl_context=tls,
    )
    try:
        yield
    finally:
        server.shutdown()


def ready(assoc: Association) -> Association:
    """Return an association whose reader has gone on since the last request.

    pynetdicom's requests look at its reader's word that it is paused, which may be of the last time: then the reader swallows
    the next answer, on a busy machine once in some hundred requests.
    """
    until(lambda: not assoc._is_paused, "the reader has gone on")
    return assoc


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
