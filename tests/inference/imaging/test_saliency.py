"""Class maps keep the identities of docs/reference/science.md G."""

from __future__ import annotations

from itertools import product

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from inference.engine.contract import EngineOptions
from inference.engine.gate import load_scorer
from inference.engine.onnx import OrtBackend
from inference.imaging.crop import Extent
from inference.imaging.saliency import ClassMaps, class_maps, largest, map_onto
from inference.models.catalogue import read_catalogue
from tests.inference.packages import BIAS, golden_images, network, run

Array = NDArray[np.float32]


@pytest.fixture(scope="module")
def outputs() -> dict[str, Array]:
    """What the tiny network gives, with its logits and its last feature map."""
    model = network()
    for name, shape in (("logits", ["N", 2]), ("features", ["N", 4, 8, 8])):
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    return run(model, golden_images())


def _softmax(logits: Array) -> Array:
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def test_the_spatial_mean_of_the_map_is_the_logit(outputs: dict[str, Array]) -> None:
    """mean(cam_c) = logit_c."""
    np.testing.assert_allclose(outputs["cam"].mean(axis=(2, 3)), outputs["logits"], atol=1e-4)


def test_the_softmax_of_the_means_is_the_probability(outputs: dict[str, Array]) -> None:
    """softmax(mean(cam)) = prob."""
    np.testing.assert_allclose(_softmax(outputs["cam"].mean(axis=(2, 3))), outputs["prob"], atol=1e-5)


def test_the_derivative_of_the_logit_is_the_dense_weight(outputs: dict[str, Array]) -> None:
    """d logit_c / d A_k(i, j) = w[k, c] / (H W): the map is Grad-CAM up to a constant."""
    model = network()
    head, bias = (onnx.numpy_helper.to_array(i) for i in model.graph.initializer if i.name in ("head", "bias"))
    features, step = outputs["features"][0].astype(np.float64), 1e-2
    for c, k in product(range(2), range(4)):
        moved = features.copy()
        moved[k, 3, 5] += step
        logits = [
            np.einsum("k,kij->", head[c, :, 0, 0].astype(np.float64), a) / 64 + bias[c] for a in (features, moved)
        ]
        assert (logits[1] - logits[0]) / step == pytest.approx(head[c, k, 0, 0] / 64, abs=1e-3)
    assert logits[0] == pytest.approx(outputs["logits"][0, 1], abs=1e-4)


def test_asking_for_the_map_leaves_the_probability_as_it_was(outputs: dict[str, Array]) -> None:
    """Bit for bit: an extra output changes no number."""
    assert np.array_equal(run(network(cam=False), golden_images())["prob"], outputs["prob"])


def test_a_constant_on_both_biases_changes_neither_map(outputs: dict[str, Array]) -> None:
    """The bias is taken off before the ReLU."""
    bias = (BIAS[0] + 2.5, BIAS[1] + 2.5)
    shifted = run(network(bias=bias), golden_images())
    plain, moved = class_maps(outputs["cam"], BIAS, 1), class_maps(shifted["cam"], bias, 1)
    np.testing.assert_allclose(moved.positive, plain.positive, atol=1e-5)
    np.testing.assert_allclose(moved.negative, plain.negative, atol=1e-5)
    uncorrected = np.maximum(shifted["cam"], 0) - np.maximum(outputs["cam"], 0)
    assert np.abs(uncorrected).max() > 1  # negative control: without the subtraction it does


def test_positive_is_the_column_of_the_positive_class(outputs: dict[str, Array]) -> None:
    """`class_index` swaps the two maps."""
    one, zero = class_maps(outputs["cam"], BIAS, 1), class_maps(outputs["cam"], BIAS, 0)
    assert np.array_equal(one.positive, zero.negative)
    np.testing.assert_allclose(one.positive, np.maximum(outputs["cam"][:, 1] - np.float32(BIAS[1]), 0))


def test_one_scale_holds_for_the_whole_patient() -> None:
    """A nearly shut filter stays visibly so beside the other, over all lesions."""
    strong = ClassMaps(np.full((1, 8, 8), 4.0, np.float32), np.full((1, 8, 8), 0.1, np.float32))
    weak = ClassMaps(np.full((2, 8, 8), 0.2, np.float32), np.zeros((2, 8, 8), np.float32))
    scale = largest([strong, weak])
    assert scale == 4.0
    assert strong.scaled(scale).positive.max() == 1.0
    assert strong.scaled(scale).negative.max() == pytest.approx(0.025)
    assert weak.scaled(scale).positive.max() == pytest.approx(0.05)


