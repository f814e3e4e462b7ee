"""What a training knows after an epoch, in one file that a crash leaves whole."""

from __future__ import annotations

from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

import torch

from egfr_dls.atomic_file import SHARED, atomic_file
from training_export.training.refusal import Reason, TrainingRefusedError

State = dict[str, Any]


@dataclass(frozen=True)
class Epoch:
    """What one pass gave; the validation figures are of patient scores, and None where nobody validates."""

    number: int
    training_loss: float
    validation_loss: float | None
    validation_auc: float | None
    seconds: float


@dataclass
class Progress:
    """The state between two epochs: all that the rest of a training depends on, besides seed, data and recipe.

    ``network`` and ``optimizer`` are empty once the last epoch is done; ``best`` are the weights that are kept.
    """

    history: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0
    best: State = field(default_factory=dict)
    network: State = field(default_factory=dict)
    optimizer: State = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write the file anew, as a whole."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path, SHARED) as file:
            torch.save({**vars(self), "history": [astuple(epoch) for epoch in self.history]}, file)

    @staticmethod
    def read(path: Path) -> Progress:
        """Read what ``write`` wrote; nothing in the file is run as code."""
        try:
            stored = torch.load(path, map_location="cpu", weights_only=True)
            return Progress(**{**stored, "history": [Epoch(*values) for values in stored["history"]]})
        except Exception as error:  # torch raises a dozen unrelated classes for a bad file
            raise TrainingRefusedError(
                Reason.DATA_UNREADABLE,
                f"{path} is not a state of training ({type(error).__name__}); remove the folder of the run and train anew",
            ) from error
