"""The processes of one listener: forked before there are threads that take locks, and none outlives the first.

The one or two that wait for the end are there (``supervisor.stop_on_signals``); they sleep in a system call and hold nothing.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from typing import Protocol

import structlog

from egfr_dls.errors import TemporaryFailureError
from egfr_dls.telemetry import error_fields, get_logger
from listener.bell import Bell

_PR_SET_PDEATHSIG = 1  # prctl(2)


class Crew(Protocol):
    """Runs parts of a listener beside this one."""

    def start(self, name: str, work: Callable[[], None], hears: Sequence[Bell]) -> None:
        """Begin a part; ``hears``: the bells that it listens to and never rings."""

    def check(self) -> None:
        """Raise TemporaryFailureError when a part has ended that was not told to."""

    def join(self, name: str) -> None:
        """Wait until the parts of this name have ended."""


class Processes:
    """A crew of forked processes.

    They share what was imported and opened, ignore SIGTERM and SIGINT (the first process tells them when to end, by a bell),
    and are killed when it dies: the next listener of this name waits for the lock that they hold too.
    """

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("fork")
        self._members: list[BaseProcess] = []

    def start(self, name: str, work: Callable[[], None], hears: Sequence[Bell]) -> None:
        """Fork a process; call it before this one starts threads that take locks."""
        gc.collect()
        gc.freeze()  # what is shared is never written to by the collector
        member = self._context.Process(target=_run, args=(work, hears, os.getpid()), name=name)
        member.start()
        self._members.append(member)

    def check(self) -> None:
        """Raise TemporaryFailureError when a process has ended: what it did cannot go on without it."""
        for member in self._members:
            if member.exitcode is not None:
                get_logger().error("process_died", kind=member.name, pid=member.pid, exit_code=member.exitcode)
                raise TemporaryFailureError(f"the listener's process {member.name} has died; it is started again")

    def join(self, name: str) -> None:
        """Wait until the processes of this name have ended."""
        for member in [m for m in self._members if m.name == name]:
            member.join()
            self._members.remove(member)


def _run(work: Callable[[], None], hears: Sequence[Bell], parent: int) -> None:
    _end_with(parent)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    for bell in hears:
        bell.let_go()
    structlog.contextvars.bind_contextvars(pid=os.getpid())
    try:
        work()
    except Exception as error:  # noqa: BLE001  # the process's border: its end is what the first process acts upon
        get_logger().error("process_failed", **error_fields(error))
        sys.exit(1)


def _end_with(parent: int) -> None:
    """Have the kernel kill this process when the one that forked it dies, in whatever way."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the call
        os._exit(1)
