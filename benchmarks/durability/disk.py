"""The disk is full, or fails: A700H to the sender, what was acknowledged stays, the listener goes on when the disk does."""

from __future__ import annotations

import errno
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.durability.load import Promises, sending
from benchmarks.durability.node import WORKER, Command, free_port, write_config
from benchmarks.durability.trace import build_shim
from benchmarks.durability.verdict import Tally, in_ledger, in_spool, judge_ledger, judge_spool, uids_in_ledger
from benchmarks.receive.processes import tree
from egfr_dls.dimse_status import StoreStatus
from egfr_dls.spool import layout
from tests.system.waiting import wait_until

SENDERS = 4
WRITERS = SENDERS + 1  # and the stage, which records anew the ends that the disk did not take
SMALL_MIB, LARGE_MIB = 48, 512  # of a file system of memory
REFUSALS, MORE = 40, 40
SETTLE_SECONDS = 20.0


@dataclass
class DiskFault:
    """What one fault led to."""

    name: str
    acknowledged: int = 0
    refused: dict[int, int] = field(default_factory=dict)  # status -> instances
    descriptors: tuple[int, int] = (0, 0)  # of all processes without an association, before and after
    threads: tuple[int, int] = (0, 0)
    log_lines: int = 0
    unfilled: int = 0  # segments open for writing at the end
    seconds: float = 0.0
    tally: Tally = field(default_factory=Tally)


# call, error, from which time on, how many times
CALLS = (
    ("pwritev", errno.ENOSPC, 60, 30),
    ("pwritev", errno.EIO, 60, 30),
    ("fdatasync", errno.EIO, 60, 30),
    ("fsync", errno.EIO, 8, 6),  # of a folder: a segment cannot be made
    ("pwrite", errno.EIO, 400, 30),  # of the ledger, which is there by then
)


def full_file_system(folder: Path, seed: int) -> DiskFault:
    """Have the disk run full, and make it larger; as root."""
    work = folder / "full"
    (work / "root").mkdir(parents=True)
    with _small_file_system(work / "root") as grow:
        return _run(work, DiskFault(f"file system of {SMALL_MIB} MiB, later {LARGE_MIB}"), {}, grow, seed)


def failing_calls(folder: Path, seed: int, calls: Sequence[tuple[str, int, int, int]] = CALLS) -> list[DiskFault]:
    """Have calls fail for a while, each with a listener of its own."""
    shim, found = build_shim(folder), []
    for call, number, first, count in calls:
        error = errno.errorcode[number]
        root = folder / f"{call}-{error}" / "root"
        root.mkdir(parents=True)
        environment = {"LD_PRELOAD": str(shim), "SHIM_ROOT": str(root), "SHIM_FAIL": f"{call} {number} {first} {count}"}
        fault = DiskFault(f"{call}: {error}, from the {first}th on {count} times")
        found.append(_run(root.parent, fault, environment, None, seed))
    return found


def _run(
    work: Path, found: DiskFault, environment: Mapping[str, str], mend: Callable[[], None] | None, seed: int
) -> DiskFault:
    begun_at, port = time.monotonic(), free_port()
    node = Command(write_config(work, port=port), environment)
    node.wait_until_listening()
    with sending(port, SENDERS, seed) as first:
        wait_until(lambda: len(first.acknowledged) >= SENDERS, "the first instances")
    before = _settled(node.pid)
    with sending(port, SENDERS, seed + 1) as second:
        if mend is not None:
            wait_until(lambda: sum(second.refused.values()) >= REFUSALS, "instances refused")
            _judge_alive(found, work / "root", first, second)
            mend()
        so_far = len(second.acknowledged)
        wait_until(lambda: len(second.acknowledged) >= so_far + MORE, "the service goes on")
    after = _settled(node.pid)
    promises = _both(first, second)
    _caught_up(work / "root", promises, node)
    if (code := node.terminate()) != 0:
        found.tally.remarks.append(f"ended with {code}")
    kept = in_spool(work / "root" / "spool")
    judge_spool(found.tally, kept, promises.begun, promises.acknowledged)
    judge_ledger(found.tally, kept, *in_ledger(work / "root"))
    found.tally.acknowledged = found.acknowledged = len(promises.acknowledged)
    found.refused, found.log_lines = promises.refused, len(node.log.read_bytes().splitlines())
    found.descriptors, found.threads = (before[0], after[0]), (before[1], after[1])
    found.unfilled = _unfilled(work / "root" / "spool")
    found.seconds = time.monotonic() - begun_at
    _remark(found)
    return found


