"""What is written is a whole package, and nothing of an earlier one stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from inference.engine.contract import EngineOptions
from inference.engine.gate import load_scorer
from inference.engine.onnx import OrtBackend
from inference.models.manifest import ModelPackage
from tests.inference.packages import golden_images, manifest, network, run
from training_export.half_precision import half_precision
from training_export.package_writer import write_manifest, write_package

MODEL = network(logits=True)
OWN = ("schema", "files", "tolerance", "logits")


def facts(**changes: Any) -> dict[str, Any]:
    """The manifest's keys that a caller gives."""
    return {key: value for key, value in manifest(MODEL).items() if key not in OWN} | changes


def write(folder: Path, *, half: bool = True, **changes: Any) -> ModelPackage:
    """Write the package of one network."""
    image = golden_images()
    variant = half_precision(MODEL) if half else None
    return write_package(
        folder, facts(**changes), MODEL.SerializeToString(), {"image": image, **run(MODEL, image)}, variant
    )


def test_both_variants_pass_their_golden_test(tmp_path: Path) -> None:
    """Files, digests, tolerances and what the manifest says of them."""
    package = write(tmp_path / "p")
    assert sorted(p.name for p in package.folder.iterdir()) == [
        "card.md", "golden.npz", "model.fp16.onnx", "model.json", "model.onnx",
    ]  # fmt: skip
    assert set(package.manifest.files) == {"card.md", "golden.npz", "model.fp16.onnx", "model.onnx"}
    assert package.manifest.variants == ("fp32", "fp16")
    assert package.manifest.logits == "logits"
    half = load_scorer(package, OrtBackend(), EngineOptions(precision="fp16")).deviation
    assert 1e-7 < half.prob <= package.manifest.tolerance["fp16"].prob == 1e-3
    assert load_scorer(package, OrtBackend(), EngineOptions()).deviation.prob <= 1e-5


def test_what_was_there_before_goes(tmp_path: Path) -> None:
    """A variant of another network, and a signature of another manifest, would stand in a sound package's folder."""
    write(tmp_path / "p")
    (tmp_path / "p" / "model.json.sig").write_bytes(bytes(64))
    (tmp_path / "p" / "notes.txt").write_text("mine", encoding="utf-8")
    package = write(tmp_path / "p", half=False)
    assert package.manifest.variants == ("fp32",)
    assert sorted(p.name for p in package.folder.iterdir()) == [
        "card.md", "golden.npz", "model.json", "model.onnx", "notes.txt",
    ]  # fmt: skip


def test_the_card_is_written_anew_with_the_manifest(tmp_path: Path) -> None:
    """And its digest is in it."""
    package = write(tmp_path / "p")
    document = package.manifest.model_dump(mode="json", by_alias=True)
    changed = write_manifest(package.folder, document | {"card": {"intended_use": "triage of nobody"}})
    assert "triage of nobody" in (package.folder / "card.md").read_text(encoding="utf-8")
    assert changed.manifest.files["card.md"] != package.manifest.files["card.md"]
    assert changed.sha256 == package.sha256


def test_facts_that_no_manifest_takes_write_nothing(tmp_path: Path) -> None:
    """An earlier package stays whole."""
    before = write(tmp_path / "p")
    with pytest.raises(ValidationError):
        write(tmp_path / "p", status="approved")
    assert ModelPackage.read(tmp_path / "p") == before
    assert np.load(before.golden)["image"].shape == (8, 3, 64, 64)
