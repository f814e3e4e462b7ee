"""What the proposed regions find, miss and invent; the result is Markdown. See docs/proposed-regions.md.

    python -m benchmarks.proposals [--scans 24] [--only bladder ...] [--development] [--study FOLDER]

Phantoms are an upper bound of what happens in patients. Everything runs on one core. ``--development`` takes the seeds on
which the rules were made; no rule may be changed after a look at the others.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import track

from benchmarks.proposals.real_study import FOLDER, measure_real_study
from benchmarks.proposals.rows import DEVELOPMENT_SEEDS, EVALUATION_SEEDS, ROWS, row_seeds
from benchmarks.proposals.table import phantom_tables, real_table
from benchmarks.proposals.tally import tally_seed
from inference.imaging.resample import sitk

SCANS = 24


def main() -> None:
    """Read the options, measure, print the tables."""
    options = _options()
    _one_core()
    seeds = DEVELOPMENT_SEEDS if options.development else EVALUATION_SEEDS
    chosen = [row for row in ROWS if not options.only or any(word in row.name for word in options.only)]
    work = [(row, seed) for row in chosen for seed in row_seeds(row, seeds, options.scans)]
    shown = track(work, "phantoms", console=Console(stderr=True), disable=not sys.stderr.isatty())
    scans = [tally_seed(row, seed) for row, seed in shown]
    which = "development" if options.development else "evaluation"
    print(f"{time.strftime('%d %B %Y')}, {options.scans} scans a row, {which} seeds from {seeds.start}; one core.\n")
    print(phantom_tables(scans))
    print("\nOne real study (ACRIN-NSCLC-FDG-PET 042):\n")
    if options.study.is_dir():
        print(real_table(measure_real_study(options.study)))
    else:
        print("not found: the folder of the reference data, `--study` or `SHARED_DATA`.")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=int, default=SCANS, help="of each row")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="WORD", help="rows whose name holds one of these words"
    )
    parser.add_argument("--development", action="store_true", help="the seeds on which the rules were made")
    parser.add_argument("--study", type=Path, default=FOLDER, help="the real study")
    return parser.parse_args()


def _one_core() -> None:
    """Leave this process one core, so that CPU seconds are what a study costs."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


if __name__ == "__main__":
    main()
