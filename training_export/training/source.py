"""Where training images come from: a cohort, a folder of crops, or phantoms; needs no PyTorch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError
from rich.console import Console

from egfr_dls.errors import UsageError
from inference.models.manifest import Preprocessing
from training_export.cohort.layout import MANIFEST_NAME, CohortImages, read_cohort
from training_export.dataset import TRAINING_SEED, make_examples
from training_export.training.crops import CHANNELS, SIZE, read_crops
from training_export.training.refusal import Reason, TrainingRefusedError
from training_export.training.slices import Slices

PET_CT, BRAIN_MR = "pet_ct_egfr", "mr_brain_metastasis_egfr"


@dataclass(frozen=True, eq=False)
class Data:
    """What a network is trained on.

    Parameters
    ----------
    shape
        channels, rows and columns of an image
    preprocessing
        how the images were made of a study; None where no biomarker of this version makes such
    parts
        patient to part of the split, where the data state one
    source
        the data in words, for the manifest
    synthetic
        whether phantoms are among them, so that nothing trained on them is more than a demonstration
    """

    slices: Slices
    shape: tuple[int, int, int]
    preprocessing: Preprocessing | None
    parts: Mapping[str, str] | None
    source: str
    synthetic: bool = False


def phantom_data(count: int, task: str, processes: int, console: Console) -> Data:
    """Return the hyper-images of so many PET/CT phantoms, made in parallel."""
    recipe = Preprocessing()
    seeds = range(TRAINING_SEED, TRAINING_SEED + count)
    examples = make_examples(seeds, recipe, processes, console)
    return Data(
        slices=examples.slices(task),
        shape=_shape(recipe),
        preprocessing=recipe,
        parts=None,
        source=f"synthetic PET/CT phantoms (seeds {seeds.start} to {seeds.stop - 1}); no patient data",
        synthetic=True,
    )


def read_data(biomarker: str, folder: Path, task: str) -> Data:
    """Return what a folder holds for a biomarker's network: a cohort of PET/CT, or crops of brain metastases.

    Raises
    ------
    TrainingRefusedError, UsageError
        the folder is not of the layout, or holds nothing for the task
    """
    return _crops(folder, task) if biomarker == BRAIN_MR else _cohort(folder, task)


def cohort_slices(cohort: CohortImages, task: str) -> Slices:
    """Return the labelled images of a cohort as training takes them."""
    labelled = cohort.labelled(task)
    if len(labelled) == 0:
        raise TrainingRefusedError(
            Reason.DATA_UNREADABLE,
            f"no patient of the cohort has a label of {task}; needed: export-cohort with --labels",
        )
    names, patient = np.unique(labelled.patient, return_inverse=True)
    return Slices(
        images=labelled.images,
        rows=np.arange(len(labelled)),
        label=labelled.labels(task),
        patient=patient,
        counted=labelled.counted,
        names=tuple(names.tolist()),
    )


def _cohort(folder: Path, task: str) -> Data:
    cohort = read_cohort(folder)  # checks the manifest, too
    manifest = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
    recipe = _recipe(folder / MANIFEST_NAME, manifest)
    phantoms = manifest.get("counts", {}).get("phantoms", 0)
    return Data(
        slices=cohort_slices(cohort, task),
        shape=_shape(recipe),
        preprocessing=recipe,
        parts=None,
        source=f"an exported cohort, {phantoms} of its studies synthetic" if phantoms else "an exported cohort",
        synthetic=phantoms > 0,
    )


def _recipe(path: Path, manifest: Mapping[str, Any]) -> Preprocessing:
    """Return how the images of a cohort were made."""
    try:
        return Preprocessing.model_validate(manifest.get("preprocessing"))
    except ValidationError as error:
        raise UsageError(
            f"{path}: preprocessing is not one that this version knows; export the cohort again"
        ) from error


def _crops(folder: Path, task: str) -> Data:
    if task != "egfr":
        raise UsageError(f"--task {task}: the brain-metastasis network is trained on EGFR labels alone")
    return Data(
        slices=read_crops(folder),
        shape=(CHANNELS, SIZE, SIZE),
        preprocessing=None,
        parts=None,
        source="crops of brain metastases made elsewhere",
    )


def _shape(recipe: Preprocessing) -> tuple[int, int, int]:
    return len(recipe.channels), recipe.size, recipe.size
