"""The threads that deliver: for each destination a sender and a prover, so that one that is stuck delays no other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pydicom import Dataset

from egfr_dls.ledger import Ledger, proofs
from egfr_dls.settings import Settings
from egfr_dls.store import Store
from egfr_dls.telemetry import get_logger
from reporting import commitment
from reporting.dimse import DimseTransport
from reporting.prove import Prover
from reporting.register import Register
from reporting.send import Sender
from reporting.stow import StowTransport
from reporting.transport import Transport

SUCCESS, INVALID_ARGUMENT = 0x0000, 0x0115  # of an N-EVENT-REPORT-RSP (PS3.7 10.1.1.1.8)


@contextmanager
def delivering(settings: Settings, store: Store, worker: str, stop: threading.Event) -> Iterator[int]:
    """Deliver beside the block, which is given the number of destinations; at its end what is in hand is finished."""
    registers = [Register(settings, store, d, worker, time.time) for d in settings.destinations]
    threads = [thread for register in registers for thread in _threads(register, stop)]
    for thread in threads:
        thread.start()
    try:
        yield len(registers)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def transport(register: Register) -> Transport:
    """Return how a destination is called; each thread has a transport of its own."""
    if register.destination.transport == "stow":
        return StowTransport(register.destination)
    return DimseTransport(register.destination, register.settings.listener.ae_title, hearing(register.store.ledger))


def hearing(ledger: Ledger) -> Callable[[Dataset], int]:
    """Return what writes down a report that comes on the association that asked, and gives the status of its answer."""

    def hear(information: Dataset) -> int:
        report = commitment.read_report(information)
        if report is None:
            return INVALID_ARGUMENT
        with ledger.begin() as tx:
            known = proofs.hear(tx, report.transaction_uid, report.committed, report.failures)
        state = ("failures_exist" if report.failures else "all_committed") if known else "unknown_transaction"
        get_logger().info("commitment_heard", count=len(report.committed), state=state)
        return SUCCESS

    return hear


def _threads(register: Register, stop: threading.Event) -> tuple[threading.Thread, threading.Thread]:
    sends, proves = Sender(register, transport(register)), Prover(register, transport(register))
    return (
        threading.Thread(target=sends.run, args=(stop,), name=f"sender-{register.name}"),
        threading.Thread(target=proves.run, args=(stop,), name=f"prover-{register.name}"),
    )
