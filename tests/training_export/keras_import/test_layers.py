"""Every layer that can be imported, against a forward pass in NumPy; and what is refused, by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.training_export.keras_files import Network, forward, write_file
from tests.training_export.runs import run_model
from training_export.keras_import.container import read_keras_file
from training_export.keras_import.layers.table import HANDLERS
from training_export.keras_import.translate import translate
from training_export.network_refusal import NetworkRefusedError, Reason

K = {"kernel_size": [3, 3], "data_format": "channels_last"}
P2 = {"pool_size": [2, 2], "strides": [2, 2], "padding": "valid"}
# Layers on a map of 9 x 11 x 4 pixels: (class, options).
ON_MAPS: list[tuple[str, dict[str, Any]]] = [
    ("Conv2D", {**K, "filters": 5, "padding": "valid", "use_bias": True}),
    ("Conv2D", {**K, "filters": 5, "padding": "same", "strides": [2, 2], "use_bias": False, "activation": "relu"}),
    ("Conv2D", {"kernel_size": [4, 2], "filters": 3, "padding": "same", "strides": [3, 2]}),
    ("Conv2D", {**K, "filters": 3, "padding": "same", "dilation_rate": [2, 2]}),
    ("Conv2D", {**K, "filters": 6, "padding": "valid", "groups": 2}),
    ("DepthwiseConv2D", {**K, "padding": "same", "strides": [2, 2], "depth_multiplier": 3}),
    ("SeparableConv2D", {**K, "filters": 5, "padding": "same", "depth_multiplier": 2, "activation": "elu"}),
    ("SeparableConv2D", {**K, "filters": 5, "padding": "valid", "use_bias": False}),
    ("BatchNormalization", {"axis": -1, "epsilon": 1e-5, "momentum": 0.9}),
    ("BatchNormalization", {"axis": [3], "epsilon": 0.1, "scale": False}),
    ("BatchNormalization", {"axis": 3, "center": False}),
    ("BatchNormalizationV1", {"axis": [3], "fused": True}),
    ("BatchNormalizationV2", {"axis": [3], "synchronized": False}),
    *(
        ("Activation", {"activation": name})
        for name in ("relu", "sigmoid", "tanh", "elu", "selu", "softplus", "softsign")
    ),
    *(("Activation", {"activation": name}) for name in ("exponential", "hard_sigmoid", "linear", "swish")),
    ("ReLU", {"max_value": 1.0, "negative_slope": 0.0, "threshold": 0.0}),
    ("ReLU", {"max_value": None, "negative_slope": 0.1}),
    ("LeakyReLU", {"alpha": 0.2}),
    ("PReLU", {"shared_axes": [1, 2]}),
    ("PReLU", {"shared_axes": None}),
    ("ELU", {"alpha": 0.5}),
    ("ThresholdedReLU", {"theta": 0.3}),
    ("MaxPooling2D", P2),
    ("MaxPooling2D", {"pool_size": [3, 3], "strides": [2, 2], "padding": "same"}),
    ("AveragePooling2D", {"pool_size": [3, 2], "strides": None, "padding": "valid"}),
    ("AveragePooling2D", {"pool_size": [3, 3], "strides": [2, 2], "padding": "same"}),
    ("GlobalMaxPooling2D", {}),
    ("GlobalAveragePooling2D", {"keepdims": True}),
    ("ZeroPadding2D", {"padding": [[1, 2], [0, 3]]}),
    ("ZeroPadding2D", {"padding": [2, 1]}),
    ("ZeroPadding2D", {"padding": 1}),
    ("Reshape", {"target_shape": [11, -1, 4]}),
    ("Reshape", {"target_shape": [396]}),
    ("Dropout", {"rate": 0.5, "noise_shape": None, "seed": None}),
    ("SpatialDropout2D", {"rate": 0.5}),
    ("AlphaDropout", {"rate": 0.5}),
    ("GaussianDropout", {"rate": 0.5}),
    ("GaussianNoise", {"stddev": 0.5}),
    ("ActivityRegularization", {"l1": 0.1, "l2": 0.1}),
]
ON_TWO_MAPS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in ("Add", "Subtract", "Multiply", "Maximum", "Minimum", "Average")),
    *(("Concatenate", {"axis": axis}) for axis in (-1, 3, 1, 2, -2)),
    *(
        ("Merge", {"mode": mode, "mode_type": "raw", "concat_axis": -1})
        for mode in ("sum", "mul", "ave", "max", "concat")
    ),
]
OTHERWISE_COVERED = {"Dense", "Flatten", "Softmax"}


def start(seed: int = 0) -> tuple[Network, str]:
    """Return a network that begins with a map of 9 x 11 x 4."""
    network = Network(np.random.default_rng(seed))
    image = network.input(9, 11, 3)
    return network, network.add("Conv2D", image, filters=4, kernel_size=[1, 1], padding="valid")


def finish(network: Network, x: str) -> None:
    """Bring any tensor to a softmax over two classes, through Keras' order of pixels."""
    network.add("Dense", network.add("Flatten", x), units=2, activation="softmax")


