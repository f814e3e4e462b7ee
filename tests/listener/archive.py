"""A PACS with query and retrieve (PS3.4 Annex C): what it holds, and how it misbehaves."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom import Dataset
from pydicom.uid import AllTransferSyntaxes
from pynetdicom import AE, evt
from pynetdicom.events import Event

from listener.retrieve.association import FIND, GET, MOVE
from listener.retrieve.source import CLASSES, OWN_CLASSES
from tests.listener.requester import free_port

AE_TITLE = "ARCHIVE"
SUCCESS, PENDING = 0x0000, 0xFF00
ENTRIES = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}
RETURNED = ("PatientID", "StudyDate", "Modality", "SeriesInstanceUID", "SOPInstanceUID", "InstanceNumber")


@dataclass
class Archive:
    """Holds instances and answers; what it was asked stands in ``queries`` and ``retrievals``."""

    holds: list[Dataset]
    port: int = field(default_factory=free_port)
    models: tuple[str, ...] = (FIND, GET, MOVE)
    gives: list[Dataset] | None = None  # whatever is asked for; by default what it is asked for
    matches: int | None = None  # so many at IMAGE level, whatever it holds
    fails: int = 0  # of the next retrievals, which end with A702H
    ignores_keys: bool = False  # lists the series of every study
    move_to: int = 0  # port of the destination of C-MOVE
    queries: list[Dataset] = field(default_factory=list)
    retrievals: list[Dataset] = field(default_factory=list)

    def on_find(self, event: Event) -> Iterator[tuple[int, Dataset | None]]:
        """Answer a C-FIND at STUDY, SERIES or IMAGE level."""
        keys: Any = event.identifier
        self.queries.append(keys)
        image = keys.QueryRetrieveLevel == "IMAGE"
        if image and self.matches is not None:
            for number in range(self.matches):
                if event.is_cancelled:
                    return
                yield PENDING, _match(keys, keys.StudyInstanceUID, SOPInstanceUID=f"1.2.3.{number + 1}")
            return
        seen = set()
        for ds in self.holds if self.ignores_keys and keys.QueryRetrieveLevel == "SERIES" else self._of(keys):
            entry = ds.get(ENTRIES[keys.QueryRetrieveLevel])
            if entry not in seen:
                seen.add(entry)
                values = {k: ds.get(k) for k in RETURNED if k in keys}
                yield PENDING, _match(keys, ds.StudyInstanceUID, **values)

    def on_get(self, event: Event) -> Iterator[Any]:
        """Answer a C-GET."""
        yield from self._retrieved(event)

    def on_move(self, event: Event) -> Iterator[Any]:
        """Answer a C-MOVE, whoever is its destination."""
        assert event.move_destination == "EGFR_DLS"
        yield "127.0.0.1", self.move_to
        yield from self._retrieved(event)

    def _retrieved(self, event: Event) -> Iterator[Any]:
        keys: Any = event.identifier
        self.retrievals.append(keys)
        if self.fails:
            self.fails -= 1
            yield 1
            yield 0xA702, None
            return
        given = self._of(keys) if self.gives is None else self.gives
        yield len(given)
        for ds in given:
            yield PENDING, ds

    def _of(self, keys: Dataset) -> list[Dataset]:
        latest = str(keys.get("StudyDate", "")).removeprefix("-") or "99999999"
        return [
            ds
            for ds in self.holds
            if all(_fits(keys, ds, k) for k in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "PatientID"))
            and ds.StudyDate <= latest
        ]


def _fits(keys: Dataset, ds: Dataset, keyword: str) -> bool:
    """Whether an instance is among the values of a key; an empty one matches all (PS3.4 C.2.2.2)."""
    wanted = keys.get(keyword) or []
    values = [wanted] if isinstance(wanted, str) else list(wanted)
    return not values or ds.get(keyword) in values


def _match(keys: Dataset, study_instance_uid: str, **values: Any) -> Dataset:
    ds = Dataset()
    ds.QueryRetrieveLevel = keys.QueryRetrieveLevel
    ds.StudyInstanceUID = study_instance_uid
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


@contextmanager
def serving(archive: Archive, tls: ssl.SSLContext | None = None) -> Iterator[Archive]:
    """Take associations at the archive's port, plain or by TLS, until the block ends."""
    ae = AE(AE_TITLE)
    ae.maximum_pdu_size = 0
    for model in archive.models:
        ae.add_supported_context(model)
    for sop_class in (*OWN_CLASSES, *(uid for classes in CLASSES.values() for uid in classes)):
        ae.add_supported_context(sop_class, list(AllTransferSyntaxes), scu_role=False, scp_role=True)
        ae.add_requested_context(sop_class)  # for C-MOVE, whose sub-operations have an association of their own
    handlers = [
        (evt.EVT_C_FIND, archive.on_find),
        (evt.EVT_C_GET, archive.on_get),
        (evt.EVT_C_MOVE, archive.on_move),
    ]
    server = ae.start_server(("127.0.0.1", archive.port), block=False, evt_handlers=handlers, ssl_context=tls)
    try:
        yield archive
    finally:
        server.shutdown()
