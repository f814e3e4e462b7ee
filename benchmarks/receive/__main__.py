"""Our receiver beside DCMTK storescp, Orthanc and pynetdicom; the result is Markdown. See docs/receive-benchmark.md.

    python -m benchmarks.receive [--rounds 5] [--only petct-1-light ...] [--quick] [--scratch FOLDER] [--out FILE]

It runs in a network namespace of its own (Orthanc listens on every address), so it needs root or unprivileged user namespaces.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.receive.measure import measure_durability, measure_flatness, measure_row
from benchmarks.receive.rows import all_rows
from benchmarks.receive.studies import Studies
from benchmarks.receive.table import durability_table, flatness_table, row_table

INSIDE = "RECEIVE_BENCHMARK_INSIDE"
FLATNESS, FLATNESS_QUICK = (10_000, 100_000), (500, 2_000)
DURABILITY_ROW, FLATNESS_ROW = "durability", "flatness"


def main() -> None:
    """Read the options, measure, print each table as soon as it is there."""
    options = _options()
    if INSIDE not in os.environ:
        _again_in_a_namespace()
    with tempfile.TemporaryDirectory(prefix="receive-", dir=options.scratch) as scratch:
        begun = time.monotonic()
        _write(options.out, _heading(options.rounds), "w")
        for text in _tables(options, Path(scratch)):
            _write(options.out, text, "a")
        _write(options.out, f"Took {(time.monotonic() - begun) / 60:.0f} minutes.\n", "a")


def _tables(options: argparse.Namespace, scratch: Path) -> Iterator[str]:
    studies = Studies(scratch, options.quick)
    for row in all_rows(quick=options.quick):
        if row.name in options.only:
            yield row_table(row, *measure_row(row, studies, options.rounds))
    if DURABILITY_ROW in options.only:
        yield durability_table(measure_durability(studies))
    if FLATNESS_ROW in options.only:
        yield flatness_table(measure_flatness(studies, FLATNESS_QUICK if options.quick else FLATNESS))


def _options() -> argparse.Namespace:
    names = [*(row.name for row in all_rows(quick=False)), DURABILITY_ROW, FLATNESS_ROW]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="ROW", help=", ".join(names))
    parser.add_argument("--quick", action="store_true", help="fewer and smaller: whether it works, not how fast")
    parser.add_argument("--scratch", type=Path, help="folder on the disk that is to be measured")
    parser.add_argument("--out", type=Path, help="write the tables there as well")
    return parser.parse_args()


def _again_in_a_namespace() -> None:
    """Replace this process by the same command in a new network namespace with nothing but a loopback interface."""
    privilege = [] if os.geteuid() == 0 else ["--map-root-user"]
    inside = 'ip link set lo up && exec "$@"'
    command = ["unshare", "--net", *privilege, "sh", "-c", inside, "sh", sys.executable, "-m", "benchmarks.receive"]
    os.execvpe(command[0], [*command, *sys.argv[1:]], {**os.environ, INSIDE: "1"})


def _heading(rounds: int) -> str:
    def first_line(*command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return next(iter((done.stdout or done.stderr).splitlines()), "unknown").strip("$ ")

    versions = (first_line("storescp", "--version"), f"Orthanc {first_line('Orthanc', '--version')}")
    load = os.getloadavg()[0]
    return (
        f"{time.strftime('%d %B %Y')}, {os.cpu_count()} CPUs (load {load:.1f} at the start), Linux {os.uname().release}, "
        f"Python {sys.version.split()[0]}, {', '.join(versions)}; {rounds} alternating rounds; medians (least–most).\n"
    )


def _write(out: Path | None, text: str, mode: str) -> None:
    print(text, flush=True)
    if out is not None:
        with out.open(mode, encoding="utf-8") as file:
            file.write(text + "\n")


if __name__ == "__main__":
    main()
