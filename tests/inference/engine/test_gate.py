"""No network serves before it has given the golden values of its package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from egfr_dls.errors import ConfigurationError
from inference.engine.contract import EngineOptions
from inference.engine.gate import load_scorer
from inference.engine.onnx import OrtBackend
from inference.models.manifest import ModelPackage
from tests.inference.packages import golden_images, network, run, write_package

Arrays = Mapping[str, NDArray[np.float32]]


def _package(folder: Path, golden: Arrays | None = None) -> ModelPackage:
    """A package, with other golden values than its network's own where they are given."""
    return ModelPackage.read(write_package(folder, golden=golden))


def _golden(**changes: NDArray[np.float32]) -> Arrays:
    image = golden_images()
    return {"image": image, **run(network(), image), **changes}


def test_a_sound_package_serves(tmp_path: Path) -> None:
    """The scorer knows its deviation and how findings name it."""
    scorer = load_scorer(_package(tmp_path / "tiny"), OrtBackend(), EngineOptions(max_batch=3))
    assert scorer.deviation.prob <= 1e-5
    assert scorer.deviation.cam_rel is not None
    assert scorer.use.runtime == "onnxruntime-cpu"
    assert (scorer.use.name, scorer.use.status, scorer.use.cut_off) == ("tiny", "demonstration", 0.5)
    assert scorer.score(golden_images(7)).prob.shape == (7, 2)


SOUND = run(network(), golden_images())


@pytest.mark.parametrize(
    ("golden", "told"),
    [
        (_golden(prob=SOUND["prob"] + np.float32(2e-5)), "prob differs by 2"),
        (_golden(prob=SOUND["prob"][:, ::-1].copy()), "prob differs"),
        (_golden(prob=SOUND["prob"] * np.float32(np.nan)), "prob differs by nan"),
        (_golden(prob=SOUND["prob"][:7]), "prob differs by inf"),
        (_golden(cam=SOUND["cam"] * np.float32(1.001)), "cam differs"),
        (_golden(image=golden_images()[:, :2]), "image is float32"),
        ({"image": golden_images()}, "array prob is missing"),
        ({"image": golden_images(), "prob": SOUND["prob"]}, "array cam is missing"),
    ],
    ids=["noise", "swapped columns", "NaN", "rows", "map", "two channels", "no prob", "no cam"],
)
def test_other_values_are_refused(tmp_path: Path, golden: Arrays, told: str) -> None:
    """A network that does not give what its package states stops the start of the service."""
    with pytest.raises(ConfigurationError, match=told):
        load_scorer(_package(tmp_path / "tiny", golden), OrtBackend(), EngineOptions())


def test_maps_that_do_not_explain_the_score_are_refused(tmp_path: Path) -> None:
    """Their golden values are of the same graph, so that only the identity of such a head can tell: the maps lack the bias."""
    model = network()
    names = ["features", "head"]
    model.graph.node.append(helper.make_node("Conv", names, ["unbiased"]))
    for node in model.graph.node:
        if list(node.output) == ["cam"]:
            node.output[0] = "biased"
        elif list(node.input) == ["cam"]:
            node.input[0] = "biased"
        elif list(node.output) == ["unbiased"]:
            node.output[0] = "cam"
    write_package(tmp_path / "tiny", model)
    with pytest.raises(ConfigurationError, match="these maps do not explain this score"):
        load_scorer(ModelPackage.read(tmp_path / "tiny"), OrtBackend(), EngineOptions())


SURE = ((200.0, -200.0), (300.0, -300.0))  # biases of two networks whose scores are exactly 0 and 1


def _wrong(folder: Path, right: onnx.ModelProto, wrong: onnx.ModelProto) -> ModelPackage:
    """A package whose network is another than the one that its golden values are of."""
    image = golden_images()
    given, meant = run(wrong, image)["prob"], run(right, image)["prob"]
    assert np.abs(given - meant).max() <= 1e-5, "the probabilities alone would tell"
    return ModelPackage.read(write_package(folder, wrong, {"image": image, **run(right, image)}))


