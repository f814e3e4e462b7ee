"""The losses against worked values (needs PyTorch)."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra training)")

from training_export.training.losses import LOSSES  # noqa: E402  # after the skip

pytestmark = pytest.mark.training
TRUTH = torch.tensor([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])


def logits_of(positive: list[float]) -> object:
    p = torch.tensor(positive)
    return torch.log(torch.stack([1 - p, p], dim=1))


def test_soft_f1_by_hand() -> None:
    """Positives 0.9 and 0.6, negatives 0.2 and 0.1: F1 of 1 is 2 x 1.5 / (1.8 + 2), of 0 is 2 x 1.7 / (2.2 + 2)."""
    loss = LOSSES["soft_f1"](logits_of([0.9, 0.6, 0.2, 0.1]), TRUTH, 0.0)
    assert float(loss) == pytest.approx(1 - (3.0 / 3.8 + 3.4 / 4.2) / 2, abs=1e-6)


def test_soft_f1_of_decided_answers_is_that_of_counts() -> None:
    """One of two positives found, no false alarm: F1 is 2/3 of the positives and 4/5 of the negatives."""
    loss = LOSSES["soft_f1"](logits_of([1 - 1e-6, 1e-6, 1e-6, 1e-6]), TRUTH, 0.0)
    assert float(loss) == pytest.approx(1 - (2 / 3 + 4 / 5) / 2, abs=1e-4)


def test_cross_entropy_by_hand() -> None:
    loss = LOSSES["cross_entropy"](logits_of([0.9, 0.6, 0.2, 0.1]), TRUTH, 0.0)
    assert float(loss) == pytest.approx(-np.log([0.9, 0.6, 0.8, 0.9]).mean(), abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_falls_towards_the_truth_and_takes_shares(name: str) -> None:
    """Its gradient is a number, for mixed targets too."""
    good, bad = logits_of([0.9, 0.9, 0.1, 0.1]), logits_of([0.4, 0.4, 0.6, 0.6])
    assert float(LOSSES[name](good, TRUTH, 0.0)) < float(LOSSES[name](bad, TRUTH, 0.0))
    logits = torch.randn(4, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    LOSSES[name](logits, 0.7 * TRUTH + 0.3 * TRUTH.flip(0), 0.1).backward()
    assert torch.isfinite(logits.grad).all()
    assert float(logits.grad.abs().max()) > 0
