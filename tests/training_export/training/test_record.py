"""Log, curves and scores of a run."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.training_export.training.slices_of import stripes
from training_export.training.record import LOG_COLUMNS, Scored, write_curves, write_log, write_scores


def history(*losses: float | None) -> Any:
    return [
        SimpleNamespace(
            number=n, training_loss=0.5, validation_loss=v, validation_auc=None if v is None else 0.8, seconds=1.23456
        )
        for n, v in enumerate(losses, 1)
    ]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_log_has_a_row_for_each_epoch_of_each_fit(tmp_path: Path) -> None:
    """An empty cell where nobody validates."""
    write_log(tmp_path, {"fold 1": history(0.7, 0.6), "everybody": history(None)})
    found = rows(tmp_path / "log.csv")
    assert tuple(found[0]) == LOG_COLUMNS
    assert [(r["fit"], r["epoch"], r["validation_loss"]) for r in found] == [
        ("fold 1", "1", "0.7"),
        ("fold 1", "2", "0.6"),
        ("everybody", "1", ""),
    ]


def test_curves_are_a_picture_that_follows_the_epochs(tmp_path: Path) -> None:
    """Other epochs give another picture; the same ones the same bytes."""
    pictures = []
    for losses in ((0.7, 0.6), (0.7, 0.6), (0.7, 0.9)):
        write_curves(tmp_path, {"network": history(*losses), "everybody": history(None, None)})
        pictures.append((tmp_path / "curves.png").read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.size == (990, 396)


@pytest.mark.parametrize(("task", "column"), [("egfr", "label"), ("pdl1", "pdl1_label")])
def test_scores_are_what_evaluate_reads(tmp_path: Path, task: str, column: str) -> None:
    """Only slices that make up patient scores; one row a patient."""
    slices = stripes(4, slices=3)
    slices = replace(slices, counted=np.arange(12) % 3 != 2)
    parts = [
        Scored("validation", slices.of([0, 1]), np.full(6, 0.25)),
        Scored("test", slices.of([2, 3]), np.full(6, 0.5)),
    ]
    write_scores(tmp_path, parts, task)
    assert rows(tmp_path / "slices.csv")[0] == {
        "patient": "P000", "slice": "0", "p0": "0.75", "p1": "0.25", "model": task, "label": "0"
    }  # fmt: skip
    assert len(rows(tmp_path / "slices.csv")) == 8
    assert rows(tmp_path / "patients.csv") == [
        {"patient": f"P{n:03d}", "cohort": cohort, column: str(n % 2)}
        for n, cohort in enumerate(["validation", "validation", "test", "test"])
    ]
