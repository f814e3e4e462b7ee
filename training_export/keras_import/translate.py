"""A Keras file as an ONNX network: the layers in the order in which they need one another, each by its handler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx

from training_export.keras_import.architecture import INPUT, Layer, Model, Ref, read_model
from training_export.keras_import.container import KerasFile
from training_export.keras_import.graph import GraphWriter, Tensor
from training_export.keras_import.layers.contract import Site
from training_export.keras_import.layers.table import HANDLERS, REASONS
from training_export.keras_import.options import MAX_STEP, Options
from training_export.keras_import.weights import Claims, LayerWeights
from training_export.network_inputs import input_names
from training_export.network_refusal import NetworkRefusedError, Reason

INPUT_OPTIONS = {"batch_input_shape", "dtype", "sparse", "ragged", "name", "input_tensor", "optional"}


def translate(file: KerasFile) -> onnx.ModelProto:
    """Return the network with inputs ``[N, channels, rows, columns]`` and the output ``prob`` ``[N, classes]``.

    Raises
    ------
    NetworkRefusedError
        a layer or an option is not known, or weights and architecture disagree
    """
    model = read_model(file.config)
    shapes = [_input_shape(model.layers[ref.layer]) for ref in _input_layers(model)]
    graph = GraphWriter(dict(zip(input_names(shapes), shapes, strict=True)))
    if len(model.outputs) != 1:
        raise NetworkRefusedError(Reason.NOT_SUPPORTED, f"the network has {len(model.outputs)} outputs; needed: one")
    claims = Claims(file.weights)
    output = _Walk(graph, claims).run(model, (), graph.inputs)
    claims.refuse_leftovers()
    if output.is_map:
        raise NetworkRefusedError(
            Reason.NOT_SUPPORTED, f"the output is a map {list(output.shape)}; needed: one number for each class"
        )
    return graph.model(output)


class _Walk:
    """Goes through models and the models within them."""

    def __init__(self, graph: GraphWriter, claims: Claims) -> None:
        self._graph = graph
        self._claims = claims

    def run(self, model: Model, path: tuple[str, ...], given: Sequence[Tensor]) -> Tensor:
        """Write a model that is given these tensors, and return its output."""
        if len(given) != len(model.inputs) or len(model.outputs) != 1:
            raise NetworkRefusedError(
                Reason.NOT_SUPPORTED,
                f"model {model.name[:200]}: {len(model.inputs)} inputs, {len(model.outputs)} outputs, given {len(given)} "
                "tensors; needed: as many as it has inputs, and one output",
            )
        results: dict[Ref, Tensor] = dict(zip(_input_layers(model), given, strict=True))
        for ref in model.calls_in_order():
            if ref not in results:
                inputs = [results[need] for need in model.needs(ref)]
                results[ref] = self._call(model.layers[ref.layer], path, inputs)
        return results[model.outputs[0]]

    def _call(self, layer: Layer, path: tuple[str, ...], inputs: Sequence[Tensor]) -> Tensor:
        if layer.model is not None:
            return self.run(layer.model, (*path, layer.name), inputs)
        label = f"layer {'/'.join((*path, layer.name))[:200]} ({layer.class_name[:80]})"
        handler = HANDLERS.get(layer.class_name)
        if handler is None:
            why = REASONS.get(layer.class_name, "this version does not know it")
            raise NetworkRefusedError(Reason.NOT_SUPPORTED, f"{label} cannot be imported: {why}")
        self._graph.label = label
        options = Options(label, layer.config)
        weights = LayerWeights(self._claims, (*path, layer.name))
        result = handler(Site(self._graph, options, weights), inputs)
        options.finish()
        return result


def _input_layers(model: Model) -> tuple[Ref, ...]:
    """Return the inputs, each of which must be an InputLayer."""
    for ref in model.inputs:
        if ref.layer not in model.layers or model.layers[ref.layer].class_name != INPUT:
            raise NetworkRefusedError(Reason.FILE_UNREADABLE, f"the input {ref.layer[:200]!r} is no {INPUT}")
    return model.inputs


def _input_shape(layer: Layer) -> tuple[int, int, int]:
    config: Mapping[str, Any] = layer.config
    unknown = sorted(set(config) - INPUT_OPTIONS)
    if unknown or any(config.get(key) for key in ("sparse", "ragged", "input_tensor", "optional")):
        raise NetworkRefusedError(
            Reason.NOT_SUPPORTED, f"input {layer.name[:200]}: {str(dict(config))[:200]}; needed: a plain image"
        )
    if config.get("dtype") not in (None, "float32"):
        raise NetworkRefusedError(
            Reason.NOT_SUPPORTED, f"input {layer.name[:200]}: dtype is {str(config['dtype'])[:80]}; needed: 'float32'"
        )
    match config.get("batch_input_shape"):
        case [_, int(rows), int(columns), int(channels)] if (
            min(rows, columns, channels) >= 1 and max(rows, columns, channels) <= MAX_STEP
        ):
            return channels, rows, columns
    raise NetworkRefusedError(
        Reason.NOT_SUPPORTED,
        f"input {layer.name[:200]}: batch_input_shape is {str(config.get('batch_input_shape'))[:80]}; needed: "
        "[null, rows, columns, channels], all stated",
    )
