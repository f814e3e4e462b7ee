"""What training makes small: functions of logits ``[n, 2]`` and targets ``[n, 2]`` that sum to 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

Tensor = Any  # torch is an optional dependency, so the type checker does not know it
EPSILON = 1e-7


def cross_entropy(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Return the mean cross-entropy."""
    return functional.cross_entropy(logits, targets, label_smoothing=smoothing)


def soft_f1(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Return 1 - F1 with probabilities in the place of counts, mean of both classes.

    F1 = 2 TP / (2 TP + FP + FN), and 2 TP + FP + FN is what is said plus what is true.
    """
    probabilities = torch.softmax(logits, dim=1)
    truth = targets * (1 - smoothing) + smoothing / targets.shape[1]
    agreed = (probabilities * truth).sum(dim=0)
    f1 = 2 * agreed / (probabilities.sum(dim=0) + truth.sum(dim=0) + EPSILON)
    return 1 - f1.mean()


LOSSES: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {"cross_entropy": cross_entropy, "soft_f1": soft_f1}
