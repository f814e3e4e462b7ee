"""What a layer's handler is given, and what every handler may ask of its input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from training_export.keras_import.graph import GraphWriter, Tensor
from training_export.keras_import.options import Options
from training_export.keras_import.weights import LayerWeights
from training_export.network_refusal import NetworkRefusedError, Reason


@dataclass(frozen=True, eq=False)
class Site:
    """One layer at work: the graph to write to, its options and its weights."""

    graph: GraphWriter
    options: Options
    weights: LayerWeights

    def one(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return the only input."""
        if len(inputs) != 1:
            raise NetworkRefusedError(
                Reason.NOT_SUPPORTED, f"{self.options.label}: given {len(inputs)} tensors; needed: one"
            )
        return inputs[0]

    def map_of(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return the only input, which has rows and columns."""
        return self._shaped(self.one(inputs), True, "an image or a map [rows, columns, channels]")

    def features_of(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return the only input, which is a list of features."""
        return self._shaped(self.one(inputs), False, "a list of features; put Flatten or global pooling before it")

    def _shaped(self, tensor: Tensor, is_map: bool, needed: str) -> Tensor:
        if tensor.is_map != is_map:
            raise NetworkRefusedError(
                Reason.NOT_SUPPORTED, f"{self.options.label}: given {list(tensor.shape)}; needed: {needed}"
            )
        return tensor


Handler = Callable[[Site, Sequence[Tensor]], Tensor]
