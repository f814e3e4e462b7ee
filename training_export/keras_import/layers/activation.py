"""Activations: by name, as layers of their own, with parameters and with weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from training_export.keras_import.graph import Tensor
from training_export.keras_import.layers.contract import Site

# Keras' name -> ONNX operator and attributes, where one operator is enough.
OPERATORS: dict[str, tuple[str, dict[str, float]]] = {
    "relu": ("Relu", {}),
    "sigmoid": ("Sigmoid", {}),
    "tanh": ("Tanh", {}),
    "elu": ("Elu", {"alpha": 1.0}),
    "selu": ("Selu", {"alpha": 1.6732632423543772, "gamma": 1.0507009873554805}),
    "softplus": ("Softplus", {}),
    "softsign": ("Softsign", {}),
    "exponential": ("Exp", {}),
    "hard_sigmoid": ("HardSigmoid", {"alpha": 0.2, "beta": 0.5}),
}


def activate(site: Site, x: Tensor, activation: Any) -> Tensor:
    """Apply an activation by Keras' name; None is none."""
    if activation in (None, "linear"):
        return x
    if isinstance(activation, str) and activation in OPERATORS:
        operator, attributes = OPERATORS[activation]
        return site.graph.node(operator, [x], x.shape, **attributes)
    if activation == "softmax":
        return _softmax(site, x)
    if activation == "swish":
        return site.graph.node("Mul", [x, site.graph.node("Sigmoid", [x], x.shape)], x.shape)
    known = ", ".join((*OPERATORS, "linear", "softmax", "swish"))
    return site.options.refuse("activation", activation, f"one of {known}")


def activation_layer(site: Site, inputs: Sequence[Tensor]) -> Tensor:
    """Write Activation."""
    return activate(site, site.one(inputs), site.options.raw("activation"))


def softmax_layer(site: Site, inputs: Sequence[Tensor]) -> Tensor:
    """Write Softmax over features."""
    site.options.choice("axis", (-1, 1), -1)
    return _softmax(site, site.one(inputs))


def relu_layer(site: Site, inputs: Sequence[Tensor]) -> Tensor:
    """Write ReLU with a slope below zero and a highest value, if stated; a threshold other than 0 is refused."""
    x, slope, highest = site.one(inputs), site.options.number("negative_slope", 0.0), site.options.limit("max_value")
    if site.options.number("threshold", 0.0) != 0.0:
        site.options.refuse("threshold", site.options.raw("threshold"), "0")
    bent = site.graph.node("Relu", [x], x.shape) if slope == 0 else _leaky(site, x, slope)
    if highest is None:
        return bent
    if highest < 0:
        site.options.refuse("max_value", highest, "a number of at least 0")
    return site.graph.node("Min", [bent, site.graph.constant(np.array(highest, np.float32))], x.shape)


def leaky_relu_layer(site: Site, inputs: Sequence[Tensor]) -> Tensor:
    """Write LeakyReLU."""
    return _leaky(site, site.one(inputs), site.options.number("alpha", 0.3))


def elu_layer(site: Site, inputs: Sequence[Tensor]) -> Tensor:
    """Write ELU."""
    x = site.one(inputs)
    return site.graph.node("Elu", [x], x.shape, alpha=site.options.number("alpha", 1.0))


def thresholded_relu_layer(site: Site, inputs: Sequence[Tensor]) -> Tensor:
    """Write ThresholdedReLU."""
    x = site.one(inputs)
    return site.graph.node("ThresholdedRelu", [x], x.shape, alpha=site.options.number("theta", 1.0))


def prelu_layer(site: Site, inputs: Sequence[Tensor]) -> Tensor:
    """Write PReLU; its slopes are (rows, columns, channels), 1 along axes that share them."""
    x = site.one(inputs)
    shape = [*x.shape[1:], x.shape[0]] if x.is_map else list(x.shape)
    for axis in site.options.raw("shared_axes") or ():
        if not (isinstance(axis, int) and 1 <= axis <= len(shape)):
            site.options.refuse("shared_axes", axis, f"axes of 1 to {len(shape)}")
        shape[axis - 1] = 1
    alpha = site.weights.take("alpha", tuple(shape))
    return site.graph.node("PRelu", [x, site.graph.constant(alpha.transpose(2, 0, 1) if x.is_map else alpha)], x.shape)


def _leaky(site: Site, x: Tensor, slope: float) -> Tensor:
    return site.graph.node("LeakyRelu", [x], x.shape, alpha=slope)


def _softmax(site: Site, x: Tensor) -> Tensor:
    return site.graph.node("Softmax", [site.features_of([x])], x.shape, axis=1)
