"""The networks for hyper-images (needs PyTorch)."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra training)")

from training_export.networks import ServedNetwork, SmallResidualNetwork, SResCNN  # noqa: E402  # after the skip

pytestmark = pytest.mark.training
BOTH = pytest.mark.parametrize("make", [SmallResidualNetwork, SResCNN])


def images() -> Any:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_the_demonstration_network_is_small() -> None:
    """As docs/demonstration-networks.md says."""
    assert sum(p.numel() for p in SmallResidualNetwork().parameters()) == 96_082


def test_srescnn_has_256_features_on_8x8_places() -> None:
    """What the paper prints of its network (docs/reference/science.md A8)."""
    network = SResCNN()
    assert network.features(images()).shape == (2, 256, 8, 8)
    assert network.linear()[0].shape == (2, 256)


@BOTH
def test_maps_are_eight_by_eight_and_their_mean_decides(make: Any) -> None:
    """softmax of the maps' spatial means is the probability."""
    served = ServedNetwork(make()).eval()
    with torch.inference_mode():
        prob, cam = served(images())
    assert cam.shape == (2, 2, 8, 8)
    torch.testing.assert_close(prob, torch.softmax(cam.mean((2, 3)), dim=1))


@BOTH
def test_planes_are_the_stacked_channels(make: Any) -> None:
    """Three one-channel inputs give what one three-channel input gives."""
    network = make().eval()
    with torch.inference_mode():
        assert torch.equal(network(images()), network(*images().split(1, dim=1)))
