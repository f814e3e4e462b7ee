"""An association with a source: what is proposed, what can go wrong, and the time after which it is aborted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from pydicom import Dataset
from pydicom.uid import (
    JPEG2000,
    UID,
    Comprehensive3DSRStorage,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    EnhancedPETImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    LegacyConvertedEnhancedCTImageStorage,
    LegacyConvertedEnhancedPETImageStorage,
    PositronEmissionTomographyImageStorage,
    RLELossless,
    RTStructureSetStorage,
    SegmentationStorage,
)
from pynetdicom import AE, _config, build_role, evt
from pynetdicom.association import Association
from pynetdicom.events import Event

from egfr_dls.errors import EgfrDlsError
from egfr_dls.outgoing import let_reader_rest, send_at_once
from egfr_dls.settings import Source

# Study Root Query/Retrieve Information Model (PS3.4 C.6.2.3)
FIND: Final = UID("1.2.840.10008.5.1.4.1.2.2.1")
MOVE: Final = UID("1.2.840.10008.5.1.4.1.2.2.2")
GET: Final = UID("1.2.840.10008.5.1.4.1.2.2.3")
ASSOCIATE_SECONDS = 10.0
ANSWER_SECONDS = 60.0  # between two messages of a source
PDU_BYTES = 131072  # that we take
LOOK_SECONDS = 0.2  # of the watchdog
SUCCESS, PENDING = 0x0000, (0xFF00, 0xFF01)  # PS3.4 table C.4-1 to C.4-3
_config.LOG_HANDLER_LEVEL = "none"  # pynetdicom's own texts hold header values

# (0008,0060) -> what is taken by C-GET. Classes that no biomarker reads are taken, too: they are refused by their name.
CLASSES: Final[dict[str, tuple[str, ...]]] = {
    "PT": (
        PositronEmissionTomographyImageStorage, EnhancedPETImageStorage, LegacyConvertedEnhancedPETImageStorage,
    ),
    "CT": (CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage),
    "SEG": (SegmentationStorage,),
    "RTSTRUCT": (RTStructureSetStorage,),
}  # fmt: skip
REPORT_CLASS: Final = Comprehensive3DSRStorage  # of our own reports
# Each in a context of its own, so that a source can send what it holds as it holds it.
_TRANSFER_SYNTAXES = (
    ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless, JPEGLosslessSV1,
    JPEGLossless, JPEGLSLossless, JPEG2000Lossless, JPEGLSNearLossless, JPEG2000, JPEGBaseline8Bit, JPEGExtended12Bit,
)  # fmt: skip


class SourceError(EgfrDlsError):
    """A source did not give what it was asked for.

    Parameters
    ----------
    reason
        its name in the ledger and in log events, never a text of the source
    again
        whether it is worth asking later
    """

    kind = "temporary"

    def __init__(self, reason: str, *, again: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.again = again


STOPPED: Final = SourceError("STOPPED")


@dataclass
class Dialogue:
    """An association with a source, and why we aborted it, if we did."""

    assoc: Association
    aborted_because: SourceError | None = None

    def accepts(self, model: str) -> bool:
        """Whether the source offers an information model."""
        return any(context.abstract_syntax == model for context in self.assoc.accepted_contexts)

    def abort(self, because: SourceError) -> None:
        """Break off, from any thread: who waits for an answer has none. The first reason counts."""
        if self.aborted_because is None:
            self.aborted_because = because
            self.assoc.dimse.msg_queue.put((None, None))  # what pynetdicom tells itself when an A-ABORT has come

    def answers(
        self, send: Callable[[], Iterator[tuple[Dataset, Dataset | None]]]
    ) -> Iterator[tuple[Dataset, Dataset | None]]:
        """Yield status and identifier of every response to a request, to the last one, whatever its status.

        Raises
        ------
        SourceError
            there is no last response: the association was aborted or is silent
        """
        let_reader_rest(self.assoc)
        try:
            for status, identifier in send():
                if "Status" not in status:
                    raise self.aborted_because or SourceError("NO_ANSWER")
                yield status, identifier
        except RuntimeError as error:  # pynetdicom: the association ended before the request
            raise self.aborted_because or SourceError("NO_ANSWER") from error


@contextmanager
def dialogue(
    source: Source, ae_title: str, on_store: Callable[[Event], int], stop: threading.Event
) -> Iterator[Dialogue]:
    """Open an association with a source for C-FIND and for what its ``retrieve`` says, and release it at the end.

    Parameters
    ----------
    ae_title
        ours
    on_store
        answers each C-STORE that comes on it (C-GET)
    stop
        aborts it when set, as the end of ``max_seconds`` does

    Raises
    ------
    SourceError
        it cannot be reached, rejects us, or offers no query
    """
    assoc = _associated(source, ae_title, on_store)
    opened = Dialogue(assoc)
    over = threading.Event()
    watchdog = threading.Thread(target=_watch, args=(opened, source.max_seconds, stop, over), name="source-watchdog")
    watchdog.start()
    try:
        if not opened.accepts(FIND):
            raise SourceError("QUERY_NOT_OFFERED")
        yield opened
    finally:
        over.set()
        watchdog.join()
        if assoc.is_established:
            (assoc.abort if opened.aborted_because else assoc.release)()


def _watch(opened: Dialogue, seconds: float, stop: threading.Event, over: threading.Event) -> None:
    deadline = time.monotonic() + seconds
    while not over.wait(LOOK_SECONDS):
        if stop.is_set():
            opened.abort(STOPPED)
        elif time.monotonic() >= deadline:
            opened.abort(SourceError("TIME_LIMIT"))


def _associated(source: Source, ae_title: str, on_store: Callable[[Event], int]) -> Association:
    ae = AE(ae_title)
    ae.acse_timeout = ae.connection_timeout = ASSOCIATE_SECONDS
    ae.dimse_timeout = ae.network_timeout = ANSWER_SECONDS
    ae.maximum_pdu_size = PDU_BYTES
    ae.add_requested_context(FIND)
    if source.retrieve != "c-get":
        ae.add_requested_context(MOVE)
    roles = []
    if source.retrieve != "c-move":
        ae.add_requested_context(GET)
        for sop_class in (uid for classes in CLASSES.values() for uid in classes):
            roles.append(build_role(sop_class, scp_role=True))  # PS3.4 C.5.3.1
            _propose_each(ae, sop_class)
        roles.append(build_role(REPORT_CLASS, scp_role=True))
        ae.add_requested_context(REPORT_CLASS)
    try:
        assoc = ae.associate(
            source.host,
            source.port,
            ae_title=source.ae_title,
            ext_neg=[*roles],
            evt_handlers=[(evt.EVT_CONN_OPEN, send_at_once), (evt.EVT_C_STORE, on_store)],
        )
    except OSError as error:
        raise SourceError("NAME_NOT_RESOLVED") from error
    if not assoc.is_established:
        raise SourceError("ASSOCIATION_REJECTED" if assoc.is_rejected else "UNREACHABLE")
    return assoc


def _propose_each(ae: AE, sop_class: str) -> None:
    for syntax in _TRANSFER_SYNTAXES:
        ae.add_requested_context(sop_class, syntax)
