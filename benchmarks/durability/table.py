"""The results as Markdown."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.durability.disk import DiskFault
from benchmarks.durability.kills import KILLS_A_ROOT, Kills
from benchmarks.durability.power import PowerFailures
from benchmarks.durability.verdict import Tally

REMARKS = 10  # are told one by one


def kills_table(found: Kills) -> str:
    """Return what the kills showed."""
    tally = found.tally
    rows = [
        ("kills", f"{found.done} ({', '.join(f'{name} {count}' for name, count in sorted(found.targets.items()))})"),
        ("... before the listener listened", f"{found.before_listening}"),
        (f"roots, of up to {KILLS_A_ROOT} kills", f"{found.roots}"),
        ("instances acknowledged", f"{tally.acknowledged}"),
        ("... present, byte for byte", f"{tally.present}"),
        ("... lost, at any check", f"{len(tally.lost)} ({found.checks} checks)"),
        ("records that no sender sent", f"{len(tally.foreign)}"),
        ("instances not exactly once in the ledger", f"{len(tally.unindexed)}"),
        ("segments open for writing at once, at most", f"{found.unfilled}"),
        ("seconds", f"{found.seconds:.0f}"),
        *_remarks(tally),
    ]
    return _table(rows)


def power_table(found: PowerFailures) -> str:
    """Return what the power failures showed."""
    tally = found.tally
    return _table(
        [
            ("traces; steps noted; instances acknowledged", f"{found.traces}; {found.steps}; {found.acknowledged}"),
            ("states of the disk that were opened", f"{found.states}"),
            ("acknowledged instances looked up in them", f"{found.promises}"),
            ("... of studies that retention had given up", f"{found.released}"),
            ("... lost", f"{len(tally.lost)}"),
            ("records that no sender sent", f"{len(tally.foreign)}"),
            ("instances in the ledger and not in the spool, or not once", f"{len(tally.unindexed)}"),
            (
                "listeners started on a state, received on and drained",
                f"{found.started} ({found.rebuilt} without ledger)",
            ),
            ("seconds", f"{found.seconds:.0f}"),
            *_remarks(tally),
        ]
    )


def disk_table(found: Iterable[DiskFault]) -> str:
    """Return what full and failing disks led to."""
    head = "| fault | acknowledged | refused | faults | descriptors | threads | open segments | log lines | s |"
    rows = (
        f"| {one.name} | {one.acknowledged} | {', '.join(f'{n} x {s:04X}H' for s, n in one.refused.items())} "
        f"| {one.tally.faults} | {one.descriptors[0]}, then {one.descriptors[1]} | {one.threads[0]}, then {one.threads[1]} "
        f"| {one.unfilled} | {one.log_lines} | {one.seconds:.0f} |{''.join(map(' fault: {}'.format, one.tally.remarks))}"
        for one in found
    )
    return "\n".join([head, "| --- " + "| --: " * 8 + "|", *rows])


def _remarks(tally: Tally) -> list[tuple[str, str]]:
    more = [("more faults", f"{len(tally.remarks) - REMARKS}")] if len(tally.remarks) > REMARKS else []
    return [*(("fault", remark) for remark in tally.remarks[:REMARKS]), *more]


def _table(rows: Iterable[tuple[str, str]]) -> str:
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows)])
