"""BatchNormalization, as it answers after training: with the moving mean and variance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training_export.keras_import.graph import Tensor
from training_export.keras_import.layers.contract import Site
from training_export.network_refusal import NetworkRefusedError, Reason


def batch_normalization(site: Site, inputs: Sequence[Tensor]) -> Tensor:
    """Write BatchNormalization over the channels; gamma and beta may be left out."""
    x, options = site.one(inputs), site.options
    axis = options.raw("axis", -1)
    last = len(x.shape)
    if (axis[0] if isinstance(axis, list) and len(axis) == 1 else axis) not in (-1, last):
        options.refuse("axis", axis, f"-1 or {last}, the channels")
    for key, unused in (("renorm", False), ("virtual_batch_size", None), ("adjustment", None)):
        options.choice(key, (unused,), unused)
    for key in ("fused", "synchronized"):  # how it is computed or trained, not what it answers
        options.raw(key)
    channels = (x.shape[0],)
    gamma = site.weights.take("gamma", channels) if options.flag("scale", True) else np.ones(channels, np.float32)
    beta = site.weights.take("beta", channels) if options.flag("center", True) else np.zeros(channels, np.float32)
    mean, variance = (site.weights.take(f"moving_{what}", channels) for what in ("mean", "variance"))
    epsilon = options.number("epsilon", 1e-3)
    if float(variance.min()) + epsilon <= 0:
        raise NetworkRefusedError(
            Reason.NUMBERS_UNUSABLE,
            f"{options.label}: a moving variance is {float(variance.min()):g}; needed: positive",
        )
    names = [site.graph.constant(values) for values in (gamma, beta, mean, variance)]
    return site.graph.node("BatchNormalization", [x, *names], x.shape, epsilon=epsilon)
