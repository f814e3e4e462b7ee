"""The two senders: DCMTK storescu as a modality would, and the light sender that leaves the CPUs to the receiver."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from benchmarks.receive.light import CALLED, CALLING
from benchmarks.receive.studies import Study

IN_OPEN = 0x20  # <sys/inotify.h>
IN_CLOEXEC = os.O_CLOEXEC
BEST_ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}  # DCMTK and Orthanc leave Nagle's algorithm on without it


@dataclass(frozen=True)
class Sent:
    """Seconds from the first C-STORE-RQ to the last answer, and of each C-STORE, where the sender tells."""

    seconds: float
    latencies: tuple[float, ...] = ()


Send: TypeAlias = Callable[[Study, int, int], Sent]  # study, port, associations


def storescu(study: Study, port: int, associations: int, *, defaults: bool = False) -> Sent:
    """Send with one storescu an association.

    The clock starts when the first of them opens its first file to send it, which storescu does once its association stands,
    and ends when the last of them has ended.
    """
    tuned = () if defaults else ("-pdu", "131072")
    command = ["storescu", *tuned, "-aet", CALLING, "-aec", CALLED, "127.0.0.1", str(port)]
    shares = _shares(study, associations)
    watch = _watch_openings([share[0] for share in shares])
    try:
        with ExitStack() as stack:
            senders = [
                stack.enter_context(
                    subprocess.Popen([*command, *map(str, share)], env=os.environ if defaults else BEST_ENVIRONMENT)
                )
                for share in shares
            ]
            os.read(watch, 4096)
            start = time.monotonic()
            codes = [sender.wait() for sender in senders]
            end = time.monotonic()
    finally:
        os.close(watch)
    if any(codes):
        raise ChildProcessError(f"storescu ended with {codes}")
    return Sent(end - start)


def storescu_at_defaults(study: Study, port: int, associations: int) -> Sent:
    """Send with storescu as Debian ships it: Nagle's algorithm on, 16 KiB PDUs."""
    return storescu(study, port, associations, defaults=True)


def light(study: Study, port: int, associations: int, *, options: Sequence[str] = ()) -> Sent:
    """Send with one light sender (a process of its own) an association, all prepared before the clock starts."""
    command = [sys.executable, "-m", "benchmarks.receive.light", str(port), "--copies", str(study.copies), *options]
    with ExitStack() as stack:
        senders = [
            stack.enter_context(subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            for _ in range(associations)
        ]
        for sender, share in zip(senders, _shares(study, associations), strict=True):
            _say(sender, "".join(f"{path}\n" for path in share) + "\n")
        for sender in senders:
            _hear(sender)
        for sender in senders:
            _say(sender, "go\n")
        told = [json.loads(_hear(sender)) for sender in senders]
    seconds = max(t["end"] for t in told) - min(t["start"] for t in told)
    return Sent(seconds, tuple(latency for t in told for latency in t["latencies"]))


def _shares(study: Study, associations: int) -> list[tuple[Path, ...]]:
    return [study.files[n::associations] for n in range(associations)]


def _say(sender: subprocess.Popen[str], text: str) -> None:
    assert sender.stdin is not None
    sender.stdin.write(text)
    sender.stdin.flush()


def _hear(sender: subprocess.Popen[str]) -> str:
    assert sender.stdout is not None
    line = sender.stdout.readline()
    if not line:
        raise ChildProcessError(f"the light sender ended with {sender.wait()}")
    return line


def _watch_openings(paths: Sequence[Path]) -> int:
    """Return a descriptor that can be read once one of the files is opened (inotify(7))."""
    libc = ctypes.CDLL(None, use_errno=True)
    watch = int(libc.inotify_init1(IN_CLOEXEC))
    if watch < 0 or any(libc.inotify_add_watch(watch, os.fsencode(path), IN_OPEN) < 0 for path in paths):
        raise OSError(ctypes.get_errno(), "inotify")
    return watch