def deviation(network: Network, path: Path, seed: int = 0) -> float:
    """Return the largest difference between the imported network and NumPy."""
    images = [
        np.random.default_rng(seed + n).normal(0, 1, (3, *network.shapes[layer.name])).astype(np.float32)
        for n, layer in enumerate(network.layers)
        if layer.class_name == "InputLayer"
    ]
    model = translate(read_keras_file(network.write(path)))
    return float(np.abs(run_model(model, *images)["prob"] - network.answer(*images)).max())


@pytest.mark.parametrize(("class_name", "options"), ON_MAPS)
def test_layer_on_a_map(class_name: str, options: dict[str, Any], tmp_path: Path) -> None:
    """One layer between two others."""
    network, x = start()
    finish(network, network.add(class_name, x, **options))
    assert deviation(network, tmp_path / "net.h5") <= 1e-5


@pytest.mark.parametrize(("class_name", "options"), ON_TWO_MAPS)
def test_layer_on_two_maps(class_name: str, options: dict[str, Any], tmp_path: Path) -> None:
    """One layer that joins two others."""
    network, x = start()
    other = network.add("Conv2D", x, filters=4, kernel_size=[3, 3], padding="same")
    finish(network, network.add(class_name, x, other, **options))
    assert deviation(network, tmp_path / "net.h5") <= 1e-5


def test_layers_on_features(tmp_path: Path) -> None:
    """Normalisation, PReLU and Concatenate of features, and Softmax as a layer of its own."""
    network, x = start()
    pooled = network.add("GlobalAveragePooling2D", x)
    hidden = network.add("BatchNormalization", network.add("Dense", pooled, units=6, use_bias=False), axis=1)
    both = network.add("Concatenate", network.add("PReLU", hidden), pooled, axis=1)
    square = network.add("Reshape", network.add("Dense", both, units=12), target_shape=[2, 2, 3])
    classes = network.add("Dense", network.add("Flatten", square), units=3)
    network.add("Softmax", classes, axis=-1)
    assert deviation(network, tmp_path / "net.h5") <= 1e-5


def test_every_layer_of_the_table_was_tried() -> None:
    """A handler that is added needs a case here."""
    assert {name for name, _ in (*ON_MAPS, *ON_TWO_MAPS)} | OTHERWISE_COVERED == set(HANDLERS)


def test_three_planes_become_pet_ct_fuse(tmp_path: Path) -> None:
    """The PD-L1 form: three inputs of one channel, in the order of the file."""
    network = Network()
    planes = [network.input(16, 16, 1) for _ in range(3)]
    branches = [
        network.add("Conv2D", p, filters=3 + n, kernel_size=[3, 3], padding="same") for n, p in enumerate(planes)
    ]
    network.head(network.add("Activation", network.add("Concatenate", *branches), activation="relu"))
    assert deviation(network, tmp_path / "net.h5") <= 1e-6
    model = translate(read_keras_file(tmp_path / "net.h5"))
    assert [value.name for value in model.graph.input] == ["pet", "ct", "fuse"]


