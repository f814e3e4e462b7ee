"""Writes files as Keras 2.1.3 does, from layers with random weights, and computes in NumPy what they answer.

Independent of the importer: axes are (N, rows, columns, channels) throughout, in float64.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
NORMALIZATIONS = ("BatchNormalization", "BatchNormalizationV1", "BatchNormalizationV2")


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer, what it is given and its weights by their last name."""

    name: str
    class_name: str
    config: Mapping[str, Any]
    inputs: tuple[str, ...]
    weights: Mapping[str, NDArray[np.float32]]

    def document(self) -> dict[str, Any]:
        """Return the layer's part of ``model_config``."""
        nodes = [[[name, 0, 0, {}] for name in self.inputs]] if self.inputs else []
        config = {"name": self.name, **self.config}
        return {"name": self.name, "class_name": self.class_name, "config": config, "inbound_nodes": nodes}


@dataclass(eq=False)
class Network:
    """A functional network under construction; each method returns the new layer's name."""

    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    layers: list[Layer] = field(default_factory=list)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def input(self, *shape: int) -> str:
        """Add an input of (rows, columns, channels)."""
        config = {"batch_input_shape": [None, *shape], "dtype": "float32", "sparse": False}
        return self._add("InputLayer", config, (), {}, shape)

    def add(self, class_name: str, *inputs: str, **config: Any) -> str:
        """Add a layer with random weights of the shapes that its options need."""
        weights = self._weights(class_name, config, self.shapes[inputs[0]])
        layer = Layer("", class_name, config, inputs, weights)
        probe = forward(layer, [np.zeros((1, *self.shapes[name])) for name in inputs])
        return self._add(class_name, config, inputs, weights, probe.shape[1:])

    def head(self, x: str, classes: int = 2) -> str:
        """Add global average pooling, dropout and a dense softmax layer."""
        pooled = self.add("Dropout", self.add("GlobalAveragePooling2D", x), rate=0.5)
        return self.add("Dense", pooled, units=classes, activation="softmax", use_bias=True)

    def config(self, *outputs: str) -> dict[str, Any]:
        """Return ``model_config``."""
        inputs = [layer.name for layer in self.layers if layer.class_name == "InputLayer"]
        return {
            "class_name": "Model",
            "config": {
                "name": "model_1",
                "layers": [layer.document() for layer in self.layers],
                "input_layers": [[name, 0, 0] for name in inputs],
                "output_layers": [[name, 0, 0] for name in outputs or (self.layers[-1].name,)],
            },
        }

    def groups(self) -> dict[str, dict[str, NDArray[Any]]]:
        """Return the weights by group and name, as they stand in a file."""
        return {
            layer.name: {f"{layer.name}/{leaf}:0": values for leaf, values in layer.weights.items()}
            for layer in self.layers
        }

    def write(self, path: Path) -> Path:
        """Write the whole model."""
        return write_file(path, self.config(), self.groups())

    def answer(self, *images: NDArray[Any]) -> Array:
        """Return what the last layer makes of images (N, rows, columns, channels), one array an input."""
        given = iter(images)
        values: dict[str, Array] = {}
        for layer in self.layers:
            inputs = [values[name] for name in layer.inputs]
            values[layer.name] = forward(layer, inputs) if inputs else np.asarray(next(given), np.float64)
        return values[self.layers[-1].name]

    def _add(
        self, class_name: str, config: Mapping[str, Any], inputs: tuple[str, ...], weights: Any, shape: tuple[int, ...]
    ) -> str:
        name = f"{class_name.lower()}_{len(self.layers)}"
        self.layers.append(Layer(name, class_name, config, inputs, weights))
        self.shapes[name] = tuple(shape)
        return name

    def _weights(self, class_name: str, config: Mapping[str, Any], given: tuple[int, ...]) -> dict[str, Any]:
        shapes = WEIGHT_SHAPES.get(class_name, lambda _c, _n, _s: {})(config, given[-1], given)
        return {leaf: self._values(leaf, shape) for leaf, shape in shapes.items()}

    def _values(self, leaf: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        if leaf in ("moving_variance", "gamma"):
            return self.random.uniform(0.5, 2.0, shape).astype(np.float32)
        fan = max(int(np.prod(shape[:-1])), 1)
        return self.random.normal(0, 1.5 / np.sqrt(fan), shape).astype(np.float32)


def write_file(path: Path, config: Any, groups: Mapping[str, Mapping[str, NDArray[Any]]], **attributes: Any) -> Path:
    """Write the HDF5 structure of a saved model."""
    stated = {"keras_version": b"2.1.3", "backend": b"tensorflow", "model_config": json.dumps(config).encode()}
    with h5py.File(path, "w") as file:
        for key, value in {**stated, **attributes}.items():
            if value is not None:
                file.attrs[key] = value
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = [name.encode() for name in groups]
        for layer, weights in groups.items():
            group = root.create_group(layer)
            group.attrs["weight_names"] = [name.encode() for name in weights]
            for name, values in weights.items():
                group.create_dataset(name, data=values)
    return path


def read_network(path: Path) -> Network:
    """Read a flat functional network back, for the forward pass alone."""
    network = Network()
    with h5py.File(path) as file:
        text = file.attrs["model_config"]
        config = json.loads(text if isinstance(text, str) else text.decode())["config"]
        for document in config["layers"]:
            name = document["name"]
            group = file["model_weights"][name]
            weights = {
                str(n.decode()).rsplit("/", 1)[1].split(":")[0]: group[n.decode()][()]
                for n in np.ravel(group.attrs["weight_names"])
                if isinstance(n, bytes)
            }
            inputs = tuple(ref[0] for node in document["inbound_nodes"] for ref in node)
            network.layers.append(Layer(name, document["class_name"], document["config"], inputs, weights))
    return network


# --- the forward pass -------------------------------------------------------------------------------------------------


def _conv_shapes(config: Mapping[str, Any], channels: int, _: Any) -> dict[str, tuple[int, ...]]:
    shapes = {"kernel": (*config["kernel_size"], channels // config.get("groups", 1), config["filters"])}
    return shapes | ({"bias": (config["filters"],)} if config.get("use_bias", True) else {})


def _depthwise_shapes(config: Mapping[str, Any], channels: int, _: Any) -> dict[str, tuple[int, ...]]:
    multiplier = config.get("depth_multiplier", 1)
    shapes: dict[str, tuple[int, ...]] = {"depthwise_kernel": (*config["kernel_size"], channels, multiplier)}
    return shapes | ({"bias": (channels * multiplier,)} if config.get("use_bias", True) else {})


def _separable_shapes(config: Mapping[str, Any], channels: int, given: Any) -> dict[str, tuple[int, ...]]:
    shapes = _depthwise_shapes({**config, "use_bias": False}, channels, given)
    shapes["pointwise_kernel"] = (1, 1, channels * config.get("depth_multiplier", 1), config["filters"])
    return shapes | ({"bias": (config["filters"],)} if config.get("use_bias", True) else {})


def _norm_shapes(config: Mapping[str, Any], channels: int, _: Any) -> dict[str, tuple[int, ...]]:
    leaves = [leaf for leaf, key in (("gamma", "scale"), ("beta", "center")) if config.get(key, True)]
    return dict.fromkeys((*leaves, "moving_mean", "moving_variance"), (channels,))


def _dense_shapes(config: Mapping[str, Any], channels: int, _: Any) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"kernel": (channels, config["units"])}
    return shapes | ({"bias": (config["units"],)} if config.get("use_bias", True) else {})


def _prelu_shapes(config: Mapping[str, Any], _: int, given: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    shared = config.get("shared_axes") or ()
    return {"alpha": tuple(1 if axis in shared else n for axis, n in enumerate(given, 1))}


WEIGHT_SHAPES: dict[str, Callable[[Mapping[str, Any], int, tuple[int, ...]], dict[str, tuple[int, ...]]]] = {
    "Conv2D": _conv_shapes,
    "DepthwiseConv2D": _depthwise_shapes,
    "SeparableConv2D": _separable_shapes,
    **dict.fromkeys(NORMALIZATIONS, _norm_shapes),
    "Dense": _dense_shapes,
    "PReLU": _prelu_shapes,
}


def windows(x: Array, config: Mapping[str, Any], key: str, fill: float) -> Array:
    """Return (N, rows, columns, channels, kernel rows, kernel columns): what each step of a window covers."""
    kernel, strides = config[key], config.get("strides") or (config[key] if key == "pool_size" else (1, 1))
    dilations = config.get("dilation_rate", (1, 1))
    pads = [(0, 0)]
    for axis in (0, 1):
        extent = (kernel[axis] - 1) * dilations[axis] + 1
        n = x.shape[axis + 1]
        total = 0
        if config.get("padding", "valid") == "same":
            total = max((-(-n // strides[axis]) - 1) * strides[axis] + extent - n, 0)
        pads.append((total // 2, total - total // 2))
    padded = np.pad(x, [*pads, (0, 0)], constant_values=fill)
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    seen = np.lib.stride_tricks.sliding_window_view(padded, extents, axis=(1, 2))
    return seen[:, :: strides[0], :: strides[1], :, :: dilations[0], :: dilations[1]]


def _conv(x: Array, config: Mapping[str, Any], w: Mapping[str, Any]) -> Array:
    groups = config.get("groups", 1)
    parts = zip(np.split(x, groups, axis=3), np.split(w["kernel"].astype(np.float64), groups, axis=3), strict=True)
    joined = [np.einsum("nrcikl,klio->nrco", windows(a, config, "kernel_size", 0.0), k) for a, k in parts]
    return np.concatenate(joined, axis=3) + w.get("bias", 0.0)


def _depthwise(x: Array, config: Mapping[str, Any], w: Mapping[str, Any]) -> Array:
    seen = windows(x, config, "kernel_size", 0.0)
    each = np.einsum("nrcikl,klim->nrcim", seen, w["depthwise_kernel"].astype(np.float64))
    return each.reshape(*each.shape[:3], -1)


def _separable(x: Array, config: Mapping[str, Any], w: Mapping[str, Any]) -> Array:
    return _depthwise(x, config, w) @ w["pointwise_kernel"][0, 0].astype(np.float64) + w.get("bias", 0.0)


def _norm(x: Array, config: Mapping[str, Any], w: Mapping[str, Any]) -> Array:
    scaled = (x - w["moving_mean"]) / np.sqrt(w["moving_variance"].astype(np.float64) + config.get("epsilon", 1e-3))
    return scaled * w.get("gamma", 1.0) + w.get("beta", 0.0)


def _average_pool(x: Array, config: Mapping[str, Any]) -> Array:
    total = windows(x, config, "pool_size", 0.0).sum((4, 5))
    return total / windows(np.ones_like(x), config, "pool_size", 0.0).sum((4, 5))


def _softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _relu_layer(x: Array, config: Mapping[str, Any]) -> Array:
    slope, highest = config.get("negative_slope", 0.0), config.get("max_value")
    bent = np.where(x >= 0, x, slope * x)
    return bent if highest is None else np.minimum(bent, highest)


ACTIVATIONS: dict[str | None, Callable[[Array], Array]] = {
    None: lambda x: x,
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)),
    "softplus": lambda x: np.log1p(np.exp(x)),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "exponential": np.exp,
    "hard_sigmoid": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "softmax": _softmax,
    "swish": lambda x: x / (1 + np.exp(-x)),
}
MERGE_MODES = {
    "sum": sum,
    "mul": lambda xs: xs[0] * xs[1],
    "ave": lambda xs: sum(xs) / len(xs),
    "max": np.maximum.reduce,
}


def _merge(xs: Sequence[Array], config: Mapping[str, Any]) -> Array:
    if config["mode"] == "concat":
        return np.concatenate(xs, axis=config["concat_axis"])
    return np.asarray(MERGE_MODES[config["mode"]](xs))


def _zero_pad(x: Array, config: Mapping[str, Any]) -> Array:
    p = config["padding"]
    rows, columns = ((p, p), (p, p)) if isinstance(p, int) else [q if isinstance(q, list) else (q, q) for q in p]
    return np.pad(x, [(0, 0), rows, columns, (0, 0)])


def _identity(x: Sequence[Array], _c: Any, _w: Any) -> Array:
    return x[0]


FORWARD: dict[str, Callable[[Sequence[Array], Mapping[str, Any], Mapping[str, Any]], Array]] = {
    "Conv2D": lambda x, c, w: _conv(x[0], c, w),
    "DepthwiseConv2D": lambda x, c, w: _depthwise(x[0], c, w) + w.get("bias", 0.0),
    "SeparableConv2D": lambda x, c, w: _separable(x[0], c, w),
    "Dense": lambda x, _, w: x[0] @ w["kernel"].astype(np.float64) + w.get("bias", 0.0),
    **dict.fromkeys(NORMALIZATIONS, lambda x, c, w: _norm(x[0], c, w)),
    "Activation": _identity,
    "Softmax": lambda x, _c, _w: _softmax(x[0]),
    "ReLU": lambda x, c, _: _relu_layer(x[0], c),
    "LeakyReLU": lambda x, c, _: np.where(x[0] >= 0, x[0], c.get("alpha", 0.3) * x[0]),
    "PReLU": lambda x, _, w: np.where(x[0] >= 0, x[0], w["alpha"] * x[0]),
    "ELU": lambda x, c, _: np.where(x[0] > 0, x[0], c.get("alpha", 1.0) * np.expm1(x[0])),
    "ThresholdedReLU": lambda x, c, _: x[0] * (x[0] > c.get("theta", 1.0)),
    "MaxPooling2D": lambda x, c, _: windows(x[0], c, "pool_size", -np.inf).max((4, 5)),
    "AveragePooling2D": lambda x, c, _: _average_pool(x[0], c),
    "GlobalAveragePooling2D": lambda x, c, _: x[0].mean((1, 2), keepdims=c.get("keepdims", False)),
    "GlobalMaxPooling2D": lambda x, _c, _w: x[0].max((1, 2)),
    "Add": lambda x, _c, _w: np.sum(x, axis=0),
    "Subtract": lambda x, _c, _w: x[0] - x[1],
    "Multiply": lambda x, _c, _w: np.prod(x, axis=0),
    "Maximum": lambda x, _c, _w: np.max(x, axis=0),
    "Minimum": lambda x, _c, _w: np.min(x, axis=0),
    "Average": lambda x, _c, _w: np.mean(x, axis=0),
    "Concatenate": lambda x, c, _: np.concatenate(x, axis=c.get("axis", -1)),
    "Merge": lambda x, c, _: _merge(x, c),
    "ZeroPadding2D": lambda x, c, _: _zero_pad(x[0], c),
    "Flatten": lambda x, _c, _w: x[0].reshape(len(x[0]), -1),
    "Reshape": lambda x, c, _: x[0].reshape((len(x[0]), *c["target_shape"])),
    "Dropout": _identity,
    "SpatialDropout2D": _identity,
    "AlphaDropout": _identity,
    "GaussianDropout": _identity,
    "GaussianNoise": _identity,
    "ActivityRegularization": _identity,
}


def forward(layer: Layer, inputs: Sequence[Array]) -> Array:
    """Return one layer's output after training, activation included."""
    result = FORWARD[layer.class_name](inputs, layer.config, layer.weights)
    return ACTIVATIONS[layer.config.get("activation")](result)
