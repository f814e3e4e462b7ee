"""What strace shows of a receiver: how often it syncs, and whether each success came after a sync that covers its bytes."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

# -y names the file behind a descriptor, -xx shows every byte of what is sent, 256 of them are enough for a C-STORE-RSP
STRACE = ("strace", "-f", "-y", "-xx", "-s", "256", "-e", "signal=none",
          "-e", "trace=write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,fsync,fdatasync,msync", "-o")  # fmt: skip
_BEGUN = re.compile(r"(?P<thread>\d+) +(?P<call>\w+)\(\d+<(?P<file>[^>]*)>(?P<rest>.*)")
_RESUMED = re.compile(r"(?P<thread>\d+) +<\.\.\. (?P<call>\w+) resumed>.*= (?P<code>-?\d+)")
_SYNCS = ("fsync", "fdatasync")


def _hex(data: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in data)


def _plain(shown: str) -> str:
    """Return the name behind what -xx shows."""
    return re.sub(r"\\x(..)", lambda byte: chr(int(byte[1], 16)), shown)


STORE_RESPONSE = _hex(b"\x00\x00\x00\x01\x02\x00\x00\x00\x01\x80")  # Command Field (0000,0100) = 8001H, PS3.7 9.3.1.2
SUCCESS = _hex(b"\x00\x00\x00\x09\x02\x00\x00\x00\x00\x00")  # Status (0000,0900) = 0000H


@dataclass
class Syncs:
    """Counts over one trace."""

    syncs: int = 0
    answers: int = 0
    covered: int = 0
    _written: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))  # since the last answer
    _unsynced: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))

    def write(self, line: int, file: str) -> None:
        """Note bytes that a sync has to cover."""
        self._written[line].add(file)
        self._unsynced[line].add(file)

    def sync(self, line: int, file: str) -> None:
        """Note a sync that has returned."""
        self.syncs += 1
        self._unsynced[line].discard(file)

    def answer(self, line: int) -> None:
        """Note a success: covered when bytes were written for it and none of them is unsynced."""
        self.answers += 1
        self.covered += bool(self._written[line]) and not self._unsynced[line]
        self._written[line].clear()


def read_trace(lines: Iterable[str], data: str, *, by_thread: bool) -> Syncs:
    """Follow a trace.

    Parameters
    ----------
    data
        regular expression of the files that hold received bytes
    by_thread
        whether each thread writes, syncs and answers for itself; else the process is followed as one
    """
    found, pending = Syncs(), dict[str, str]()
    for text in lines:
        if begun := _BEGUN.match(text):
            thread, call, rest = begun.group("thread", "call", "rest")
            file = _plain(begun["file"])
            line = int(thread) if by_thread else 0
            if STORE_RESPONSE in rest and SUCCESS in rest:
                found.answer(line)
            elif re.search(data, file) and call in _SYNCS and "unfinished" in rest:
                pending[thread] = file
            elif re.search(data, file) and call in _SYNCS and rest.endswith("= 0"):
                found.sync(line, file)
            elif re.search(data, file) and call not in _SYNCS:
                found.write(line, file)
        elif (resumed := _RESUMED.match(text)) and resumed["call"] in _SYNCS:
            file = pending.pop(resumed["thread"], "")
            if file and resumed["code"] == "0":
                found.sync(int(resumed["thread"]) if by_thread else 0, file)
    return found


def read_file(trace: Path, data: str, *, by_thread: bool) -> Syncs:
    """Follow a trace that strace wrote."""
    with trace.open(encoding="ascii", errors="replace") as file:
        return read_trace((line.rstrip() for line in file), data, by_thread=by_thread)
