"""The hyper-parameters of a biomarker's network: ``defaults.toml`` and what the user's file says otherwise."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from egfr_dls.errors import ConfigurationError
from egfr_dls.settings_faults import sentence

DEFAULTS = "defaults.toml"


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Augmentation(_Block):
    """How far an image is changed at random, anew in each epoch."""

    mirror: bool
    rotation_degrees: float = Field(ge=0, le=180)
    zoom: float = Field(ge=0, le=0.5)
    shift: float = Field(ge=0, le=0.5)
    contrast: float = Field(ge=0, lt=1)


class PatientScore(_Block):
    """How slice scores become a patient's."""

    aggregate: Literal["mean", "median"]
    cut_off: float = Field(gt=0, lt=1)


class SplitShares(_Block):
    """How patients are split: cross-validation where there are folds, else one part held out to choose, one to measure."""

    folds: int = Field(ge=0, le=20)
    validation: float = Field(ge=0, lt=0.5)
    test: float = Field(ge=0, lt=0.5)
    least_patients: int = Field(ge=3)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.folds == 1:
            raise ValueError("folds must be 0 (none) or at least 2")
        if self.folds and (self.validation or self.test):
            raise ValueError("validation and test must be 0 where there are folds: each fold validates in its turn")
        if not self.folds and not (self.validation and self.test):
            raise ValueError("validation and test must be above 0 where there are no folds")
        if self.folds > self.least_patients:
            raise ValueError(f"least_patients must be at least folds ({self.folds}): each fold needs both classes")
        return self


class Recipe(_Block):
    """How a network is trained; ``defaults.toml`` says where each value comes from."""

    network: Literal["srescnn", "small", "resnet50"]
    inputs: Literal["stacked", "planes"]
    transfer: bool
    epochs: int = Field(ge=1)
    batch: int = Field(ge=2)
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    warm_up: float = Field(ge=0, le=1)
    loss: Literal["cross_entropy", "soft_f1"]
    label_smoothing: float = Field(ge=0, lt=1)
    mixup: float = Field(ge=0)
    sampling: Literal["plain", "balanced", "oversampled"]
    threads: int = Field(ge=1)
    mixed_precision: bool
    augmentation: Augmentation
    patient: PatientScore
    split: SplitShares

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if self.network == "resnet50" and self.inputs != "stacked":
            raise ValueError('inputs must be "stacked" for resnet50')
        if self.transfer and self.network != "resnet50":
            raise ValueError("transfer needs network resnet50: there are no other weights to start from")
        return self


class Recipes(_Block):
    """The whole file."""

    pet_ct_egfr: Recipe
    mr_brain_metastasis_egfr: Recipe


BIOMARKERS = tuple(Recipes.model_fields)


def load_recipe(biomarker: str, path: Path | None = None) -> Recipe:
    """Return the recipe of a biomarker: the defaults, with the values of the user's file in their places.

    Raises
    ------
    ConfigurationError
        names every wrong key, what was found and, for an unknown key, the nearest known one
    """
    document = default_document()
    if path is not None:
        document = _overlaid(document, _read(path))
    try:
        recipe: Recipe = getattr(Recipes.model_validate(document), biomarker)
    except ValidationError as error:
        faults = "; ".join(sentence(fault, Recipes) for fault in error.errors())
        raise ConfigurationError(f"{path or DEFAULTS}: {faults}") from error
    return recipe


def default_document() -> dict[str, Any]:
    """Return ``defaults.toml``."""
    return tomllib.loads(resources.files(__package__).joinpath(DEFAULTS).read_text(encoding="utf-8"))


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from error


def _overlaid(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table with the values of another in their places, tables within tables too."""
    merged = dict(below)
    for key, value in above.items():
        inner = merged.get(key)
        both = isinstance(inner, Mapping) and isinstance(value, Mapping)
        merged[key] = _overlaid(inner, value) if both else value  # type: ignore[arg-type]  # both are tables
    return merged