ROWS = st.integers(5, 14)
SMALL = st.integers(1, 3)
PADDING = st.sampled_from(["same", "valid"])


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Draw a residual network of a few layers, with any size, stride and padding that leaves something of the image."""
    network = Network(np.random.default_rng(draw(st.integers(0, 10_000))))
    x = network.input(draw(ROWS), draw(ROWS), draw(SMALL))
    for _ in range(draw(st.integers(1, 4))):
        x = draw(st.sampled_from(BLOCKS))(network, x, draw)
    network.head(x, classes=draw(st.integers(2, 4)))
    return network


def _convolved(network: Network, x: str, draw: st.DrawFn) -> str:
    rows, columns, _ = network.shapes[x]
    kernel = [min(draw(SMALL), rows), min(draw(SMALL), columns)]
    options = {"kernel_size": kernel, "strides": [draw(SMALL), draw(SMALL)], "padding": draw(PADDING)}
    options |= {"use_bias": draw(st.booleans()), "activation": draw(st.sampled_from(["relu", "tanh", "linear"]))}
    if draw(st.booleans()):
        return network.add("DepthwiseConv2D", x, depth_multiplier=draw(SMALL), **options)
    return network.add("Conv2D", x, filters=draw(SMALL), **options)


def _pooled(network: Network, x: str, draw: st.DrawFn) -> str:
    rows, columns, _ = network.shapes[x]
    size = [min(draw(SMALL), rows), min(draw(SMALL), columns)]
    kind = draw(st.sampled_from(["MaxPooling2D", "AveragePooling2D"]))
    return network.add(kind, x, pool_size=size, strides=[draw(SMALL), draw(SMALL)], padding=draw(PADDING))


def _residual(network: Network, x: str, draw: st.DrawFn) -> str:
    channels = network.shapes[x][2]
    body = network.add("Conv2D", x, filters=channels, kernel_size=[draw(SMALL), draw(SMALL)], padding="same")
    body = network.add("BatchNormalization", body, scale=draw(st.booleans()), center=draw(st.booleans()))
    return network.add("Activation", network.add("Add", x, body), activation="relu")


BLOCKS: list[Callable[[Network, str, st.DrawFn], str]] = [_convolved, _pooled, _residual]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(network=networks())
def test_any_network_answers_like_numpy(network: Network, tmp_path: Path) -> None:
    """Sizes, strides and paddings as they come."""
    assert deviation(network, tmp_path / "net.h5") <= 2e-5


def test_numbers_that_keras_wrote_as_arrays_are_read(tmp_path: Path) -> None:
    """Keras 2.1 and 2.2 state a slope as ``{"type": "ndarray", "value": 0.25}``."""
    network, x = start()
    finish(network, network.add("LeakyReLU", x, alpha=0.25))
    config = network.config()
    layer = next(layer for layer in config["config"]["layers"] if layer["class_name"] == "LeakyReLU")
    layer["config"]["alpha"] = {"type": "ndarray", "value": 0.25}
    image = np.random.default_rng(0).normal(0, 1, (2, 9, 11, 3)).astype(np.float32)
    model = translate(read_keras_file(write_file(tmp_path / "net.h5", config, network.groups())))
    np.testing.assert_allclose(run_model(model, image)["prob"], network.answer(image), atol=1e-6)


# --- refusals ---------------------------------------------------------------------------------------------------------


def refusal(network: Network, path: Path) -> NetworkRefusedError:
    """Import a network that must be refused."""
    with pytest.raises(NetworkRefusedError) as caught:
        translate(read_keras_file(network.write(path)))
    return caught.value


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("Lambda", {"function": ["4wEAAAA=", None, None], "function_type": "lambda"}, "Python code, which is never run"),
    ("Masking", {"mask_value": 0.0}, "Masking"),
    ("Conv2DTranspose", {"filters": 2, "kernel_size": [3, 3]}, "Conv2DTranspose"),
    ("MyOwnLayer", {}, "MyOwnLayer"),
]


@pytest.mark.parametrize(("class_name", "options", "said"), REFUSED)
def test_unknown_layers_are_refused_by_name(
    class_name: str, options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    """Also those that hold code."""
    network, x = start()
    name = network._add(class_name, options, (x,), {}, network.shapes[x])
    finish(network, name)
    error = refusal(network, tmp_path / "net.h5")
    assert error.reason is Reason.NOT_SUPPORTED
    assert said in error.message
    assert name in error.message


CHANGED: list[tuple[str, dict[str, Any], str]] = [
    (
        "Conv2D",
        {"filters": 4, "kernel_size": [3, 3], "data_format": "channels_first"},
        "data_format is 'channels_first'",
    ),
    ("Conv2D", {"filters": 4, "kernel_size": [3, 3], "padding": "causal"}, "padding is 'causal'"),
    ("Conv2D", {"filters": 4, "kernel_size": [3, 3], "shape_of_water": 1}, "shape_of_water is '1'"),
    ("Conv2D", {"filters": 4, "kernel_size": [3, 3], "dtype": "float16"}, "dtype is 'float16'"),
    ("Conv2D", {"filters": 4, "kernel_size": [3, 3], "strides": [0, 1]}, "strides is '[0, 1]'"),
    ("Conv2D", {"filters": 4, "kernel_size": [10**9, 1]}, "kernel_size"),
    ("Conv2D", {"filters": -4, "kernel_size": [3, 3]}, "filters is '-4'"),
    ("Conv2D", {"filters": "4", "kernel_size": [3, 3]}, "filters is '4'"),
    ("MaxPooling2D", {"pool_size": [12, 12]}, "nothing is left of the image"),
    ("Conv2D", {"filters": 4, "kernel_size": [3, 3], "activation": {"class_name": "Mine"}}, "activation"),
    ("BatchNormalization", {"axis": 1}, "axis is '1'"),
    ("BatchNormalization", {"epsilon": float("nan")}, "epsilon is 'nan'"),
    ("BatchNormalization", {"renorm": True}, "renorm is 'True'"),
    ("Activation", {"activation": "softmax"}, "needed: a list of features"),
    ("Activation", {"activation": "my_own"}, "activation is 'my_own'"),
    ("Dense", {"units": 3}, "needed: a list of features"),
    ("ReLU", {"threshold": 0.5}, "threshold is '0.5'"),
    ("Reshape", {"target_shape": [7]}, "target_shape"),
    ("ZeroPadding2D", {"padding": [-1, 1]}, "padding"),
    ("ZeroPadding2D", {"padding": [[4096, 4096], [4096, 4096]]}, "more than"),
    ("Merge", {"mode": "dot"}, "mode is 'dot'"),
    ("Merge", {"mode": "sum", "mode_type": "lambda"}, "mode_type is 'lambda'"),
    ("Add", {}, "given 1 tensors"),
]


@pytest.mark.parametrize(("class_name", "options", "said"), CHANGED)
def test_options_that_would_have_to_be_guessed_are_refused(
    class_name: str, options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    """The message names the layer, the option and its value."""
    network, x = start()
    weights = {"kernel": np.zeros((3, 3, 4, 4), np.float32), "bias": np.zeros(4, np.float32)}
    if class_name == "BatchNormalization":
        weights = {leaf: np.ones(4, np.float32) for leaf in ("gamma", "beta", "moving_mean", "moving_variance")}
    name = network._add(class_name, options, (x,), weights, network.shapes[x])
    finish(network, name)
    error = refusal(network, tmp_path / "net.h5")
    assert said in error.message
    assert name in error.message


def test_broadcasting_is_refused(tmp_path: Path) -> None:
    """Tensors of unequal shape are not joined."""
    network, x = start()
    wider = network.add("Conv2D", x, filters=1, kernel_size=[1, 1])
    name = network._add("Multiply", {}, (x, wider), {}, network.shapes[x])
    finish(network, name)
    assert "needed: shapes that fit" in refusal(network, tmp_path / "net.h5").message


def test_a_negative_variance_is_refused(tmp_path: Path) -> None:
    """It would give NaN for every image."""
    network, x = start()
    x = network.add("BatchNormalization", x)
    network.layers[-1].weights["moving_variance"][0] = -1.0
    finish(network, x)
    assert refusal(network, tmp_path / "net.h5").reason is Reason.NUMBERS_UNUSABLE


def test_the_forward_pass_can_tell_layers_apart() -> None:
    """The reference of these tests is not blind: another stride, padding or order of pixels changes its answer."""
    network, x = start()
    image = np.random.default_rng(0).normal(0, 1, (1, 9, 11, 4))
    first = network.layers[-1]
    for change in ({"strides": [2, 1]}, {"padding": "same", "strides": [1, 2]}):
        name = network.add("Conv2D", x, filters=2, kernel_size=[3, 3])
        plain = forward(network.layers[-1], [image])
        changed = type(first)(name, "Conv2D", {**network.layers[-1].config, **change}, (x,), network.layers[-1].weights)
        assert forward(changed, [image]).shape != plain.shape
