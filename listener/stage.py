"""The listener: receivers, and behind them the indexer, each a process of its own, from start to drain."""

from __future__ import annotations

import threading
from multiprocessing import Pipe
from multiprocessing.connection import Connection

from egfr_dls.errors import ConfigurationError
from egfr_dls.ledger import Ledger
from egfr_dls.settings import Settings
from egfr_dls.store import open_spool
from egfr_dls.supervisor import require_root
from egfr_dls.telemetry import get_logger
from listener.admission import Admission
from listener.bell import Bell
from listener.commitment.dialogue import CommitmentDialogue
from listener.commitment.hearing import Hearing
from listener.commitment.scp import CommitmentScp
from listener.crew import Crew, Processes
from listener.indexing import indexer
from listener.indexing.neighbours import alone
from listener.secure_transport.tls import Tls
from listener.storage.reception import Reception
from listener.upper_layer.connection import Node
from listener.upper_layer.dispatch import HANDLERS
from listener.upper_layer.receiver import Receiver
from listener.upper_layer.server import Server, bind
from listener.upper_layer.stream import PlainStream

STOP_SECONDS = 0.5
INDEXER, RECEIVER = "indexer", "receiver"


def main(settings: Settings, worker: str, stop: threading.Event, crew: Crew | None = None) -> None:
    """Receive until ``stop`` is set, then drain: nothing new is accepted, what is open may finish, all is indexed.

    This process is the first receiver; the indexer and further receivers are forked from it before there are threads that take
    locks.

    Parameters
    ----------
    worker
        the name of this listener, which has a folder of its own in the spool
    crew
        what runs the indexer and the further receivers; processes by default

    Raises
    ------
    ConfigurationError
        before the first association is accepted
    TemporaryFailureError
        a process of the listener has died, or the thread that accepts: what is open was drained, and all is to be started anew
    """
    require_root(settings.storage.root)
    with alone(settings.storage.root, worker):
        listener = _Listener(settings, worker, crew or Processes())
        try:
            listener.run(stop)
        finally:
            listener.close()


class _Listener:
    """The parts of a listener, and the order in which they begin and end."""

    def __init__(self, settings: Settings, name: str, crew: Crew) -> None:
        self._settings = settings
        self._name = name
        self._crew = crew
        self._tls = Tls(settings.listener.tls) if settings.listener.tls else None
        self._bell = Bell()  # wakes the indexer, which ends when no receiver is left that could ring
        self._spool = open_spool(settings, name)
        self._end = Bell()  # the further receivers drain when the first one lets go of it
        self._reception = Reception(self._spool, settings.storage.min_free_bytes, ring=self._bell.ring)
        commitment = CommitmentScp(self._spool, settings.storage.min_free_bytes, ring=self._bell.ring)
        self._dialogue = CommitmentDialogue(commitment, lambda: Ledger(settings.ledger_url), name)
        self._hearing = Hearing(lambda: Ledger(settings.ledger_url))

    def run(self, stop: threading.Event) -> None:
        """Begin with the ledger, end with it: what was received last is indexed."""
        self._look_at_certificate()
        self._start_indexer()
        receiver = self._receiver()
        for _ in range(self._settings.listener.workers - 1):
            self._crew.start(RECEIVER, lambda: self._receive(receiver), hears=(self._end,))
        with self._spool.preparing(self._settings.storage.min_free_bytes), self._dialogue.running():
            receiver.start()
            for port in receiver.ports:
                get_logger().info("listening", port=port, peers=len(self._settings.listener.peers))
            try:
                # an endless wait does not see a signal that another thread was given
                while not stop.wait(STOP_SECONDS):
                    self._crew.check()
                    receiver.check()
                    self._reception.try_again()
                    self._look_at_certificate()
            finally:
                self._end.let_go()
                aborted = receiver.drain(self._settings.listener.drain_seconds)
                self._reception.try_again()
                self._crew.join(RECEIVER)
        self._bell.let_go()
        self._crew.join(INDEXER)
        get_logger().info("drained", count=aborted)

    def close(self) -> None:
        """End what is still there after a failure: the receivers first, for each of them could ring."""
        self._end.let_go()
        self._crew.join(RECEIVER)
        self._bell.let_go()
        self._crew.join(INDEXER)
        self._bell.close()
        self._end.close()
        self._spool.close()

    def _start_indexer(self) -> None:
        """Return when the ledger is open."""
        hears, tells = Pipe(duplex=False)
        with hears, tells:
            self._crew.start(INDEXER, lambda: self._index(tells), hears=(self._bell, self._end))
            while not hears.poll(STOP_SECONDS):
                self._crew.check()
            fault = hears.recv()
        if fault is not None:
            raise ConfigurationError(fault)

    def _index(self, tells: Connection) -> None:
        try:
            indexer.main(self._settings, self._name, self._bell, lambda: tells.send(None))
        except ConfigurationError as error:
            tells.send(str(error))

    def _receive(self, receiver: Receiver) -> None:
        """Be a further receiver."""
        with self._dialogue.running():
            receiver.start()
            try:
                while self._end.wait(STOP_SECONDS):
                    receiver.check()
                    self._reception.try_again()
            finally:
                receiver.drain(self._settings.listener.drain_seconds)
                self._reception.try_again()

    def _receiver(self) -> Receiver:
        settings = self._settings
        if settings.listener.accept_any_peer:
            get_logger().warning("any_peer_accepted")
        elif not settings.listener.peers:
            get_logger().warning("no_peers")
        spool, floor = self._spool, settings.storage.min_free_bytes
        admission = Admission(settings.listener, spool.free_bytes, floor)
        handlers = {**HANDLERS, **self._dialogue.handlers, **self._hearing.handlers}
        secure = self._tls.stream if self._tls else PlainStream
        return Server(
            bind(settings.listener), Node(settings.listener, admission, self._reception, handlers, secure=secure)
        )

    def _look_at_certificate(self) -> None:
        if self._tls is not None:
            self._tls.look()
