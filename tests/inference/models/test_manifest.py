"""A model package is taken whole or refused by file and key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from egfr_dls.errors import ConfigurationError
from inference.models.manifest import ModelPackage, Preprocessing
from tests.inference.packages import network, write_package

Document = dict[str, Any]


def test_a_sound_package_is_read(tmp_path: Path) -> None:
    """The package knows its key, its files and its digest."""
    package = ModelPackage.read(write_package(tmp_path / "tiny"))
    assert package.key == "tiny@1.0.0"
    assert package.sha256 == package.manifest.files["model.onnx"]
    assert package.preprocessing == Preprocessing()


def test_the_defaults_are_the_published_recipe() -> None:
    """An empty preprocessing block means the paper's EGFR model (docs/reference/science.md A7)."""
    assert Preprocessing().model_dump() == {
        "id": "mu2020-hyperimage-1",
        "input_signature": "stacked",
        "channels": ("pet", "ct", "fuse"),
        "size": 64,
        "roi_size": 128,
        "box": "slice",
        "margin_mm": 15,
        "min_slices": 3,
        "min_area_mm2": 20,
        "fov_policy": "warn",
        "ct_window": None,
        "quantise_8bit": True,
        "floor": "second_smallest",
        "zscore_ddof": 1,
        "fuse": "sum_of_minmax",
        "class_index": 1,
        "aggregate": "mean",
        "cut_off": 0.5,
        "radiopharmaceutical": "FDG",
    }


def _set(*path: str, value: Any) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        for part in path[:-1]:
            document = document[part]
        document[path[-1]] = value

    return change


def _drop(key: str) -> Callable[[Document], None]:
    return lambda document: document.pop(key)


FAULTS: dict[str, tuple[Callable[[Document], None], str]] = {
    "unknown key": (_set("colour", value="blue"), "unknown key colour"),
    "unknown preprocessing key": (_set("preprocessing", "zoom", value=2), "unknown key preprocessing.zoom"),
    "unknown preprocessing id": (_set("preprocessing", "id", value="mine-1"), "preprocessing.id"),
    "unknown schema": (_set("schema", value="egfr-dls-model/2"), "schema"),
    "unknown status": (_set("status", value="approved"), "status"),
    "missing key": (_drop("licence"), "licence is missing"),
    "missing preprocessing": (_drop("preprocessing"), "preprocessing is missing"),
    "margin": (_set("preprocessing", "margin_mm", value=25), "preprocessing.margin_mm"),
    "window": (_set("preprocessing", "ct_window", value=[150, -1350]), "ct_window"),
    "channel order": (_set("preprocessing", "channels", value=["ct", "pet", "fuse"]), "preprocessing.channels.0"),
    "cut-off": (_set("preprocessing", "cut_off", value=1.0), "preprocessing.cut_off"),
    "path in files": (_set("files", "../x", value="0" * 64), "files.../x"),
    "no golden": (lambda d: d["files"].pop("golden.npz"), "golden.npz"),
    "digest": (_set("files", "model.onnx", value="0" * 64), "sha256"),
    "no such file": (_set("files", "model.fp16.onnx", value="0" * 64), "model.fp16.onnx"),
    "bias length": (_set("cam", "bias", value=[0.1]), "cam.bias"),
    "input shape": (_set("input", "shape", value=[1, 64, 64]), "needs ['image'] of [3, 64, 64]"),
    "class count": (_set("labels", value=["a", "b", "c"]), "3"),
    "no fp32 tolerance": (_set("tolerance", value={}), "tolerance.fp32"),
    "fp16 without its file": (_set("variants", value=["fp32", "fp16"]), "files must list model.fp16.onnx"),
    "NaN bias": (_set("cam", "bias", value=[float("nan"), 0]), "cam.bias.0"),
    "giant input": (_set("input", "shape", value=[3, 64, 10**9]), "input.shape.2"),
    "unknown key of the card": (_set("card", value={"accuracy": "great"}), "unknown key card.accuracy"),
    "NaN tolerance": (_set("tolerance", "fp32", "prob", value=float("nan")), "tolerance.fp32.prob"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_manifest_is_refused_by_path_and_key(tmp_path: Path, fault: str) -> None:
    """The message names the file and what is wrong in it."""
    folder = write_package(tmp_path / "tiny")
    change, told = FAULTS[fault]
    document = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    change(document)
    (folder / "model.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        ModelPackage.read(folder)
    assert str(folder) in str(caught.value)
    assert told in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
def test_what_is_no_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    """Bytes that are no JSON object name the file."""
    folder = write_package(tmp_path / "tiny")
    (folder / "model.json").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"model\.json"):
        ModelPackage.read(folder)


def test_a_changed_network_is_refused(tmp_path: Path) -> None:
    """One more byte in model.onnx and the package does not load."""
    folder = write_package(tmp_path / "tiny")
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ConfigurationError, match="was changed or damaged"):
        ModelPackage.read(folder)


def test_a_variant_needs_a_tolerance_of_its_own(tmp_path: Path) -> None:
    """fp16 is never held against the numbers of fp32, nor against none."""
    folder = write_package(tmp_path / "tiny")
    (folder / "model.fp16.onnx").write_bytes(b"")
    document = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    document["files"]["model.fp16.onnx"] = hashlib.sha256(b"").hexdigest()
    document["variants"] = ["fp32", "fp16"]
    (folder / "model.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"tolerance\.fp16 is missing"):
        ModelPackage.read(folder)


def test_a_network_of_three_planes_needs_three_inputs(tmp_path: Path) -> None:
    """`planes` packages have one 1-channel input for each channel, in the recipe's order."""
    package = ModelPackage.read(write_package(tmp_path / "pdl1", network(planes=True)))
    assert package.manifest.input.names == ("pet", "ct", "fuse")


def test_a_package_without_preprocessing_is_read_but_serves_nothing(tmp_path: Path) -> None:
    """Foreign networks may be kept; asking for their recipe says why no biomarker takes them."""
    package = ModelPackage.read(write_package(tmp_path / "foreign", preprocessing=None))
    with pytest.raises(ConfigurationError, match="preprocessing is null"):
        _ = package.preprocessing
