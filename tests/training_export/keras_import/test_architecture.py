"""Graphs of layers: sequential, nested and shared ones; circles, absent layers and lies."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training_export.keras_files import Layer, Network, forward, write_file
from tests.training_export.runs import run_model
from training_export.import_limits import MAX_MODEL_DEPTH
from training_export.keras_import.container import read_keras_file
from training_export.keras_import.translate import translate
from training_export.network_refusal import NetworkRefusedError, Reason

IMAGE = np.random.default_rng(3).normal(0, 1, (2, 8, 8, 3)).astype(np.float32)


def small() -> Network:
    """Return input, convolution, ReLU and head."""
    network = Network()
    x = network.add("Conv2D", network.input(8, 8, 3), filters=4, kernel_size=[3, 3], padding="same")
    network.head(network.add("Activation", x, activation="relu"))
    return network


def imported(path: Path, config: Any, groups: Any, *images: Any) -> Any:
    """Write, import and run."""
    return run_model(translate(read_keras_file(write_file(path, config, groups))), *(images or (IMAGE,)))["prob"]


def test_sequential_models_are_chains(tmp_path: Path) -> None:
    """As a list (2.1.3), as an object (later), with and without an input layer."""
    network = small()
    documents = [{"class_name": x.class_name, "config": x.document()["config"]} for x in network.layers]
    first = copy.deepcopy(documents[1])
    first["config"]["batch_input_shape"] = [None, 8, 8, 3]
    listed = [first, *documents[2:]]
    for config in (listed, {"name": "sequential_1", "layers": listed}, {"name": "s", "layers": documents}):
        found = imported(tmp_path / "s.h5", {"class_name": "Sequential", "config": config}, network.groups())
        np.testing.assert_allclose(found, network.answer(IMAGE), atol=1e-6)


def nested(depth: int) -> tuple[dict[str, Any], dict[str, Any], Network]:
    """Return a file's config and groups with the convolution ``depth`` models deep."""
    network = small()
    plain = network.config()["config"]
    image, conv, *rest = plain["layers"]
    inner: dict[str, Any] = {
        "name": "m0",
        "class_name": "Model",
        "config": {
            "name": "m0",
            "layers": [image, conv],
            "input_layers": [[image["name"], 0, 0]],
            "output_layers": [[conv["name"], 0, 0]],
        },
        "inbound_nodes": [[[image["name"], 0, 0, {}]]],
    }
    for n in range(1, depth):
        inner = {
            "name": f"m{n}",
            "class_name": "Model",
            "config": {
                "name": f"m{n}",
                "layers": [image, inner],
                "input_layers": [[image["name"], 0, 0]],
                "output_layers": [[inner["name"], 1, 0]],
            },
            "inbound_nodes": [[[image["name"], 0, 0, {}]]],
        }
    rest[0]["inbound_nodes"] = [[[inner["name"], 1, 0, {}]]]
    plain["layers"] = [image, inner, *rest]
    groups = network.groups()
    groups[inner["name"]] = groups.pop(conv["name"])
    return {"class_name": "Model", "config": plain}, groups, network


@pytest.mark.parametrize("depth", [1, 2, MAX_MODEL_DEPTH])
def test_models_within_models(tmp_path: Path, depth: int) -> None:
    """The call of a nested model is node 1; its weights lie under the outermost one."""
    config, groups, network = nested(depth)
    np.testing.assert_allclose(imported(tmp_path / "n.h5", config, groups), network.answer(IMAGE), atol=1e-6)


def test_nested_models_without_a_node_of_their_own(tmp_path: Path) -> None:
    """Later versions number the calls of some nested models from 0."""
    config, groups, network = nested(1)
    config["config"]["layers"][2]["inbound_nodes"] = [[["m0", 0, 0, {}]]]
    np.testing.assert_allclose(imported(tmp_path / "n.h5", config, groups), network.answer(IMAGE), atol=1e-6)


