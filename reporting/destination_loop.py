"""The loop of a thread that works for one destination: it ends when it is told to, and for nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable

from egfr_dls.errors import TemporaryFailureError
from egfr_dls.ledger.changes import Changes
from egfr_dls.telemetry import error_fields, get_logger
from reporting.probing import POLL_SECONDS, PROBE_CAP_SECONDS, Probing
from reporting.register import Register


def work_on(
    register: Register,
    probing: Probing,
    work: Callable[[Changes], int],
    say_failed: Callable[[Exception], None],
    stop: threading.Event,
) -> None:
    """Work until ``stop`` is set, and look for more when the ledger has changed.

    Parameters
    ----------
    work
        does what is due and returns for how many objects something was done
    say_failed
        tells of a defect
    """
    with register.store.ledger.changes() as changes:
        while not stop.is_set():
            try:
                if not work(changes):
                    changes.wait(stop, probing.pause())
            except TemporaryFailureError as error:
                get_logger().warning("ledger_unavailable", destination=register.name, **error_fields(error))
                stop.wait(POLL_SECONDS)
            except Exception as error:  # noqa: BLE001  # the loop of a stage: a defect must not stop a destination for good
                say_failed(error)
                stop.wait(PROBE_CAP_SECONDS)
