"""Runs the golden test of a package on every backend that this machine has, in every precision that the package has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import reduce

import numpy as np

from egfr_dls.errors import ConfigurationError
from inference.engine.contract import (
    Availability,
    Backend,
    EngineInputError,
    EngineOptions,
    EngineOutputError,
    EngineUnavailableError,
    Session,
    joined,
    run_batched,
)
from inference.engine.deviation import Deviation, deviation, fault
from inference.engine.golden_file import Golden, read_golden
from inference.engine.onnx import OrtBackend
from inference.models.manifest import ModelPackage, Precision, Tolerance


class Outcome(StrEnum):
    """How one golden test ended."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_AVAILABLE = "not_available"


@dataclass(frozen=True)
class Check:
    """One backend in one precision; ``reason`` says why it failed or is not available."""

    backend: str
    precision: Precision | None
    outcome: Outcome
    reason: str | None = None
    deviation: Deviation | None = None
    tolerance: Tolerance | None = None
    library_version: str | None = None


class _Later:
    """A backend of the operator's contract that this version does not have."""

    def __init__(self, name: str) -> None:
        self.name = name

    def available(self) -> Availability:
        """Say so."""
        return Availability(False, "not in this version of egfr-dls")

    def load(self, package: ModelPackage, options: EngineOptions) -> Session:  # noqa: ARG002  # the form of a backend
        """Raise EngineUnavailableError."""
        raise EngineUnavailableError(self.available().reason)


# What --backend may name. The service serves with "onnxruntime" alone; other providers of the library are verified where
# the site installed a build that has them.
CANDIDATES: dict[str, Backend] = {
    "onnxruntime": OrtBackend(),
    "onnxruntime-cuda": OrtBackend("cuda", "CUDAExecutionProvider"),
    "onnxruntime-openvino": OrtBackend("openvino", "OpenVINOExecutionProvider"),
    "tensorrt": _Later("tensorrt"),
    "tensorrt_rtx": _Later("tensorrt_rtx"),
    "triton": _Later("triton"),
}


def verify(package: ModelPackage, backends: Sequence[str]) -> tuple[Check, ...]:
    """Run the golden test on each backend; raises ConfigurationError where the golden file itself is faulty."""
    golden = read_golden(package)
    return tuple(check for name in backends for check in _checks(package, golden, name))


def _checks(package: ModelPackage, golden: Golden, name: str) -> Iterator[Check]:
    backend = CANDIDATES[name]
    availability = backend.available()
    if not availability.ok:
        yield Check(name, None, Outcome.NOT_AVAILABLE, availability.reason)
        return
    for precision in package.manifest.variants:
        yield _check(package, golden, name, precision)


def _check(package: ModelPackage, golden: Golden, name: str, precision: Precision) -> Check:
    tolerance = package.manifest.tolerance[precision]
    try:
        session = CANDIDATES[name].load(package, EngineOptions(precision=precision))
    except EngineUnavailableError as error:
        return Check(name, precision, Outcome.NOT_AVAILABLE, str(error))
    except ConfigurationError as error:
        return Check(name, precision, Outcome.FAILED, str(error))
    version = session.describe().library_version
    try:
        found = _worst(session, golden)
    except (EngineInputError, EngineOutputError) as error:
        return Check(name, precision, Outcome.FAILED, str(error), None, tolerance, version)
    finally:
        session.close()
    wrong = fault(found, tolerance, precision, name)
    return Check(name, precision, Outcome.FAILED if wrong else Outcome.PASSED, wrong, found, tolerance, version)


def _worst(session: Session, golden: Golden) -> Deviation:
    """Run the images together, one by one, and all but the last: an answer must not depend on what lies beside it."""
    image = np.asarray(golden["image"])
    last = len(image) - 1
    splits = [[image], [image[i : i + 1] for i in range(len(image))], [image[:last], image[last:]]]
    results = [joined([run_batched(session, piece) for piece in split if len(piece)]) for split in splits]
    return reduce(Deviation.worst, (deviation(golden, result) for result in results))
