"""The device that trains, and how exactly it computes."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import torch

from egfr_dls.errors import UsageError

CHOICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class Machine:
    """A device by its name in PyTorch. On a CPU the same seed and number of threads give the same weights."""

    device: str
    mixed_precision: bool = False

    @staticmethod
    def chosen(wanted: str, *, mixed_precision: bool) -> Machine:
        """Return what ``--device`` names; ``auto`` is a GPU where there is one."""
        there = torch.cuda.is_available()
        if wanted == "cuda" and not there:
            raise UsageError("--device cuda: PyTorch finds no GPU here; needed: a GPU and a build of PyTorch for it")
        device = "cuda" if wanted != "cpu" and there else "cpu"
        return Machine(device, mixed_precision and device == "cuda")

    def prepare(self, threads: int) -> None:
        """Set how this process computes."""
        torch.set_num_threads(threads)
        # On a GPU this would need a setting of its driver and forbid some kernels: there a second run may differ in last digits.
        torch.use_deterministic_algorithms(mode=self.device == "cpu")

    def precision(self) -> contextlib.AbstractContextManager[Any]:
        """Return the context of a forward pass: bfloat16, whose range needs no scaled gradients, or float32 throughout."""
        context: contextlib.AbstractContextManager[Any] = torch.autocast(
            self.device, dtype=torch.bfloat16, enabled=self.mixed_precision
        )
        return context
