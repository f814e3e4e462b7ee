"""Starting from given weights: torchvision's names, and nothing in a file is ever run (needs PyTorch)."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra training)")

from tests.training_export.training.safetensors import file_of, parts  # noqa: E402  # after the skip
from training_export.resnet50 import ResNet50  # noqa: E402
from training_export.training.refusal import Reason, TrainingRefusedError  # noqa: E402
from training_export.training.transfer import read_weights, start_from  # noqa: E402

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def imagenet() -> dict[str, Any]:
    """Weights such as torchvision publishes: 1000 classes."""
    torch.manual_seed(7)
    return dict(ResNet50(classes=1000).state_dict())


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_everything_but_the_last_layer_is_taken(tmp_path: Path, imagenet: dict[str, Any], suffix: str) -> None:
    file = tmp_path / f"resnet50{suffix}"
    if suffix == ".pth":
        torch.save(imagenet, file)
    else:
        file.write_bytes(file_of(*parts({name: value.numpy() for name, value in imagenet.items()})))
    network = ResNet50()
    head = network.fc.weight.clone()
    start_from(network, read_weights(file), file.name)
    for name, value in network.state_dict().items():
        if not name.startswith("fc."):
            assert torch.equal(value, imagenet[name]), name
    assert torch.equal(network.fc.weight, head)


def test_old_files_without_counters_fit(imagenet: dict[str, Any]) -> None:
    """resnet50-19c8e357.pth of 2017 has none."""
    old = {name: value for name, value in imagenet.items() if not name.endswith("num_batches_tracked")}
    network = ResNet50()
    start_from(network, old, "old")
    assert torch.equal(network.layer3[2].conv2.weight, imagenet["layer3.2.conv2.weight"])


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("layer1.0.conv1.weight", None, "layer1.0.conv1.weight is missing"),
        ("layer1.0.conv1.weight", torch.zeros(64, 64, 3, 3), "not"),
        ("layer1.0.conv1.weight", torch.full((64, 64, 1, 1), float("nan")), "NaN"),
        ("module.conv1.weight", torch.zeros(1), "has no place"),
    ],
)
def test_weights_of_another_network_are_refused(imagenet: dict[str, Any], name: str, value: Any, named: str) -> None:
    other = {**imagenet, name: value} if value is not None else {k: v for k, v in imagenet.items() if k != name}
    with pytest.raises(TrainingRefusedError, match=named) as refused:
        start_from(ResNet50(), other, "other.pth")
    assert refused.value.reason is Reason.WEIGHTS_DISAGREE


class Hostile:
    """Unpickled, it makes a folder."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self._mark),)


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_code_in_a_file_is_not_run(tmp_path: Path, how: str) -> None:
    """The file would be run by an ordinary load, and is refused without."""
    mark, file = tmp_path / "was-run", tmp_path / "weights.pth"
    if how == "torch":
        torch.save({"conv1.weight": Hostile(mark)}, file)
    else:
        file.write_bytes(pickle.dumps(Hostile(mark)))
    with pytest.raises(TrainingRefusedError, match="Nothing in it was run") as refused:
        read_weights(file)
    assert refused.value.reason is Reason.WEIGHTS_UNSAFE
    assert not mark.exists()


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    torch.save(ResNet50(), tmp_path / "model.pth")
    with pytest.raises(TrainingRefusedError, match="needed: a state dict"):
        read_weights(tmp_path / "model.pth")


def test_what_is_no_state_dict_or_damaged_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.pth"
    torch.save([torch.zeros(3)], file)
    with pytest.raises(TrainingRefusedError, match="holds list"):
        read_weights(file)
    torch.save({"a": torch.zeros(3), "epoch": 3}, file)
    with pytest.raises(TrainingRefusedError, match="holds dict"):
        read_weights(file)
    for content in (b"", b"no weights", file.read_bytes()[:-200]):
        file.write_bytes(content)
        with pytest.raises(TrainingRefusedError):
            read_weights(file)
