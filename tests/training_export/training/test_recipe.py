"""Hyper-parameters: one file of defaults whose every value says where it comes from, and a user's file above it."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import pytest

from egfr_dls.errors import ConfigurationError
from training_export.training.recipe import BIOMARKERS, load_recipe

LINES = resources.files("training_export.training").joinpath("defaults.toml").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("line", [line for line in LINES if re.match(r"\w+ *=", line)])
def test_every_default_says_where_it_comes_from(line: str) -> None:
    """A value that no paper prints is marked as such."""
    _, _, origin = line.partition("#")
    assert re.match(r" \[[PCBLOU]\]", origin), line


@pytest.mark.parametrize("biomarker", BIOMARKERS)
def test_the_defaults_are_a_recipe(biomarker: str) -> None:
    """They are checked as a user's file is."""
    assert load_recipe(biomarker).epochs > 0


def test_the_papers_values_are_the_defaults() -> None:
    """docs/reference/science.md A and F."""
    lung, brain = load_recipe("pet_ct_egfr"), load_recipe("mr_brain_metastasis_egfr")
    assert (lung.patient.aggregate, lung.patient.cut_off, lung.split.folds) == ("mean", 0.5, 0)
    assert (lung.augmentation.mirror, lung.augmentation.shift > 0, lung.augmentation.zoom > 0) == (True, True, True)
    assert (brain.network, brain.epochs, brain.batch, brain.learning_rate) == ("resnet50", 40, 32, 0.04)
    assert (brain.split.folds, brain.loss, brain.sampling, brain.patient.aggregate) == (
        5,
        "soft_f1",
        "oversampled",
        "median",
    )
    assert brain.mixup > 0
    assert brain.augmentation.contrast > 0


def test_a_users_file_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    """Tables within tables too."""
    file = tmp_path / "mine.toml"
    file.write_text("[pet_ct_egfr]\nepochs = 3\n[pet_ct_egfr.augmentation]\nzoom = 0.25\n", encoding="utf-8")
    own, defaults = load_recipe("pet_ct_egfr", file), load_recipe("pet_ct_egfr")
    assert (own.epochs, own.augmentation.zoom) == (3, 0.25)
    assert own.augmentation.shift == defaults.augmentation.shift
    assert own.batch == defaults.batch
    assert load_recipe("mr_brain_metastasis_egfr", file) == load_recipe("mr_brain_metastasis_egfr")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[pet_ct_egfr]\nepoch = 3", "unknown key pet_ct_egfr.epoch; did you mean epochs?"),
        ("[pet_ct]\nepochs = 3", "unknown key pet_ct; did you mean pet_ct_egfr?"),
        ("[pet_ct_egfr]\nepochs = 0", "pet_ct_egfr.epochs"),
        ("[pet_ct_egfr]\nlearning_rate = nan", "pet_ct_egfr.learning_rate"),
        ("[pet_ct_egfr]\naugmentation = 3", "pet_ct_egfr.augmentation"),
        ("[pet_ct_egfr.split]\nfolds = 5", "validation and test must be 0"),
        ("[pet_ct_egfr.split]\nvalidation = 0.0", "validation and test must be above 0"),
        ("[mr_brain_metastasis_egfr.split]\nfolds = 1", "folds must be 0 (none) or at least 2"),
        ("[mr_brain_metastasis_egfr.split]\nfolds = 20", "each fold needs both classes"),
        ('[mr_brain_metastasis_egfr]\nnetwork = "small"', "transfer needs network resnet50"),
        ('[mr_brain_metastasis_egfr]\ninputs = "planes"', 'inputs must be "stacked" for resnet50'),
        ("[pet_ct_egfr", "is not TOML"),
    ],
)
def test_a_wrong_file_is_refused_by_key(tmp_path: Path, text: str, named: str) -> None:
    """What was found, and the nearest key that there is."""
    file = tmp_path / "mine.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=re.escape(named)):
        load_recipe("pet_ct_egfr", file)
