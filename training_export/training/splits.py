"""Who trains, who chooses the epoch, who is only measured on: by patient, stratified by label; needs no PyTorch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from training_export.training.refusal import Reason, TrainingRefusedError

Labels = NDArray[np.int64]
CLASSES = (0, 1)


@dataclass(frozen=True)
class Split:
    """Patients by index. No patient can stand in two parts: such a split cannot be made."""

    training: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a patient who would train and be measured on."""
        seen = Counter(patient for part in PARTS for patient in getattr(self, part))
        twice = [patient for patient, count in seen.items() if count > 1]
        if twice:
            raise TrainingRefusedError(
                Reason.PATIENT_IN_TWO_SPLITS, f"patient number {min(twice)} stands in two parts; needed: one"
            )


PARTS = tuple(field.name for field in fields(Split))


def hold_out(labels: Labels, validation: float, test: float, rng: np.random.Generator) -> Split:
    """Return a random split in which every part has its share of either class, and at least one patient of it.

    Parameters
    ----------
    labels
        0 or 1 of every patient
    validation, test
        shares of the patients

    Raises
    ------
    TrainingRefusedError
        so large shares of so few patients leave none of a class to train
    """
    parts: dict[str, list[int]] = {part: [] for part in PARTS}
    for of_class in _shuffled(labels, len(PARTS), rng):
        n_validation, n_test = (max(1, round(len(of_class) * share)) for share in (validation, test))
        parts["validation"] += of_class[:n_validation]
        parts["test"] += of_class[n_validation : n_validation + n_test]
        parts["training"] += of_class[n_validation + n_test :]
    _check_classes(labels[parts["training"]], 1, f"are left to train (validation {validation:g}, test {test:g})")
    return Split(**{part: tuple(sorted(patients)) for part, patients in parts.items()})


def folds(labels: Labels, count: int, rng: np.random.Generator) -> tuple[Split, ...]:
    """Return ``count`` splits: every patient validates once, and each fold has its share of either class."""
    dealt = [patient for of_class in _shuffled(labels, count, rng) for patient in of_class]
    hands = [tuple(sorted(dealt[number::count])) for number in range(count)]
    everyone = set(dealt)
    return tuple(Split(training=tuple(sorted(everyone - set(hand))), validation=hand) for hand in hands)


def stated(names: Sequence[str], labels: Labels, parts: Mapping[str, str]) -> Split:
    """Return the split that the data state, patient by patient.

    Raises
    ------
    TrainingRefusedError
        a patient has no part, a part is unknown or lacks a class
    """
    found: dict[str, list[int]] = {part: [] for part in PARTS}
    for patient, name in enumerate(names):
        part = parts.get(name, "")
        if part not in found:
            raise TrainingRefusedError(
                Reason.DATA_UNREADABLE, f"patient {name}: split {part or 'is missing'}; needed: {', '.join(PARTS)}"
            )
        found[part].append(patient)
    for part, patients in found.items():
        _check_classes(labels[patients], 1, f"of the stated split, part {part}")
    return Split(**{part: tuple(patients) for part, patients in found.items()})


def check_numbers(labels: Labels, least: int) -> None:
    """Refuse data with one class only, or with fewer patients of a class than would mean anything."""
    _check_classes(labels, least, "of the data")


def _check_classes(labels: Labels, least: int, where: str) -> None:
    counts = {c: int((labels == c).sum()) for c in CLASSES}
    if sum(counts.values()) > 0 and 0 in counts.values():
        only = next(c for c, n in counts.items() if n)
        raise TrainingRefusedError(
            Reason.ONE_CLASS,
            f"every one of the {counts[only]} patients {where} has the label {only}; needed: both labels",
        )
    if min(counts.values()) < least:
        raise TrainingRefusedError(
            Reason.TOO_FEW_PATIENTS,
            f"{sum(counts.values())} patients {where}: {counts[0]} with label 0, {counts[1]} with label 1; needed: at "
            f"least {least} of either",
        )


def _shuffled(labels: Labels, least: int, rng: np.random.Generator) -> list[list[int]]:
    """Return the patients of each class in random order; every part needs one of each."""
    check_numbers(labels, least)
    return [rng.permutation(np.flatnonzero(labels == c)).tolist() for c in CLASSES]
