"""Coverage of the intervals of `egfr-dls evaluate` on simulated cohorts, and its run time; the result is Markdown.

    python -m benchmarks.evaluation [--cohorts 2000] [--only Wilson ...] [--seed 1]

See docs/evaluation.md.
"""

from __future__ import annotations

import argparse
import sys
import time

from rich.console import Console
from rich.progress import track

from benchmarks.evaluation.rows import ROWS, optimism
from benchmarks.evaluation.speed import speed_table, time_evaluation
from benchmarks.evaluation.tally import cover, coverage_table, optimism_table

CHOICES = ((0.75, 15, 35), (0.75, 60, 140), (0.86, 15, 35))
PATIENTS = (300, 10_000)


def main() -> None:
    """Read the options, simulate, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohorts", type=int, default=2000, help="of each row")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="WORD", help="rows whose figure holds one of these words"
    )
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chosen = [row for row in ROWS if not options.only or any(word in row.figure for word in options.only)]
    shown = track(chosen, "rows", console=Console(stderr=True), disable=not sys.stderr.isatty())
    found = [cover(row, options.cohorts, options.seed) for row in shown]
    print(f"{time.strftime('%d %B %Y')}, {options.cohorts} cohorts a row, seed {options.seed}.\n")
    print(coverage_table(found))
    if not options.only:
        cohorts = max(options.cohorts // 4, 1)
        print("\n" + optimism_table([optimism(*choice, cohorts, options.seed) for choice in CHOICES]))
        print("\n" + speed_table([timed for patients in PATIENTS for timed in time_evaluation(patients, options.seed)]))


if __name__ == "__main__":
    main()
