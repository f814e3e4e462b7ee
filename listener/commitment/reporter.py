"""Reports storage commitment on associations of our own: which report is due, to whom, and who sends it."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

from egfr_dls.background import beside
from egfr_dls.errors import TemporaryFailureError
from egfr_dls.ledger import Ledger, commitments
from egfr_dls.ledger.commitments import DueReport
from egfr_dls.settings import Settings
from egfr_dls.telemetry import error_fields, get_logger
from listener.admission import PeerTable
from listener.commitment.outcome import Address, Tried, conclude

POLL_SECONDS = 1.0  # for what becomes due by time alone
PEERS_AT_ONCE = 4  # one that does not answer keeps no report from the others


def address_of(settings: Settings, report: DueReport) -> Address | None:
    """Return where a requester can be reached: its entry in ``[[listener.peers]]`` that has a port, else its destination.

    Of several peers of one AE title, the one whose host the request came from. A destination is called as results are: by TLS
    where it has ``tls``.
    """
    title = report.calling_ae_title
    peers = [p for p in settings.listener.peers if p.port is not None and p.ae_title.strip() == title]
    peers.sort(key=lambda peer: not PeerTable((peer,)).knows(title, report.peer_address))
    called = (d for d in settings.destinations if d.transport == "dimse" and d.ae_title.strip() == title)
    addresses = [
        *(Address(peer.host, peer.port) for peer in peers if peer.port is not None),
        *(Address(destination.host, destination.port, destination.tls) for destination in called),
    ]
    return addresses[0] if addresses else None


class Reporter:
    """Sends what is due until it is told to stop; one sender for each requester.

    Parameters
    ----------
    name
        of this listener, which holds the leases
    clock
        UTC seconds
    """

    def __init__(self, settings: Settings, ledger: Ledger, name: str, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._ledger = ledger
        self._name = name
        self._clock = clock
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._busy: set[str] = set()  # calling AE titles of requesters that are being reported to

    def running(self) -> AbstractContextManager[None]:
        """Send in threads; at the end, the reports in hand are finished."""
        return beside("commitment-reporter", self._run, self._stop.set)

    def report_due(self, pool: ThreadPoolExecutor) -> None:
        """Hand what is due now to senders, requester by requester."""
        with self._lock:
            busy = frozenset(self._busy)
        with self._ledger.read() as tx:
            due = commitments.due(tx, self._clock(), besides=busy)
        by_requester: defaultdict[str, list[DueReport]] = defaultdict(list)
        for report in due:
            by_requester[report.calling_ae_title].append(report)
        with self._lock:
            self._busy |= by_requester.keys()
        for title, reports in by_requester.items():
            pool.submit(self._report_to, title, reports)

    def _run(self) -> None:
        with self._ledger.changes() as changes, ThreadPoolExecutor(PEERS_AT_ONCE, "commitment") as pool:
            freed = False
            while not self._stop.is_set():
                try:
                    freed = freed or self._free()
                    self.report_due(pool)
                except Exception as error:  # noqa: BLE001  # the loop of a stage: tried again
                    _log_failure(error)
                changes.wait(self._stop, POLL_SECONDS)

    def _free(self) -> bool:
        with self._ledger.begin() as tx:
            commitments.free(tx, self._name)
        return True

    def _report_to(self, title: str, reports: Sequence[DueReport]) -> None:
        from listener.commitment.association import send  # pynetdicom and pydicom: a third of the process's memory

        tried: Tried | None = None
        try:
            for report in reports:
                address = address_of(self._settings, report)
                if address is None:
                    self._without_address(report)
                elif not self._stop.is_set() and self._claimed(report):
                    if tried is None or tried.reason not in _NOT_REACHED:
                        tried = send(report, address)
                    conclude(self._ledger, report, tried, self._clock())
        except Exception as error:  # noqa: BLE001  # a thread's border: its lease runs out and the report is tried again
            _log_failure(error)
        finally:
            with self._lock:
                self._busy.discard(title)

    def _claimed(self, report: DueReport) -> bool:
        with self._ledger.begin() as tx:
            return commitments.claim(tx, report.id, self._name, self._clock())

    def _without_address(self, report: DueReport) -> None:
        """Give up once the only association that could take the report is over."""
        if report.association_open or not self._claimed(report):
            return
        with self._ledger.begin() as tx:
            commitments.bury(tx, report.id, "NO_ADDRESS")
        get_logger().error("commitment_no_address", association=report.association_id)


_NOT_REACHED = frozenset({"UNREACHABLE", "NAME_NOT_RESOLVED", "ASSOCIATION_REJECTED"})


def _log_failure(error: Exception) -> None:
    if isinstance(error, TemporaryFailureError):
        get_logger().warning("ledger_unavailable", **error_fields(error))
    else:
        get_logger().error("commitment_failed", **error_fields(error))
