"""ResNet-50 has the names, shapes and numbers of torchvision's (needs PyTorch)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra training)")

from training_export.resnet50 import ResNet50  # noqa: E402  # after the skip

pytestmark = pytest.mark.training
BATCH_NORM = ("weight", "bias")
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def convolutions() -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Yield name, name of the normalisation after it, and shape, as torchvision's resnet50 has them."""
    yield "conv1", "bn1", (64, 3, 7, 7)
    channels = 64
    for layer, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), 1):
        for block in range(blocks):
            stem = f"layer{layer}.{block}"
            yield f"{stem}.conv1", f"{stem}.bn1", (width, channels, 1, 1)
            yield f"{stem}.conv2", f"{stem}.bn2", (width, width, 3, 3)
            yield f"{stem}.conv3", f"{stem}.bn3", (4 * width, width, 1, 1)
            if block == 0:
                yield f"{stem}.downsample.0", f"{stem}.downsample.1", (4 * width, channels, 1, 1)
            channels = 4 * width


def test_parameters_and_buffers_have_torchvisions_names_and_shapes() -> None:
    """161 parameters and 159 buffers; 25,557,032 numbers with ImageNet's 1000 classes, as torchvision documents."""
    network = ResNet50(classes=1000)
    parameters = {f"{name}.weight": shape for name, _, shape in convolutions()}
    parameters |= {f"{name}.{part}": shape[:1] for _, name, shape in convolutions() for part in BATCH_NORM}
    parameters |= {"fc.weight": (1000, 2048), "fc.bias": (1000,)}
    assert {name: tuple(p.shape) for name, p in network.named_parameters()} == parameters
    assert len(parameters) == 161
    buffers = {f"{name}.{part}" for _, name, _ in convolutions() for part in STATISTICS}
    assert {name for name, _ in network.named_buffers()} == buffers
    assert len(buffers) == 159
    assert sum(p.numel() for p in network.parameters()) == 25_557_032


def test_the_stride_lies_in_the_3x3_convolution() -> None:
    """As torchvision's (version 1.5); published weights were trained so."""
    network = ResNet50()
    for layer in (network.layer2, network.layer3, network.layer4):
        assert (layer[0].conv1.stride, layer[0].conv2.stride, layer[1].conv2.stride) == ((1, 1), (2, 2), (1, 1))
    assert network.layer1[0].conv2.stride == (1, 1)


def test_the_maps_mean_is_the_fully_connected_layer_of_the_features_mean() -> None:
    """So the class map is the evidence, and torchvision's forward pass is the same number."""
    network = ResNet50().eval()
    image = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        maps = network(image)
        assert maps.shape == (2, 2, 3, 3)
        direct = network.fc(network.features(image).mean((2, 3)))
        torch.testing.assert_close(network.logits(image), direct, atol=1e-5, rtol=1e-5)
