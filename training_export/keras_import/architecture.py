"""The architecture of a Keras file as a graph: functional and sequential models, models within models, shared layers.

Nothing of the layers' own options is looked at here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any, NoReturn

from training_export.import_limits import MAX_MODEL_DEPTH, MAX_NAMES
from training_export.network_refusal import NetworkRefusedError, Reason

FUNCTIONAL = ("Model", "Functional")  # the class's name before and since Keras 2.4
SEQUENTIAL = "Sequential"
INPUT = "InputLayer"
HARMLESS_ARGUMENTS: tuple[dict[str, bool | None], ...] = ({}, {"training": None}, {"training": False})


@dataclass(frozen=True)
class Ref:
    """The output of one call of a layer."""

    layer: str
    call: int


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer and each of its calls: whose outputs it was given. A model within the model has ``model``."""

    name: str
    class_name: str
    config: Mapping[str, Any]
    calls: tuple[tuple[Ref, ...], ...]
    model: Model | None


@dataclass(frozen=True, eq=False)
class Model:
    """Layers by name, and which of them take the images and give the answer."""

    name: str
    layers: Mapping[str, Layer]
    inputs: tuple[Ref, ...]
    outputs: tuple[Ref, ...]

    def calls_in_order(self) -> list[Ref]:
        """Return the calls that the outputs need, each after those that it needs itself."""
        needs: dict[Ref, tuple[Ref, ...]] = {}
        ahead = list(self.outputs)
        while ahead:
            ref = ahead.pop()
            if ref not in needs:
                needs[ref] = self.needs(ref)
                ahead.extend(needs[ref])
        try:
            return list(TopologicalSorter(needs).static_order())
        except CycleError as error:
            names = " -> ".join(ref.layer for ref in error.args[1][:6])
            raise NetworkRefusedError(Reason.FILE_UNREADABLE, f"the layers go round in a circle: {names}") from error

    def needs(self, ref: Ref) -> tuple[Ref, ...]:
        """Return what a call was given."""
        layer = self.layers.get(ref.layer)
        if layer is None:
            _unreadable(f"model {self.name}: a layer {ref.layer[:200]!r} is used that is not there")
        if layer.class_name == INPUT:
            return ()
        if not 0 <= ref.call < len(layer.calls):
            _unreadable(f"model {self.name}: call {ref.call} of layer {layer.name} is used, of {len(layer.calls)}")
        return layer.calls[ref.call]


def read_model(document: Mapping[str, Any]) -> Model:
    """Return the model that ``model_config`` states.

    Raises
    ------
    NetworkRefusedError
        it is no functional or sequential model, or its layers do not fit together
    """
    return _model(document, "model_config", 0)


def _model(document: Any, where: str, depth: int) -> Model:
    if depth > MAX_MODEL_DEPTH:
        raise NetworkRefusedError(Reason.LIMIT_EXCEEDED, f"{where}: models lie {depth} deep within one another")
    class_name = _value(document, "class_name", str, where)
    if class_name in FUNCTIONAL:
        return _functional(_value(document, "config", dict, where), where, depth)
    if class_name == SEQUENTIAL:
        return _sequential(_value(document, "config", (list, dict), where), where, depth)
    raise NetworkRefusedError(
        Reason.NOT_SUPPORTED, f"{where} is a {class_name[:80]!r}; needed: {', '.join(FUNCTIONAL)} or {SEQUENTIAL}"
    )


# --- functional models ------------------------------------------------------------------------------------------------


def _functional(config: Mapping[str, Any], where: str, depth: int) -> Model:
    name = _value(config, "name", str, where)
    documents = _documents(_value(config, "layers", list, where), where)
    layers = {}
    for document in documents:
        layer_name = _value(document, "name", str, f"{where}: a layer")
        if layer_name in layers:
            _unreadable(f"{where}: two layers are named {layer_name[:200]!r}")
        layers[layer_name] = _layer(document, layer_name, depth)
    raw = [ref for document in documents for call in _calls(document) for ref in call]
    ends = {key: _references(_value(config, key, list, where), where) for key in ("input_layers", "output_layers")}
    first = _first_calls(layers, [*raw, *ends["output_layers"]])

    def shifted(refs: Sequence[Ref]) -> tuple[Ref, ...]:
        return tuple(Ref(ref.layer, ref.call - first.get(ref.layer, 0)) for ref in refs)

    wired = {
        layer.name: Layer(layer.name, layer.class_name, layer.config, tuple(map(shifted, layer.calls)), layer.model)
        for layer in layers.values()
    }
    return Model(name, wired, shifted(ends["input_layers"]), shifted(ends["output_layers"]))


def _layer(document: Mapping[str, Any], name: str, depth: int) -> Layer:
    class_name = _value(document, "class_name", str, f"layer {name}")
    if class_name in (*FUNCTIONAL, SEQUENTIAL):
        model = _model(document, f"model {name}", depth + 1)
        return Layer(name, class_name, {}, _calls(document), model)
    config = _value(document, "config", dict, f"layer {name}")
    return Layer(name, class_name, config, _calls(document), None)


