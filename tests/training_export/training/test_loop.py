"""The training loop: it learns, repeats, chooses the best epoch, and goes on where it stopped (needs PyTorch)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra training)")

from tests.training_export.training.slices_of import stripes  # noqa: E402  # after the skip
from training_export.evaluation.discrimination import auc  # noqa: E402
from training_export.networks import SmallResidualNetwork, SResCNN  # noqa: E402
from training_export.training import loop  # noqa: E402
from training_export.training.checkpoint import Epoch, Progress  # noqa: E402
from training_export.training.loop import Fitted, Plan, Watcher, fit, patient_scores, slice_scores  # noqa: E402
from training_export.training.machine import Machine  # noqa: E402
from training_export.training.recipe import PatientScore, load_recipe  # noqa: E402
from training_export.training.refusal import Reason, TrainingRefusedError  # noqa: E402

pytestmark = pytest.mark.training
RECIPE = load_recipe("pet_ct_egfr").model_copy(update={"network": "small", "epochs": 4, "batch": 16, "threads": 1})
TRAINING, VALIDATION = stripes(40, seed=1), stripes(16, seed=2)
CPU = Machine("cpu")


def trained(seed: int = 3, make: Any = SmallResidualNetwork, checkpoint: Path | None = None, **other: Any) -> Fitted:
    plan = Plan(seed, CPU, checkpoint, other.pop("watcher", Watcher()))
    return fit(make, TRAINING, VALIDATION, RECIPE.model_copy(update=other), plan)


def weights(fitted: Fitted) -> bytes:
    return b"".join(value.numpy().tobytes() for value in fitted.network.state_dict().values())


@pytest.mark.parametrize("make", [SmallResidualNetwork, SResCNN])
def test_it_learns_and_repeats_bit_for_bit(make: Any) -> None:
    """With both networks; another seed gives other weights."""
    one, two = trained(make=make, epochs=6), trained(make=make, epochs=6)
    assert weights(one) == weights(two) != weights(trained(seed=4, make=make, epochs=6))
    _, labels, scores = patient_scores(slice_scores(one.network, VALIDATION, CPU), VALIDATION, RECIPE.patient)
    assert auc(labels, scores) >= 0.9
    assert one.history[-1].training_loss < one.history[0].training_loss
    assert not one.network.training


def test_the_epoch_with_the_least_validation_loss_is_kept() -> None:
    """The network that is returned has the loss that the history states for the best epoch."""
    fitted = trained(learning_rate=0.05, epochs=5)
    losses = [epoch.validation_loss for epoch in fitted.history]
    assert fitted.best_epoch == int(np.argmin(losses)) + 1
    _, labels, scores = patient_scores(slice_scores(fitted.network, VALIDATION, CPU), VALIDATION, RECIPE.patient)
    found = -np.log(np.where(labels == 1, scores, 1 - scores)).mean()
    assert found == pytest.approx(min(losses), rel=1e-5)


def test_without_validation_the_last_epoch_is_kept() -> None:
    fitted = fit(SmallResidualNetwork, TRAINING, None, RECIPE, Plan(0, CPU))
    assert fitted.best_epoch == RECIPE.epochs
    assert [epoch.validation_loss for epoch in fitted.history] == [None] * RECIPE.epochs


class Stops(Watcher):
    """Ends the training in the middle of an epoch."""

    def __init__(self, share: float) -> None:
        self._share = share

    def step(self, share: float) -> None:
        if share > self._share:
            raise KeyboardInterrupt


class Notes(Watcher):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.before: list[Epoch] = []
        self.shares: list[float] = []

    def resumed(self, history: Sequence[Epoch]) -> None:
        self.before = list(history)

    def step(self, share: float) -> None:
        self.shares.append(share)


@pytest.mark.parametrize("share", [0.1, 0.4, 0.6, 0.9])
def test_a_training_that_was_interrupted_ends_with_the_same_weights(tmp_path: Path, share: float) -> None:
    """In the first epoch or a later one; nothing but what was lost is done again."""
    whole, file = trained(), tmp_path / "state.pt"
    with pytest.raises(KeyboardInterrupt):
        trained(checkpoint=file, watcher=Stops(share))
    notes = Notes()
    assert weights(trained(checkpoint=file, watcher=notes)) == weights(whole)
    assert len(notes.before) == int(share * RECIPE.epochs)
    assert notes.shares[0] > len(notes.before) / RECIPE.epochs
    assert notes.shares[-1] == 1.0


def test_a_training_that_is_done_is_not_done_again(tmp_path: Path) -> None:
    file = tmp_path / "state.pt"
    first, notes = trained(checkpoint=file), Notes()
    again = trained(checkpoint=file, watcher=notes)
    assert weights(again) == weights(first)
    assert again.history == first.history
    assert notes.shares == []
    assert Progress.read(file).optimizer == {}


@pytest.mark.parametrize("content", [b"", b"damaged", b"PK\x03\x04"])
def test_a_damaged_state_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "state.pt"
    file.write_bytes(content)
    with pytest.raises(TrainingRefusedError, match="train anew"):
        trained(checkpoint=file)


def test_a_loss_that_is_no_number_ends_the_training() -> None:
    with pytest.raises(TrainingRefusedError, match="lower learning_rate") as refused:
        trained(learning_rate=1e30)
    assert refused.value.reason is Reason.DIVERGED


def test_patient_scores_are_of_the_slices_that_count() -> None:
    """Mean or median, as the recipe says."""
    slices = replace(stripes(2, slices=4), counted=np.array([1, 1, 1, 0] * 2, bool))
    scores = np.array([0.1, 0.2, 0.9, 1.0, 0.6, 0.6, 0.9, 0.0])
    for aggregate, wanted in (("mean", [0.4, 0.7]), ("median", [0.2, 0.6])):
        numbers, labels, found = patient_scores(scores, slices, PatientScore(aggregate=aggregate, cut_off=0.5))
        assert (numbers.tolist(), labels.tolist()) == ([0, 1], [0, 1])
        np.testing.assert_allclose(found, wanted)


def test_training_sees_balanced_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a set with one positive in five, half of what is seen is positive."""
    seen: list[int] = []
    real = loop.LOSSES["cross_entropy"]

    def noted(logits: Any, targets: Any, smoothing: float) -> Any:
        seen.extend(targets[:, 1].int().tolist())
        return real(logits, targets, smoothing)

    monkeypatch.setitem(loop.LOSSES, "cross_entropy", noted)
    uneven = TRAINING.of([p for p in range(40) if p % 2 == 0 or p % 5 == 0])
    fit(SmallResidualNetwork, uneven, None, RECIPE.model_copy(update={"epochs": 1}), Plan(0, CPU))
    assert uneven.label.mean() < 0.2
    assert np.mean(seen) == pytest.approx(0.5, abs=0.02)


def test_a_cpu_computes_in_full_and_a_gpu_that_is_not_there_is_said() -> None:
    machine = Machine.chosen("cpu", mixed_precision=True)
    assert machine == Machine("cpu", mixed_precision=False)
    with machine.precision():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    with Machine("cpu", mixed_precision=True).precision():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    if not torch.cuda.is_available():
        assert Machine.chosen("auto", mixed_precision=True).device == "cpu"
        with pytest.raises(Exception, match="--device cuda"):
            Machine.chosen("cuda", mixed_precision=True)
