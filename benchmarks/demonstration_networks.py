"""Measure the shipped networks on phantoms that they have never seen: ``python benchmarks/demonstration_networks.py``.

Runs what the service runs on a study's DICOM objects, with stored and with proposed ROIs, and prints a Markdown table.
Needs no PyTorch. Progress goes to standard error.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from egfr_dls.findings import StudyFindings
from egfr_dls.settings import Settings
from egfr_dls.settings_sections import Storage
from inference.biomarkers.pet_ct_egfr.biomarker import PET_CT_EGFR
from inference.engine.contract import EngineOptions
from inference.engine.gate import Scorer, load_scorer
from inference.engine.onnx import OrtBackend
from inference.models.catalogue import choose, read_catalogue
from inference.study_analysis import analyse_study
from training_export.dataset import UNSEEN_SEED
from training_export.evaluation.discrimination import auc, auc_interval
from training_export.phantom_dicom import phantom_datasets
from training_export.phantom_roi import RoiKind
from training_export.phantoms import Phantom, make_phantom

SETTINGS = Settings(storage=Storage(root=Path("unused")))  # nothing is written
SOURCES = {"stored": RoiKind.SEG, "proposed": RoiKind.NONE}


@dataclass(frozen=True)
class Scored:
    """One phantom: its labels, and score or refusal code by source of ROI; ``egfr`` and ``pdl1`` in that order."""

    labels: tuple[int, int]
    scores: Mapping[str, tuple[float, float] | str]


def score_phantom(phantom: Phantom, kind: RoiKind, scorers: Mapping[str, Scorer]) -> StudyFindings:
    """Score one phantom as the service does, from its DICOM objects in memory."""
    datasets = list(phantom_datasets(phantom, kind).values())
    return analyse_study(datasets, PET_CT_EGFR, scorers, SETTINGS).findings


def load_scorers(models: Path | None) -> dict[str, Scorer]:
    """Open the packages as the service chooses them."""
    catalogue = read_catalogue(models)
    packages = {
        n.task: choose(catalogue, n.task, PET_CT_EGFR.preprocessing_id, None, n.setting) for n in PET_CT_EGFR.networks
    }
    return {task: load_scorer(package, OrtBackend(), EngineOptions()) for task, package in packages.items()}


def score_seed(seed: int, models: Path | None) -> Scored:
    """Score one seed with either source of ROI."""
    scorers = load_scorers(models)
    phantom = make_phantom(seed)
    scores: dict[str, tuple[float, float] | str] = {}
    for source, kind in SOURCES.items():
        found = score_phantom(phantom, kind, scorers)
        patient = found.patient
        if patient.egfr_dls is None or patient.pdl1_dls is None:
            scores[source] = found.refusal.code if found.refusal else "no score"
        else:
            scores[source] = (patient.egfr_dls, patient.pdl1_dls)
    return Scored((phantom.egfr, phantom.pdl1), scores)


def table(scored: list[Scored]) -> str:
    """Return the Markdown table: one row a network and source of ROI."""
    rows = [
        "| network | ROI | phantoms scored | positives | AUC (DeLong 95 % interval) | accuracy at 0.5 |",
        "|---|---|---|---|---|---|",
    ]
    for column, network in enumerate(("EGFR", "PD-L1")):
        for source in SOURCES:
            pairs = [(s.labels[column], v[column]) for s in scored if not isinstance(v := s.scores[source], str)]
            labels, scores = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
            low, high = auc_interval(labels, scores)
            accuracy = float(((scores >= 0.5) == labels).mean())
            rows.append(
                f"| {network} | {source} | {len(pairs)} of {len(scored)} | {int(labels.sum())} "
                f"| {auc(labels, scores):.3f} ({low:.3f}-{high:.3f}) | {accuracy:.3f} |"
            )
    refusals = [f"{v} ({source})" for s in scored for source in SOURCES if isinstance(v := s.scores[source], str)]
    return "\n".join([*rows, "", f"Refused: {', '.join(refusals) or 'none'}."])


def main() -> None:
    """Read the options, score the phantoms, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--phantoms", type=int, default=100)
    parser.add_argument("--models", type=Path, default=None, help="folder of packages (default: the shipped ones)")
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    seeds = range(UNSEEN_SEED, UNSEEN_SEED + options.phantoms)
    with ProcessPoolExecutor(options.processes) as pool:
        results = pool.map(score_seed, seeds, [options.models] * len(seeds))
        scored = list(track(results, "phantoms", total=len(seeds), console=Console(stderr=True)))
    print(table(scored))


if __name__ == "__main__":
    main()
