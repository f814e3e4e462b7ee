"""The shipped demonstration networks, and the command that makes them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from inference.engine.contract import EngineOptions
from inference.engine.gate import Scorer, load_scorer
from inference.engine.onnx import OrtBackend
from inference.models.catalogue import SHIPPED, read_catalogue
from inference.models.manifest import ModelPackage, Preprocessing
from training_export.dataset import VALIDATION_SEED, phantom_examples
from training_export.phantoms import phantom_labels

PACKAGES = {p.manifest.task: p for p in read_catalogue(None)}
# Of the legacy ONNX exporter, which alone needs no further package.
LEGACY_EXPORTER = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module", params=["egfr", "pdl1"])
def scorer(request: pytest.FixtureRequest) -> Scorer:
    """A shipped network behind its golden test."""
    return load_scorer(PACKAGES[request.param], OrtBackend(), EngineOptions())


def test_shipped_packages_say_what_they_are() -> None:
    """Both are marked as demonstration, name what they saw, and are a few MB in all."""
    assert set(PACKAGES) == {"egfr", "pdl1"}
    for package in PACKAGES.values():
        assert package.manifest.status == "demonstration"
        assert "phantom" in package.manifest.trained_on
        assert "nothing about patients" in package.manifest.performance
    assert sum(path.stat().st_size for path in SHIPPED.glob("*/*") if path.is_file()) < 4_000_000
    assert PACKAGES["egfr"].preprocessing.input_signature == "stacked"
    assert PACKAGES["pdl1"].preprocessing.input_signature == "planes"


def test_shipped_packages_pass_their_golden_test(scorer: Scorer) -> None:
    """ONNX Runtime gives the stated values."""
    assert scorer.deviation.prob <= 1e-5
    assert scorer.deviation.cam_rel is not None
    assert scorer.deviation.cam_rel <= 1e-4


def test_golden_values_could_fail(scorer: Scorer) -> None:
    """The golden answers are not all saturated and not all the same."""
    with np.load(scorer.package.golden) as golden:
        positive = golden["prob"][:, 1]
    assert np.count_nonzero((positive > 0.1) & (positive < 0.9)) >= 2
    assert float(np.ptp(positive)) > 0.05


def test_class_maps_are_the_evidence(scorer: Scorer) -> None:
    """softmax of the maps' spatial means is the probability (docs/reference/science.md G)."""
    with np.load(scorer.package.golden) as golden:
        result = scorer.score(golden["image"])
    assert result.cam is not None
    logits = result.cam.mean(axis=(2, 3), dtype=np.float64)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(odds / odds.sum(axis=1, keepdims=True), result.prob, atol=1e-5)


def test_shipped_networks_tell_phantoms_apart(scorer: Scorer) -> None:
    """One phantom of either label falls on its side of the cut-off (the benchmark measures a hundred)."""
    task = scorer.package.manifest.task
    column = ("egfr", "pdl1").index(task)
    for wanted in (0, 1):
        seed = next(s for s in range(40_000, 40_100) if phantom_labels(s)[column] == wanted)
        examples = phantom_examples(seed, Preprocessing())
        score = float(scorer.score(examples.images[examples.stored_primary]).prob[:, 1].mean())
        assert (score >= 0.5) == bool(wanted)


@pytest.mark.training
@LEGACY_EXPORTER
def test_training_makes_checked_packages_and_twice_the_same(tmp_path: Path) -> None:
    """A tiny run of the one command writes both packages, and a second run the same bytes."""
    pytest.importorskip("torch", reason="PyTorch is not installed (extra training)")
    from training_export.demonstration import Effort, make_networks

    count = next(n for n in range(2, 20) if _both_labels(n))
    effort = Effort(training_phantoms=2, validation_phantoms=count, epochs=1)
    made = [make_networks(tmp_path / name, effort, Console(quiet=True)) for name in ("one", "two")]
    assert [_digests(p) for p in made[0]] == [_digests(p) for p in made[1]]
    for package in made[0]:
        load_scorer(package, OrtBackend(), EngineOptions()).session.close()


def _both_labels(count: int) -> bool:
    labels = [phantom_labels(seed) for seed in range(VALIDATION_SEED, VALIDATION_SEED + count)]
    return all(len({pair[column] for pair in labels}) == 2 for column in (0, 1))


def _digests(package: ModelPackage) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(package.folder.iterdir())}
