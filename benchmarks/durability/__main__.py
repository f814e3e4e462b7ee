"""Kill, cut the power of, and starve a receiving listener; the result is Markdown. See docs/reliability.md.

python -m benchmarks.durability kills [--count 1000] [--seed 1] [--scratch FOLDER]
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.durability.disk import failing_calls, full_file_system
from benchmarks.durability.kills import run_kills
from benchmarks.durability.power import run_power_failures
from benchmarks.durability.table import disk_table, kills_table, power_table


def main() -> None:
    """Read the options, run, print; end with 1 where a promise was broken."""
    options = _options()
    scratch = Path(tempfile.mkdtemp(prefix="durability-", dir=options.scratch))
    table, faults = RUNS[options.what](options, scratch)
    print(table)
    if faults:
        sys.exit(f"{faults} faults; what was found lies in {scratch}")
    shutil.rmtree(scratch)


def _kills(options: argparse.Namespace, scratch: Path) -> tuple[str, int]:
    found = run_kills(scratch, options.count, options.seed, partial(_rest, options.pause_while))
    return kills_table(found), found.tally.faults


def _power(options: argparse.Namespace, scratch: Path) -> tuple[str, int]:
    found = run_power_failures(scratch, options.traces, options.count, options.seed, lose=options.broken)
    return power_table(found), found.tally.faults


def _disk(options: argparse.Namespace, scratch: Path) -> tuple[str, int]:
    found = failing_calls(scratch, options.seed)
    if os.geteuid() == 0:
        found.insert(0, full_file_system(scratch, options.seed))
    else:
        print("SKIPPED the full file system: mounting one needs root", file=sys.stderr)
    return disk_table(found), sum(one.tally.faults for one in found)


def _rest(file: Path | None) -> bool:
    return file is not None and file.exists()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=list(RUNS))
    parser.add_argument("--count", type=int, default=1000, help="kills; states of each trace")
    parser.add_argument("--traces", type=int, default=5)
    parser.add_argument(
        "--broken", choices=["fdatasync", "fsync"], default="", help="does nothing then, which has to be found"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scratch", type=Path, help="folder on the disk that is to be tried")
    parser.add_argument("--pause-while", type=Path, help="rest while this file is there")
    return parser.parse_args()


RUNS = {"kills": _kills, "power": _power, "disk": _disk}

if __name__ == "__main__":
    main()