def test_maps_of_nothing_stay_nothing() -> None:
    """No division by zero where neither class had any evidence, nor without maps."""
    silent = ClassMaps(np.zeros((1, 8, 8), np.float32), np.zeros((1, 8, 8), np.float32))
    assert not silent.scaled(largest([silent])).positive.any()
    assert largest([]) == 0.0


def _bilinear(image: Array, size: int) -> Array:
    """Independent half-pixel-centre interpolation, pixel by pixel."""
    n = image.shape[0]
    at = np.clip((np.arange(size) + 0.5) * n / size - 0.5, 0, n - 1)
    low = np.minimum(at.astype(int), n - 2)
    part = at - low
    rows = image[low] * (1 - part)[:, None] + image[low + 1] * part[:, None]
    return rows[:, low] * (1 - part) + rows[:, low + 1] * part


@pytest.mark.parametrize("size", [64, 100, 17])
def test_a_map_is_drawn_bilinear_with_half_pixel_centres(size: int) -> None:
    """As deep learning libraries do with align_corners off."""
    image = np.random.default_rng(0).random((8, 8)).astype(np.float32)
    whole = Extent(-0.5, size - 0.5, -0.5, size - 0.5)
    drawn = map_onto(image, whole, (1.0, 1.0), (0, 0, size, size))
    np.testing.assert_allclose(drawn, _bilinear(image, size), atol=1e-5)


def test_a_map_fills_its_box_and_nothing_else() -> None:
    """On the crop's pixels: positive inside the box in mm, 0 outside."""
    drawn = map_onto(np.ones((8, 8), np.float32), Extent(-8.4, 23.6, 15.6, 47.6), (0.8, 0.8), (-20, 10, 60, 90))
    inside = np.zeros((80, 80), np.bool_)
    inside[10:50, 10:50] = True  # rows -10..29, columns 20..59 of the slice
    assert np.array_equal(drawn > 0, inside)
    assert drawn[inside].min() == 1.0


def test_a_hot_corner_lands_in_the_same_corner() -> None:
    """Row and column are not swapped on the way to the crop."""
    image = np.zeros((8, 8), np.float32)
    image[0, 7] = 1.0
    drawn = map_onto(image, Extent(0.0, 40.0, 0.0, 40.0), (1.0, 1.0), (0, 0, 41, 41))
    assert np.unravel_index(drawn.argmax(), drawn.shape)[0] < 5
    assert np.unravel_index(drawn.argmax(), drawn.shape)[1] > 35


@pytest.mark.parametrize("name", ["demonstration-egfr-1.0.0", "demonstration-pdl1-1.0.0"])
def test_the_shipped_networks_keep_the_identities(name: str) -> None:
    """Through the engine that serves them, on images that they have not seen.

    The mean of the map without its bias, and the bias, are the logit; its softmax is the probability; and the manifest
    states the bias of the dense layer that the graph has.
    """
    package = next(p for p in read_catalogue(None) if p.folder.name == name)
    scorer = load_scorer(package, OrtBackend(), EngineOptions(max_batch=3))
    result = scorer.score(golden_images(7))
    block = package.manifest.cam
    assert block is not None
    assert result.cam is not None
    bias = np.array(block.bias, np.float32)
    graph = onnx.load(package.network).graph
    (head,) = [node for node in graph.node if "cam" in node.output]
    (stated,) = [onnx.numpy_helper.to_array(i) for i in graph.initializer if i.name == head.input[2]]
    np.testing.assert_allclose(bias, stated, rtol=1e-6)
    logits = (result.cam - bias[None, :, None, None]).mean(axis=(2, 3)) + bias
    np.testing.assert_allclose(_softmax(logits), result.prob, atol=1e-5)
    maps = class_maps(result.cam, block.bias, package.preprocessing.class_index)
    c = package.preprocessing.class_index
    evidence = result.cam - bias[None, :, None, None]
    for shown, column in ((maps.positive, c), (maps.negative, 1 - c)):
        against = np.minimum(evidence[:, column], 0.0)
        np.testing.assert_allclose((shown + against).mean(axis=(1, 2)) + bias[column], logits[:, column], atol=1e-4)
