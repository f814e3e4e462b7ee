"""Starts a network from given weights: torchvision's ResNet-50, as safetensors or as a PyTorch file of tensors alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from training_export.import_limits import MAX_FILE_BYTES
from training_export.resnet50 import ResNet50
from training_export.training.refusal import Reason, TrainingRefusedError
from training_export.training.safetensors_file import read_safetensors

SAFETENSORS = ".safetensors"
LAST_LAYER = ("fc.weight", "fc.bias")  # of ImageNet's classes: begun anew
COUNTER = ".num_batches_tracked"  # missing in files of the first years
Tensor = Any  # torch is an optional dependency, so the type checker does not know it


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name; code in the file is never run.

    Raises
    ------
    TrainingRefusedError
        the file holds something else than tensors, or is damaged
    """
    if path.suffix == SAFETENSORS:
        return {name: torch.from_numpy(array.copy()) for name, array in read_safetensors(path).items()}
    if path.stat().st_size > MAX_FILE_BYTES:
        raise TrainingRefusedError(Reason.WEIGHTS_UNSAFE, f"{path.name}: needed: at most {MAX_FILE_BYTES} bytes")
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen unrelated classes for a bad file
        raise TrainingRefusedError(
            Reason.WEIGHTS_UNSAFE,
            f"{path.name}: {type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else 'unreadable'}; "
            "needed: a state dict of tensors (torch.save(model.state_dict(), …)) or a safetensors file. Nothing in it was run",
        ) from error
    if not isinstance(stored, Mapping) or not all(isinstance(value, torch.Tensor) for value in stored.values()):
        raise TrainingRefusedError(
            Reason.WEIGHTS_UNSAFE, f"{path.name} holds {type(stored).__name__}; needed: a state dict, tensors by name"
        )
    return {str(name): value for name, value in stored.items()}


def start_from(network: ResNet50, weights: Mapping[str, Tensor], source: str) -> None:
    """Put given weights into a network, all but those of its last layer.

    Raises
    ------
    TrainingRefusedError
        a weight is missing, has another shape, is no number, or has no place in the network
    """
    own = network.state_dict()
    foreign = [name for name in weights if name not in own]
    if foreign:
        raise _disagree(source, f"{foreign[0][:80]} ({len(foreign)} such in all) has no place in a ResNet-50")
    wanted = [name for name in own if name not in LAST_LAYER and not (name.endswith(COUNTER) and name not in weights)]
    for name in wanted:
        if name not in weights:
            raise _disagree(source, f"{name} is missing")
        _check(source, name, weights[name], own[name])
    network.load_state_dict({**own, **{name: weights[name].to(own[name].dtype) for name in wanted}})


def _check(source: str, name: str, given: Tensor, own: Tensor) -> None:
    if given.shape != own.shape:
        raise _disagree(source, f"{name} is {list(given.shape)}, not {list(own.shape)}")
    if not torch.isfinite(given).all():
        raise _disagree(source, f"{name} holds NaN or infinity")


def _disagree(source: str, what: str) -> TrainingRefusedError:
    return TrainingRefusedError(
        Reason.WEIGHTS_DISAGREE, f"{source}: {what}; needed: the weights of torchvision's resnet50"
    )
