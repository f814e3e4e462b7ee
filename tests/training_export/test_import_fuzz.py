"""Files with random changes are imported or refused; where a library crashes or hangs, that ends its process alone."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

from training_export.network_refusal import Reason

ROOT = Path(__file__).resolve().parents[2]
TRIALS = 150
SEED = 2020  # other seeds: `python -m tests.training_export.import_fuzz SEED FIRST LAST`


def test_changed_files_are_imported_or_refused() -> None:
    """No other error of Python's than a refusal; a death by signal is what the importer's child is for."""
    outcomes: Counter[str] = Counter()
    first = 0
    while first < TRIALS:
        command = [sys.executable, "-m", "tests.training_export.import_fuzz", str(SEED), str(first), str(TRIALS)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode <= 0, done.stdout[-200:] + done.stderr[-3000:]
        lines = [line.split() for line in done.stdout.splitlines()]
        outcomes.update(outcome for _, outcome in lines if outcome != "begins")
        if done.returncode == 0:
            break
        outcomes["died"] += 1
        first = int(lines[-1][0]) + 1
    assert set(outcomes) <= {*Reason, "imported", "died"}
    assert outcomes["imported"] >= 5, "some changes are harmless"
    assert outcomes["FILE_UNREADABLE"] >= TRIALS / 4
    assert outcomes["NOT_SUPPORTED"] >= 5
    assert sum(outcomes.values()) == TRIALS
