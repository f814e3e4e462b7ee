"""The network and its training loop (needs PyTorch)."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra training)")

from training_export.dataset import Examples  # noqa: E402  # after the skip
from training_export.networks import SmallResidualNetwork  # noqa: E402
from training_export.train import Epoch, TrainingSettings, patient_scores, train  # noqa: E402

pytestmark = pytest.mark.training


def _stripes(n: int, seed: int) -> Examples:
    """Return images whose label is the direction of their stripes in the CT channel."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    stripes = np.sin(np.arange(64) * 0.8)
    images = rng.standard_normal((n, 3, 64, 64)).astype(np.float32)
    images[:, 1] += np.where(labels[:, None, None] == 1, 2 * stripes[None, :, None] * stripes[None, None, :], 0).astype(
        np.float32
    )
    return Examples(images, labels, 1 - labels, np.arange(n), np.ones(n, np.bool_))


def test_network_is_small_and_its_map_is_eight_by_eight() -> None:
    """Under 1 MB of float32, and the grid that the class maps need."""
    network = SmallResidualNetwork()
    assert sum(p.numel() for p in network.parameters()) * 4 < 1_000_000
    assert network(torch.zeros(2, 3, 64, 64)).shape == (2, 2, 8, 8)


def test_planes_are_the_stacked_channels() -> None:
    """Three one-channel inputs give what one three-channel input gives."""
    network = SmallResidualNetwork().eval()
    image = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(network(image), network(*image.split(1, dim=1)))


def test_training_learns_and_repeats() -> None:
    """A pattern is learnt in a few epochs; the same seed gives the same scores; the other task has other labels."""
    training, validation = _stripes(128, 1), _stripes(32, 2)
    settings = TrainingSettings(epochs=4, batch=16, seed=3)
    epochs: list[Epoch] = []
    networks = [train(training, validation, "egfr", settings, epochs.append) for _ in range(2)]
    (labels, one), (_, two) = (patient_scores(n, validation, "egfr") for n in networks)
    np.testing.assert_array_equal(one, two)
    assert ((one >= 0.5) == labels).mean() >= 0.9
    assert epochs[3].training_loss < epochs[0].training_loss
    assert not np.array_equal(labels, patient_scores(networks[0], validation, "pdl1")[0])
