"""Every backend that is here runs the golden test of every variant; those that are not say why."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from inference.engine import verification
from inference.engine.contract import (
    Availability,
    Backend,
    EngineOptions,
    EngineOutputError,
    EngineUnavailableError,
    Result,
    Session,
)
from inference.engine.onnx import OrtBackend
from inference.engine.verification import CANDIDATES, Check, Outcome, verify
from inference.models.manifest import ModelPackage
from tests.inference.packages import golden_images, network, write_package


@pytest.fixture
def package(tmp_path: Path) -> ModelPackage:
    """A package with maps and logits."""
    return ModelPackage.read(write_package(tmp_path / "tiny", network(logits=True)))


def test_the_processor_passes_and_the_others_say_why(package: ModelPackage) -> None:
    """The locked onnxruntime has no provider but the CPU."""
    checks = {check.backend: check for check in verify(package, list(CANDIDATES))}
    assert set(checks) == set(CANDIDATES)
    passed = checks.pop("onnxruntime")
    assert passed.outcome is Outcome.PASSED
    assert passed.deviation is not None
    assert passed.deviation.prob <= 1e-5
    assert passed.library_version
    assert {check.outcome for check in checks.values()} == {Outcome.NOT_AVAILABLE}
    assert checks["onnxruntime-cuda"].reason == "the onnxruntime that is installed has no CUDAExecutionProvider"
    assert checks["tensorrt"].reason == "not in this version of egfr-dls"


@dataclass
class Wrong:
    """A backend that opens the network and spoils what it answers."""

    spoil: str
    name: str = "wrong"

    def available(self) -> Availability:
        return Availability(True)

    def load(self, package: ModelPackage, options: EngineOptions) -> Session:
        session = OrtBackend().load(package, options)
        sound = session.infer

        def infer(image: np.ndarray) -> Result:
            found = sound(image)
            if self.spoil == "single" and np.array_equal(image, golden_images(1)):
                return replace(found, prob=found.prob[:, ::-1])
            if self.spoil == "seven" and len(image) == 7:
                return replace(found, prob=np.roll(found.prob, 1, axis=0))
            if self.spoil == "logits" and found.logits is not None:
                return replace(found, logits=found.logits * np.float32(1.01))
            if self.spoil == "NaN":
                raise EngineOutputError("prob is [8, 2]; needed: finite [8, 2]")
            return found

        session.infer = infer  # type: ignore[method-assign]
        return session


def _only(package: ModelPackage, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> Check:
    monkeypatch.setitem(verification.CANDIDATES, "wrong", backend)
    (check,) = verify(package, ["wrong"])
    return check


@pytest.mark.parametrize(
    ("spoil", "told"),
    [("single", "prob differs"), ("seven", "prob differs"), ("logits", "logits differs by"), ("NaN", "needed: finite")],
)
def test_an_engine_that_is_wrong_is_found(
    package: ModelPackage, monkeypatch: pytest.MonkeyPatch, spoil: str, told: str
) -> None:
    """For images on their own, in another company, behind the scores, and where it gives no numbers."""
    check = _only(package, Wrong(spoil), monkeypatch)
    assert check.outcome is Outcome.FAILED
    assert told in (check.reason or "")


class Absent(Wrong):
    """A backend whose driver is missing, which shows only when it is opened."""

    def load(self, package: ModelPackage, options: EngineOptions) -> Session:
        raise EngineUnavailableError("no driver")


def test_an_engine_that_does_not_start_is_not_available(package: ModelPackage, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is no fault of the package."""
    check = _only(package, Absent(""), monkeypatch)
    assert (check.outcome, check.reason) == (Outcome.NOT_AVAILABLE, "no driver")


def test_a_network_that_cannot_be_opened_fails(tmp_path: Path) -> None:
    """Its digest fits, its inputs do not."""
    folder = write_package(
        tmp_path / "tiny", network(planes=True), input={"names": ["image"], "shape": [3, 64, 64]}, preprocessing={}
    )
    (check,) = verify(ModelPackage.read(folder), ["onnxruntime"])
    assert check.outcome is Outcome.FAILED
    assert "inputs are" in (check.reason or "")