def test_inputs_come_in_the_order_that_the_file_states(tmp_path: Path) -> None:
    """Not in that of its layers: the first of ``input_layers`` is PET."""
    network = Network()
    planes = [network.input(8, 8, 1) for _ in range(3)]
    branches = [network.add("Conv2D", x, filters=2, kernel_size=[3, 3]) for x in planes]
    network.head(network.add("Concatenate", *branches))
    config = network.config()
    config["config"]["input_layers"].reverse()
    images = np.split(IMAGE, 3, axis=3)
    found = imported(tmp_path / "p.h5", config, network.groups(), *images[::-1])
    np.testing.assert_allclose(found, network.answer(*images), atol=1e-6)


def test_models_too_deep_within_models_are_refused(tmp_path: Path) -> None:
    """Nine of them."""
    config, groups, _ = nested(MAX_MODEL_DEPTH + 1)
    with pytest.raises(NetworkRefusedError) as caught:
        imported(tmp_path / "n.h5", config, groups)
    assert caught.value.reason is Reason.LIMIT_EXCEEDED


def test_shared_layers_have_one_set_of_weights(tmp_path: Path) -> None:
    """A layer and a nested model that are called twice: one handler call for each, the same constants."""
    network = Network()
    image = network.input(8, 8, 3)
    shared = network.add("Conv2D", image, filters=3, kernel_size=[3, 3], padding="same")
    again = Layer(shared, "Conv2D", network.layers[-1].config, (shared,), network.layers[-1].weights)
    network.layers.append(again)
    network.head(shared)
    config = network.config()
    layers = config["config"]["layers"]
    layers[1]["inbound_nodes"].append(layers.pop(2)["inbound_nodes"][0])
    layers[2]["inbound_nodes"] = [[[shared, 1, 0, {}]]]
    values = {image: IMAGE.astype(np.float64)}
    values[shared] = forward(network.layers[1], [values[image]])
    for layer in network.layers[2:]:
        values[layer.name] = forward(layer, [values[name] for name in layer.inputs])
    found = imported(tmp_path / "s.h5", config, network.groups())
    np.testing.assert_allclose(found, values[network.layers[-1].name], atol=1e-6)
    model = translate(read_keras_file(tmp_path / "s.h5"))
    assert sum(node.op_type == "Conv" for node in model.graph.node) == 2
    assert len(model.graph.initializer) == 4  # two kernels, two biases


def test_a_network_of_many_layers_does_not_exhaust_the_stack(tmp_path: Path) -> None:
    """Three thousand in a row."""
    network = Network()
    x = network.input(8, 8, 3)
    for _ in range(3000):
        x = network.add("Activation", x, activation="relu")
    network.head(x)
    np.testing.assert_allclose(
        run_model(translate(read_keras_file(network.write(tmp_path / "d.h5"))), IMAGE)["prob"],
        network.answer(IMAGE),
        atol=1e-6,
    )


Change = Callable[[dict[str, Any], dict[str, Any]], object]


def _circle(config: dict[str, Any], _: Any) -> None:
    layers = config["config"]["layers"]
    layers[1]["inbound_nodes"] = [[[layers[2]["name"], 0, 0, {}]]]


def _absent(config: dict[str, Any], _: Any) -> None:
    config["config"]["layers"][1]["inbound_nodes"] = [[["../../etc/passwd", 0, 0, {}]]]


def _twice(config: dict[str, Any], _: Any) -> None:
    config["config"]["layers"].append(config["config"]["layers"][1])


def _no_weights(_: Any, groups: dict[str, Any]) -> None:
    next(g for g in groups.values() if g).clear()


def _wrong_shape(_: Any, groups: dict[str, Any]) -> None:
    group = next(g for g in groups.values() if g)
    group[next(iter(group))] = np.zeros((3, 3, 4, 3), np.float32)


def _too_many(_: Any, groups: dict[str, Any]) -> None:
    next(g for g in groups.values() if g)["conv2d_1/secret:0"] = np.zeros(3, np.float32)


def _lying_filters(config: dict[str, Any], _: Any) -> None:
    config["config"]["layers"][1]["config"]["filters"] = 1 << 20


def _class(name: str) -> Change:
    return lambda config, _: config.update(class_name=name)


def _outputs(*names: Any) -> Change:
    return lambda config, _: config["config"].update(output_layers=list(names))


def _inbound(value: Any) -> Change:
    return lambda config, _: config["config"]["layers"][1].update(inbound_nodes=value)


def _input(**changes: Any) -> Change:
    return lambda config, _: config["config"]["layers"][0]["config"].update(changes)


