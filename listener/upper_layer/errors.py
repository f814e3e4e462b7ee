"""How an association ends other than by a release; raised in its own thread, caught where its socket is closed."""

from __future__ import annotations

from egfr_dls.errors import EgfrDlsError
from listener.status import Abort


class ProtocolError(EgfrDlsError):
    """The peer broke the protocol or a limit, or we are at the end: it gets an A-ABORT."""

    kind = "aborted"

    def __init__(self, abort: Abort) -> None:
        super().__init__(abort.reason)
        self.abort = abort


class PeerAbortedError(EgfrDlsError):
    """The peer sent an A-ABORT (PS3.8 7.3)."""

    kind = "aborted"


class ConnectionLostError(EgfrDlsError):
    """The connection ended without a word (PS3.8 7.4)."""

    kind = "aborted"