@pytest.mark.parametrize(
    ("options", "told"),
    [({"cam": False, "logits": True}, r"logits differs by 0\.49"), ({"cam": True, "logits": False}, "cam differs")],
    ids=["logits", "maps"],
)
def test_a_network_that_is_wrong_only_behind_scores_of_0_and_1_is_refused(
    tmp_path: Path, options: dict[str, bool], told: str
) -> None:
    """Every probability is the same, bit for bit; what it was made of is not."""
    right, wrong = (network(bias=bias, **options) for bias in SURE)
    with pytest.raises(ConfigurationError, match=told):
        load_scorer(_wrong(tmp_path / "tiny", right, wrong), OrtBackend(), EngineOptions())


def test_without_logits_the_small_probability_tells(tmp_path: Path) -> None:
    """An older package: 4e-18 and 2e-18 differ by nothing, their logarithms do."""
    right, wrong = (network(bias=(half, -half), cam=False) for half in (20.0, 20.4))
    with pytest.raises(ConfigurationError, match=r"logits differs by 0\.0"):
        load_scorer(_wrong(tmp_path / "tiny", right, wrong), OrtBackend(), EngineOptions())


def test_what_nothing_can_tell_is_counted(tmp_path: Path) -> None:
    """An older package without maps: 16 golden probabilities of exactly 0 or 1."""
    right, wrong = (network(bias=bias, cam=False) for bias in SURE)
    scorer = load_scorer(_wrong(tmp_path / "tiny", right, wrong), OrtBackend(), EngineOptions())
    assert scorer.deviation.hidden == 16


def test_a_sure_network_passes(tmp_path: Path) -> None:
    """Scores of 0 and 1 are no fault as such, with maps and with logits."""
    for options in ({"cam": True}, {"cam": False, "logits": True}, {"cam": True, "logits": True}):
        folder = tmp_path / str(options)
        package = ModelPackage.read(write_package(folder, network(bias=SURE[0], **options)))
        assert load_scorer(package, OrtBackend(), EngineOptions()).deviation.hidden == 0


def test_maps_that_are_wrong_behind_scores_of_0_and_1_are_refused(tmp_path: Path) -> None:
    """Golden maps and network agree; their means say 20, what made the score was 25, and both are a score of 1."""
    model = network(bias=(20.0, -20.0))
    softmax = next(node for node in model.graph.node if "prob" in node.output)
    softmax.input[0] = "others"
    model.graph.initializer.append(numpy_helper.from_array(np.array([5, -5], np.float32), "more"))
    model.graph.node.insert(len(model.graph.node) - 1, helper.make_node("Add", ["logits", "more"], ["others"]))
    with pytest.raises(ConfigurationError, match="these maps do not explain this score"):
        load_scorer(ModelPackage.read(write_package(tmp_path / "tiny", model)), OrtBackend(), EngineOptions())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"logits": np.zeros((8, 2), np.float32)}, "logits differs"),
        ({"logits": np.zeros((8, 3), np.float32)}, "logits differs by inf"),
        ({}, "array logits is missing"),
    ],
    ids=["zeros", "three", "missing"],
)
def test_golden_logits_are_those_of_the_network(tmp_path: Path, changes: Arrays, told: str) -> None:
    """A package that states logits has golden ones."""
    folder = write_package(tmp_path / "tiny", network(logits=True), _golden(**changes))
    with pytest.raises(ConfigurationError, match=told):
        load_scorer(ModelPackage.read(folder), OrtBackend(), EngineOptions())


def test_a_network_without_probabilities_is_refused(tmp_path: Path) -> None:
    """NaN of the network itself stops the start; it is not tried again for ever."""
    model = network()
    for tensor in model.graph.initializer:
        if tensor.name == "bias":
            tensor.CopyFrom(numpy_helper.from_array(np.array([np.nan, 0], np.float32), "bias"))
    with pytest.raises(ConfigurationError, match=r"golden\.npz: prob is \[8, 2\]; needed: finite"):
        load_scorer(ModelPackage.read(write_package(tmp_path / "tiny", model, cam=None)), OrtBackend(), EngineOptions())
