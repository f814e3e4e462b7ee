"""No network serves before it has given the golden values of its package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper

from egfr_dls.errors import ConfigurationError
from inference.engine.contract import EngineOptions
from inference.engine.gate import load_scorer
from inference.engine.onnx import OrtBackend
from inference.models.manifest import ModelPackage
from tests.inference.packages import digests, golden_images, network, run, write_package

Arrays = Mapping[str, NDArray[np.float32]]


def _package(folder: Path, golden: Arrays | None = None) -> ModelPackage:
    """A package whose golden values were replaced, its digests made to fit."""
    write_package(folder)
    if golden is not None:
        np.savez(folder / "golden.npz", **golden)  # type: ignore[arg-type]  # numpy types the keywords as one bool
        path = folder / "model.json"
        document = json.loads(path.read_text(encoding="utf-8")) | {"files": digests(folder)}
        path.write_text(json.dumps(document), encoding="utf-8")
    return ModelPackage.read(folder)


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


def test_a_golden_file_that_is_no_npz_is_refused(tmp_path: Path) -> None:
    """The message names the file."""
    package = _package(tmp_path / "tiny")
    package.golden.write_bytes(b"no npz")
    with pytest.raises(ConfigurationError, match=r"golden\.npz is not an npz file"):
        load_scorer(package, OrtBackend(), EngineOptions())