LIES: dict[str, tuple[Change, Reason, str]] = {
    "circle": (_circle, Reason.FILE_UNREADABLE, "round in a circle"),
    "absent layer": (_absent, Reason.FILE_UNREADABLE, "not there"),
    "two of one name": (_twice, Reason.FILE_UNREADABLE, "two layers are named"),
    "missing weights": (_no_weights, Reason.WEIGHTS_DISAGREE, "weight kernel is missing"),
    "wrong shape": (_wrong_shape, Reason.WEIGHTS_DISAGREE, "the architecture needs [3, 3, 3, 4]"),
    "left over": (_too_many, Reason.WEIGHTS_DISAGREE, "no layer of the architecture uses"),
    "huge filters": (_lying_filters, Reason.WEIGHTS_DISAGREE, "the architecture needs"),
    "another class": (_class("OrderedModel"), Reason.NOT_SUPPORTED, "'OrderedModel'"),
    "no outputs": (_outputs(), Reason.NOT_SUPPORTED, "0 outputs"),
    "two outputs": (_outputs(["dense_5", 0, 0], ["conv2d_1", 0, 0]), Reason.NOT_SUPPORTED, "2 outputs"),
    "second tensor": (_outputs(["dense_5", 0, 1]), Reason.NOT_SUPPORTED, "output 1"),
    "negative call": (_outputs(["dense_5", -1, 0]), Reason.FILE_UNREADABLE, "call -1"),
    "the input": (_outputs(["inputlayer_0", 0, 0]), Reason.NOT_SUPPORTED, ""),
    "a map": (_outputs(["conv2d_1", 0, 0]), Reason.NOT_SUPPORTED, "the output is a map"),
    "arguments": (_inbound([[["inputlayer_0", 0, 0, {"mask": 1}]]]), Reason.NOT_SUPPORTED, "called with"),
    "Keras 3 nodes": (_inbound([{"args": [], "kwargs": {}}]), Reason.NOT_SUPPORTED, "as Keras 2 writes them"),
    "no nodes": (_inbound(None), Reason.FILE_UNREADABLE, "inbound_nodes"),
    "any size": (_input(batch_input_shape=[None, None, None, 3]), Reason.NOT_SUPPORTED, "all stated"),
    "huge image": (_input(batch_input_shape=[None, 4096, 4096, 3]), Reason.LIMIT_EXCEEDED, "more than"),
    "larger image": (_input(batch_input_shape=[None, 10**12, 8, 3]), Reason.NOT_SUPPORTED, "all stated"),
    "sparse": (_input(sparse=True), Reason.NOT_SUPPORTED, "a plain image"),
    "words": (_input(dtype="string"), Reason.NOT_SUPPORTED, "dtype"),
}


@pytest.mark.parametrize("lie", LIES)
def test_architectures_that_do_not_hold_are_refused(tmp_path: Path, lie: str) -> None:
    """Each with its reason and what is wrong."""
    change, reason, said = LIES[lie]
    network = small()
    config, groups = json.loads(json.dumps(network.config())), network.groups()
    change(config, groups)
    with pytest.raises(NetworkRefusedError) as caught:
        imported(tmp_path / "l.h5", config, groups)
    assert caught.value.reason is reason
    assert said in caught.value.message


def test_two_layers_cannot_share_what_the_file_has_once(tmp_path: Path) -> None:
    """In a nested model a scope may carry a number; a weight that then fits two layers is refused, not guessed."""
    config, groups, _ = nested(1)
    inner = config["config"]["layers"][1]["config"]
    second = copy.deepcopy(inner["layers"][1])
    second["name"] = second["config"]["name"] = "conv2d"
    second["config"]["filters"] = 4
    second["inbound_nodes"] = [[["inputlayer_0", 0, 0, {}]]]
    both = {"name": "add_9", "class_name": "Add", "config": {"name": "add_9"}}
    inner["layers"] += [second, {**both, "inbound_nodes": [[["conv2d_1", 0, 0, {}], ["conv2d", 0, 0, {}]]]}]
    inner["output_layers"] = [["add_9", 0, 0]]
    with pytest.raises(NetworkRefusedError, match="fits two layers"):
        imported(tmp_path / "n.h5", config, groups)