def _caught_up(root: Path, promises: Promises, node: Command) -> None:
    """Wait until the indexer has filled the ledger by itself: each of its passes meets the fault until that is over."""
    wait_until(
        lambda: promises.acknowledged <= uids_in_ledger(root),
        "the ledger has all that was acknowledged",
        context=lambda: node.log.read_text(errors="replace")[-3000:],
    )


def _remark(found: DiskFault) -> None:
    """Note what is more than it may be."""
    if found.descriptors[1] > found.descriptors[0] + WRITERS:  # each may have left one more segment open
        found.tally.remarks.append(f"descriptors grew from {found.descriptors[0]} to {found.descriptors[1]}")
    if found.threads[1] > found.threads[0]:
        found.tally.remarks.append(f"threads grew from {found.threads[0]} to {found.threads[1]}")
    if found.unfilled > WRITERS:
        found.tally.remarks.append(f"{found.unfilled} segments are open for writing")
    if other := set(found.refused) - {StoreStatus.OUT_OF_RESOURCES}:
        found.tally.remarks.append(f"answers {sorted(map(hex, other))}")


def _judge_alive(found: DiskFault, root: Path, *promises: Promises) -> None:
    """Read back, while the disk is full, what was acknowledged by now."""
    acknowledged = set[str]().union(*(p.acknowledged.copy() for p in promises))
    begun = {uid: digest for p in promises for uid, digest in p.begun.copy().items()}
    kept = in_spool(root / "spool")
    found.tally.lost += [uid for uid in acknowledged if begun[uid] not in kept.get(uid, ())]


def _both(first: Promises, second: Promises) -> Promises:
    refused = {s: first.refused.get(s, 0) + second.refused.get(s, 0) for s in first.refused | second.refused}
    return Promises(
        first.begun | second.begun, first.studies | second.studies, first.acknowledged | second.acknowledged, refused
    )


def _settled(pid: int) -> tuple[int, int]:
    """Return how many descriptors and threads a listener's processes have once no association is left."""
    seen = [(-1, -1)]

    def same_again() -> bool:
        seen.append((_descriptors(pid), _threads(pid)))
        return len(seen) > 5 and len(set(seen[-5:])) == 1  # the indexer opens and closes

    wait_until(same_again, "nothing more changes", seconds=SETTLE_SECONDS, every_seconds=0.2)
    return seen[-1]


def _descriptors(pid: int) -> int:
    """Count the open files of a process and its children (proc(5)); not the ledger: a thread opens it at first need."""
    opened = (fd for process in tree(pid) for fd in Path(f"/proc/{process}/fd").iterdir())
    return sum(not _target(fd).name.startswith("ledger.sqlite") for fd in opened)


def _target(descriptor: Path) -> Path:
    try:
        return descriptor.readlink()
    except FileNotFoundError:  # closed since it was listed
        return Path()


def _threads(pid: int) -> int:
    return sum(1 for process in tree(pid) for _ in Path(f"/proc/{process}/task").iterdir())


def _unfilled(spool: Path) -> int:
    paths = layout.segments(spool / WORKER / layout.ACTIVE)
    return sum(path.stat().st_mode & 0o777 == layout.OPEN_MODE for path in paths)


@contextmanager
def _small_file_system(at: Path) -> Iterator[Callable[[], None]]:
    """Mount a small file system; yields what makes it larger."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL_MIB}m", "tmpfs", str(at)], check=True)
    try:
        yield lambda: subprocess.run(["mount", "-o", f"remount,size={LARGE_MIB}m", str(at)], check=True) and None
    finally:
        shutil.rmtree(at, ignore_errors=True)
        subprocess.run(["umount", "--lazy", str(at)], check=True)
