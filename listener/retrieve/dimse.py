"""A source that is asked by C-FIND, and C-GET or C-MOVE to ourselves (Study Root model, PS3.4 C.4).

What was asked for comes in on the same association (C-GET), or by the listener's port.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from typing import Any

from pydicom import Dataset
from pynetdicom.events import Event

from egfr_dls.settings_sections import Source
from listener.retrieve.association import FIND, GET, MOVE, PENDING, SUCCESS, Opened, association
from listener.retrieve.inbox import Inbox
from listener.retrieve.plan import Request
from listener.retrieve.source import Dialogue, Match, SourceError, of_study
from listener.storage.facts import StoreCommand

UIDS_AT_ONCE = 100  # of a list in one identifier


class DimseDialogue:
    """Asks on an association that is open."""

    def __init__(self, opened: Opened, inbox: Inbox) -> None:
        self._opened = opened
        self._inbox = inbox

    @property
    def brings(self) -> bool:
        """Whether C-GET is offered."""
        return self._opened.accepts(GET)

    def matches(self, wanted: Dataset, limit: int) -> list[Match]:
        """Return the matches of a C-FIND (PS3.4 C.4.1).

        With more than ``limit`` the association is aborted: nobody knows how many more there are.
        """
        found: list[Match] = []
        for status, identifier in self._opened.answers(lambda: self._opened.assoc.send_c_find(wanted, FIND)):
            if status.Status in PENDING:
                if len(found) >= limit:
                    raise self._broken_off(SourceError("TOO_MANY_MATCHES", again=False))
                found.append(_match(identifier or Dataset(), wanted))
            elif status.Status != SUCCESS:
                raise SourceError(f"QUERY_STATUS_{status.Status:04X}")
        return of_study(found, wanted)

    def fetch(self, requests: Sequence[Request], study_instance_uid: str) -> None:
        """Have the source send what is requested, at SERIES or IMAGE level (PS3.4 C.4.2, C.4.3)."""
        model = next((m for m in (GET, MOVE) if self._opened.accepts(m)), None)
        if model is None:
            raise SourceError("RETRIEVE_NOT_OFFERED")
        incomplete: SourceError | None = None
        for request in requests:
            self._inbox.expect(request, study_instance_uid)
            for keys in _identifiers(study_instance_uid, request):
                incomplete = self._retrieve(model, keys) or incomplete
        if incomplete is not None:
            raise incomplete
        if model == GET:
            self._inbox.check_whole(requests)

    def _retrieve(self, model: str, keys: Dataset) -> SourceError | None:
        """Send one request to its last response; return what is wrong with that, if anything."""
        final = SUCCESS
        for status, _identifier in self._opened.answers(lambda: self._send(model, keys)):
            if self._inbox.too_much:
                raise self._broken_off(SourceError("SIZE_LIMIT", again=False))
            final = status.Status if status.Status not in PENDING else final
        return None if final == SUCCESS else SourceError(f"RETRIEVE_STATUS_{final:04X}")

    def _send(self, model: str, keys: Dataset) -> Iterator[tuple[Dataset, Dataset | None]]:
        if model == GET:
            return self._opened.assoc.send_c_get(keys, GET)
        return self._opened.assoc.send_c_move(keys, self._inbox.ae_title, MOVE)

    def _broken_off(self, because: SourceError) -> SourceError:
        self._opened.abort(because)
        return because


@contextmanager
def dimse_dialogue(source: Source, inbox: Inbox, stop: threading.Event) -> Iterator[Dialogue]:
    """Open an association with a source, whose C-STORE sub-operations (PS3.4 C.4.3.2) go into the inbox.

    Raises
    ------
    SourceError
        it cannot be reached, rejects us, or offers no query
    """

    def on_store(event: Event) -> int:
        request: Any = event.request
        context = event.context
        command = StoreCommand(
            str(request.AffectedSOPClassUID),
            str(request.AffectedSOPInstanceUID),
            str(context.abstract_syntax),
            str(context.transfer_syntax),
        )
        return inbox.take(command, [request.DataSet.getvalue() if request.DataSet else b""])

    with association(source, inbox.ae_title, on_store, stop) as opened:
        yield DimseDialogue(opened, inbox)


def _match(identifier: Dataset, wanted: Dataset) -> Match:
    return {element.keyword: _text(identifier, element.keyword) for element in wanted}


def _text(identifier: Dataset, keyword: str) -> str:
    try:
        return str(identifier.get(keyword) or "")
    except (ValueError, TypeError, NotImplementedError):  # a value that cannot be decoded is none
        return ""


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


def _portions(uids: Set[str]) -> Iterator[list[str]]:
    ordered = sorted(uids)
    return (ordered[i : i + UIDS_AT_ONCE] for i in range(0, len(ordered), UIDS_AT_ONCE))
