"""Files that genuine Keras wrote: the answers are Keras' own, and class maps are there where the head allows them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.import_parity import PARITY, measured
from tests.training_export.keras_files import read_network
from tests.training_export.runs import run_model
from training_export.class_map import with_class_map
from training_export.convert import convert
from training_export.keras_import.container import read_keras_file
from training_export.keras_import.translate import translate

pytestmark = pytest.mark.shared_data
REFERENCED = ("tiny_add", "tiny_Add", "tiny_drop", "seq", "nested")
WITH_MAPS = ("tiny_add", "tiny_Add", "nested")
STRUCTURE_ONLY = {"pretrainedResnet.h5": (32, 32, 3, 10), "fer2013_mini_XCEPTION.102-0.66.hdf5": (64, 64, 1, 7)}


@pytest.mark.parametrize("name", REFERENCED)
def test_answers_are_those_of_keras(shared_data: Path, name: str) -> None:
    """At most 1e-6 from what Keras 2.1.3 itself answered."""
    row = measured(shared_data / "keras_213" / f"{name}.hdf5")
    assert row.difference is not None
    assert row.difference <= PARITY
    assert (row.grid is not None) == (name in WITH_MAPS)
    assert row.keras_version == "2.1.3"
    assert (row.half is None) == (name == "tiny_drop")
    assert row.half is None or PARITY < row.half <= 1e-3


@pytest.mark.parametrize("name", WITH_MAPS)
def test_class_maps_are_the_evidence(shared_data: Path, name: str) -> None:
    """softmax of the maps' spatial means is Keras' answer; the bias that they include is the dense layer's."""
    with np.load(shared_data / "keras_213" / f"{name}_ref.npz") as reference:
        images, wanted = reference["x"], reference["y"]
    model, class_map = with_class_map(translate(read_keras_file(shared_data / "keras_213" / f"{name}.hdf5")))
    assert class_map is not None
    found = run_model(model, images)
    assert found["cam"].shape == (5, 2, *class_map.grid)
    logits = found["cam"].mean((2, 3), dtype=np.float64)
    odds = np.exp(logits - logits.max(1, keepdims=True))
    np.testing.assert_allclose(odds / odds.sum(1, keepdims=True), wanted, atol=1e-5)
    bias = next(
        w for n, w in read_keras_file(shared_data / "keras_213" / f"{name}.hdf5").weights.items() if "dense" in n
    )
    assert class_map.bias == tuple(float(b) for b in next(v for n, v in bias.items() if n.endswith("bias:0")))


@pytest.mark.parametrize("name", STRUCTURE_ONLY)
def test_foreign_networks_answer_like_a_forward_pass_in_numpy(shared_data: Path, name: str) -> None:
    """Keras 2.4 and 2.0.5, separable convolutions, suffixed scopes: no reference answers, so NumPy gives them."""
    path = shared_data / "keras_213" / name
    *shape, classes = STRUCTURE_ONLY[name]
    image = np.random.default_rng(1).normal(0, 1, (2, *shape)).astype(np.float32)
    found = run_model(translate(read_keras_file(path)), image)["prob"]
    assert found.shape == (2, classes)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(found, read_network(path).answer(image), atol=2e-5)
    assert convert(path).class_map is None