def _first_calls(layers: Mapping[str, Layer], refs: Sequence[Ref]) -> dict[str, int]:
    """Return the number of each nested model's first call: 1, where node 0 is its definition, unless 0 is used."""
    used: dict[str, set[int]] = {}
    for ref in refs:
        used.setdefault(ref.layer, set()).add(ref.call)
    return {
        name: 1
        for name, layer in layers.items()
        if layer.model is not None and layer.class_name != INPUT and 0 not in used.get(name, {0})
    }


def _calls(document: Mapping[str, Any]) -> tuple[tuple[Ref, ...], ...]:
    where = f"layer {document.get('name')}: inbound_nodes"
    nodes = _value(document, "inbound_nodes", list, where)
    if len(nodes) > MAX_NAMES:
        raise NetworkRefusedError(Reason.LIMIT_EXCEEDED, f"{where}: the layer is called {len(nodes)} times")
    return tuple(_references(node, where) for node in nodes)


def _references(items: Any, where: str) -> tuple[Ref, ...]:
    """Return ``[[layer, node, tensor, arguments], ...]`` (one entry may stand without the outer list) as references."""
    if not isinstance(items, list):
        raise NetworkRefusedError(
            Reason.NOT_SUPPORTED, f"{where} is a {type(items).__name__}; needed: lists, as Keras 2 writes them"
        )
    entries = [items] if items and isinstance(items[0], str) else items
    return tuple(_reference(entry, where) for entry in entries)


def _reference(entry: Any, where: str) -> Ref:
    match entry:
        case [str(layer), int(node), int(tensor), *arguments] if len(arguments) <= 1:
            if tensor != 0:
                raise NetworkRefusedError(
                    Reason.NOT_SUPPORTED, f"{where}: output {tensor} of {layer[:200]} is used; needed: its only one"
                )
            if arguments and arguments[0] not in HARMLESS_ARGUMENTS:
                raise NetworkRefusedError(
                    Reason.NOT_SUPPORTED, f"{where}: called with {str(arguments[0])[:200]}; needed: tensors alone"
                )
            return Ref(layer, node)
    raise NetworkRefusedError(
        Reason.NOT_SUPPORTED, f"{where} holds {str(entry)[:200]}; needed: [layer, node, tensor, {{}}]"
    )


# --- sequential models ------------------------------------------------------------------------------------------------


def _sequential(config: Any, where: str, depth: int) -> Model:
    """Chain the layers; the input is the first one, or what the first one says that it is given."""
    name = config.get("name", where) if isinstance(config, dict) else where
    documents = _documents(config if isinstance(config, list) else _value(config, "layers", list, where), where)
    if not documents:
        _unreadable(f"{where} has no layers")
    layers: dict[str, Layer] = {}
    for layer in _chain(documents, where, depth):
        if layer.name in layers:
            _unreadable(f"{where}: two layers are named {layer.name[:200]!r}")
        layers[layer.name] = layer
    order = list(layers)
    return Model(str(name), layers, (Ref(order[0], 0),), (Ref(order[-1], 0),))


def _chain(documents: Sequence[Mapping[str, Any]], where: str, depth: int) -> Iterator[Layer]:
    previous: Ref | None = None
    for document in documents:
        name = _own_name(document, where)
        layer = _layer({**document, "inbound_nodes": []}, name, depth)
        if previous is None and layer.class_name != INPUT:
            given = Layer(f"{name} (input)", INPUT, {"batch_input_shape": _given_shape(layer)}, (), None)
            yield given
            previous = Ref(given.name, 0)
        calls = () if previous is None else ((previous,),)
        yield Layer(layer.name, layer.class_name, layer.config, calls, layer.model)
        previous = Ref(layer.name, 0)


def _own_name(document: Mapping[str, Any], where: str) -> str:
    """Return a layer's name, which a sequential model states inside the layer's configuration."""
    config = document.get("config")
    name = config.get("name") if isinstance(config, dict) else document.get("name")
    if not isinstance(name, str):
        raise NetworkRefusedError(
            Reason.NOT_SUPPORTED,
            f"{where}: a {str(document.get('class_name'))[:80]} has no name to find its weights by",
        )
    return name


def _given_shape(layer: Layer) -> Any:
    if layer.model is None:
        return layer.config.get("batch_input_shape")
    first = layer.model.layers.get(layer.model.inputs[0].layer) if layer.model.inputs else None
    return first.config.get("batch_input_shape") if first is not None else None


# --- JSON -------------------------------------------------------------------------------------------------------------


def _documents(layers: list[Any], where: str) -> list[Mapping[str, Any]]:
    if len(layers) > MAX_NAMES:
        raise NetworkRefusedError(Reason.LIMIT_EXCEEDED, f"{where} has {len(layers)} layers")
    for layer in layers:
        if not isinstance(layer, dict):
            _unreadable(f"{where}: a layer is {str(layer)[:80]!r}; needed: a JSON object")
    return layers


def _value(document: Any, key: str, kind: Any, where: str) -> Any:
    value = document.get(key) if isinstance(document, dict) else None
    if not isinstance(value, kind):
        _unreadable(f"{where}: {key} is {str(value)[:80]!r}; no model of Keras 2")
    return value


def _unreadable(message: str) -> NoReturn:
    raise NetworkRefusedError(Reason.FILE_UNREADABLE, message)
