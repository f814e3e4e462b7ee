"""The result as Markdown: one table a row of the benchmark, medians with ranges."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

from benchmarks.receive.measure import Durability, Flatness, Result
from benchmarks.receive.rows import Row
from benchmarks.receive.studies import Study

HEADER = ("receiver", "instances/s", "MB/s", "ours / its", "CPU s/GB", "PSS, MB (anonymous)", "p50 / p99, ms")
NOTHING = "–"


def row_table(row: Row, study: Study, results: Sequence[Result]) -> str:
    """Return one row's table; ranges and spreads are least and most over the rounds."""
    ours = results[0]
    lines = [f"### {row.name}: {row.title}", "", f"{study.instances} instances, {study.n_bytes / 1e6:.0f} MB", ""]
    if ours.failure:
        return "\n".join([*lines, f"Skipped: {ours.failure}"]) + "\n"
    measured = [result for result in results if result.runs and not result.failure]
    lines += [_line(HEADER), _line(["---", *["--:"] * (len(HEADER) - 1)])]
    lines += [_line(_cells(study, result, ours)) for result in measured]
    lines += ["", *(f"{result.receiver.name}: skipped, {result.failure}" for result in results if result.failure)]
    return "\n".join(lines).rstrip() + "\n"


def durability_table(found: Sequence[Durability]) -> str:
    """Return what strace showed."""
    header = (
        "receiver",
        "associations",
        "answers 0000H",
        "syncs of received data an instance",
        "answers after a sync that covers them",
    )
    lines = ["### durability: syncs before answers, by strace", "", _line(header), _line(["---", *["--:"] * 4])]
    for one in found:
        seen = one.syncs
        counts = (seen.answers, f"{seen.syncs / max(seen.answers, 1):.1f}", f"{seen.covered} of {seen.answers}") if seen else (
            f"skipped, {one.failure}", NOTHING, NOTHING)  # fmt: skip
        lines.append(_line([one.receiver.name, one.associations, *counts]))
    return "\n".join(lines) + "\n"


def flatness_table(found: Sequence[Flatness]) -> str:
    """Return our memory over the number of instances."""
    lines = ["### flatness: one listener of ours, tiny objects, 1 association, light sender", ""]
    lines += [_line(["instances", "instances/s", "CPU ms an instance", "peak PSS, MB (anonymous)"]), _line(["--:"] * 4)]
    last = 0
    for part in found:
        span, last = f"{last + 1:,} to {last + part.instances:,}", last + part.instances
        cpu = 1e3 * part.cpu_seconds / part.instances
        memory = f"{part.memory.pss:.0f} ({part.memory.anonymous:.0f})"
        lines.append(_line([span, f"{part.instances / part.seconds:.0f}", f"{cpu:.2f}", memory]))
    return "\n".join(lines) + "\n"


def _cells(study: Study, result: Result, ours: Result) -> list[str]:
    rates = [study.instances / run.sent.seconds for run in result.runs]
    ratios = [theirs.sent.seconds / mine.sent.seconds for theirs, mine in zip(result.runs, ours.runs, strict=True)]
    cpu = [run.cpu_seconds / (study.n_bytes / 1e9) for run in result.runs]
    latencies = sorted(latency for run in result.runs for latency in run.sent.latencies)
    memory = result.memory
    return [
        result.receiver.name,
        _spread(rates, _rate),
        f"{statistics.median(rates) * study.n_bytes / study.instances / 1e6:.0f}",
        NOTHING if result is ours else _spread(ratios, "{:.2f}".format),
        _spread(cpu, "{:.1f}".format),
        NOTHING if memory is None else f"{memory.pss:.0f} ({memory.anonymous:.0f})",
        f"{1e3 * _quantile(latencies, 0.5):.2f} / {1e3 * _quantile(latencies, 0.99):.2f}" if latencies else NOTHING,
    ]


def _spread(values: Sequence[float], say: Callable[[float], str]) -> str:
    return f"{say(statistics.median(values))} ({say(min(values))}–{say(max(values))})"


def _rate(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2f}"


def _quantile(ordered: Sequence[float], fraction: float) -> float:
    return ordered[math.ceil(fraction * len(ordered)) - 1]


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"
