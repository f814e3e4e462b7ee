"""CPU time and memory of a process and all its descendants, from proc(5)."""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
SAMPLE_SECONDS = 0.02
GONE = (FileNotFoundError, ProcessLookupError)


@dataclass
class Memory:
    """Proportional set size, MB: the largest sum over the processes that was seen, and how much of it was anonymous."""

    pss: float = 0.0
    anonymous: float = 0.0

    def note(self, pid: int) -> None:
        """Take a sample."""
        pss, anonymous = _pss_mb(pid)
        if pss > self.pss:
            self.pss, self.anonymous = pss, anonymous


def cpu_seconds(pid: int) -> float:
    """Return user and system time, of ended children as well, s."""
    total = 0
    for process in tree(pid):
        with suppress(*GONE):
            total += sum(map(int, _stat(process)[11:15]))  # utime, stime, cutime, cstime
    return total / CLOCK_TICKS


@contextmanager
def sampled_memory(pid: int) -> Iterator[Memory]:
    """Sample until the block ends."""
    memory, over = Memory(), threading.Event()

    def sample() -> None:
        while not over.wait(SAMPLE_SECONDS):
            memory.note(pid)

    sampler = threading.Thread(target=sample)
    memory.note(pid)
    sampler.start()
    try:
        yield memory
    finally:
        over.set()
        sampler.join()
        memory.note(pid)


def tree(root: int) -> list[int]:
    """Return the process and its descendants."""
    children = defaultdict(list)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(*GONE):
                children[int(_stat(int(entry.name))[1])].append(int(entry.name))
    found = [root]
    for pid in found:
        found.extend(children[pid])
    return found


def _stat(pid: int) -> list[str]:
    return (
        Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    )  # from field 3 on: the name may hold anything


def _pss_mb(pid: int) -> tuple[float, float]:
    kilobytes = {"Pss:": 0, "Pss_Anon:": 0}
    for process in tree(pid):
        with suppress(*GONE):
            for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
                name, *value = line.split()
                if name in kilobytes:
                    kilobytes[name] += int(value[0])
    return kilobytes["Pss:"] / 1000, kilobytes["Pss_Anon:"] / 1000
