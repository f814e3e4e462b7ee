"""What every engine does: backends open sessions, sessions turn images into class probabilities and maps.

No runtime is imported here. One parametrised test module holds each backend against this contract.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from egfr_dls.errors import EgfrDlsError, TemporaryFailureError
from inference.models.manifest import ModelPackage, Precision

Float32NCHW = NDArray[np.float32]
ROW_SUM_TOLERANCE = 1e-5


class EngineInputError(EgfrDlsError):
    """The caller passed an image that no network may see: a defect, found before it reaches a runtime."""


class EngineOutputError(TemporaryFailureError):
    """The runtime gave numbers that are no probabilities."""


class EngineUnavailableError(TemporaryFailureError):
    """The runtime, its driver or its device is not there, or the session is closed."""


@dataclass(frozen=True)
class Availability:
    """Whether a backend can run here, and in words why not."""

    ok: bool
    reason: str = ""


@dataclass(frozen=True)
class EngineOptions:
    """The ``[inference]`` settings that an engine needs, and which variant of a network it opens."""

    threads: int = 1
    max_batch: int = 64
    precision: Precision = "fp32"


@dataclass(frozen=True)
class InputSpec:
    """The images of one call: ``[N, channels, rows, columns]`` float32, whatever inputs the network itself has."""

    shape: tuple[int, int, int]
    n_classes: int
    cam_grid: tuple[int, int] | None
    has_logits: bool = False

    @staticmethod
    def of(package: ModelPackage) -> InputSpec:
        """Return what the package's manifest promises."""
        manifest = package.manifest
        channels, rows, columns = manifest.input.shape
        return InputSpec(
            shape=(channels * len(manifest.input.names), rows, columns),
            n_classes=len(manifest.labels),
            cam_grid=None if manifest.cam is None else manifest.cam.grid,
            has_logits=manifest.logits is not None,
        )


@dataclass(frozen=True, eq=False)
class Result:
    """What a network says of N images.

    ``prob`` is ``[N, classes]``, ``cam`` ``[N, classes, h, w]`` with the bias included, or None; ``seconds`` is the
    time inside the runtime; ``logits`` ``[N, classes]`` is what ``prob`` was made of, or None.
    """

    prob: NDArray[np.float32]
    cam: NDArray[np.float32] | None
    seconds: float
    logits: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class EngineDescription:
    """Which software and device gave the numbers; goes to the report and, with the library's version, to the log."""

    backend: str
    device: str
    library_version: str

    @property
    def runtime(self) -> str:
        """Short name for findings, e.g. ``onnxruntime-cpu``."""
        return f"{self.backend}-{self.device}"


class Session(Protocol):
    """One loaded network."""

    spec: InputSpec
    max_batch: int

    def infer(self, image: Float32NCHW) -> Result:
        """Run 1 to ``max_batch`` images; raises EngineInputError or EngineOutputError."""

    def describe(self) -> EngineDescription:
        """Name the software, its version and the device."""

    def close(self) -> None:
        """Free the network; may be called again. ``infer`` afterwards raises EngineUnavailableError."""


class Backend(Protocol):
    """A runtime."""

    name: str

    def available(self) -> Availability:
        """Say whether it can run here; never raises, imports lazily."""

    def load(self, package: ModelPackage, options: EngineOptions) -> Session:
        """Open a session; raises ConfigurationError or EngineUnavailableError."""


def run_batched(session: Session, image: Float32NCHW) -> Result:
    """Run any number of images in pieces of at most ``max_batch``; the result does not depend on the split."""
    if len(image) <= session.max_batch:
        return session.infer(image)
    pieces = [session.infer(image[i : i + session.max_batch]) for i in range(0, len(image), session.max_batch)]
    return joined(pieces)


def joined(pieces: Sequence[Result]) -> Result:
    """Return the results of consecutive images as one."""
    maps = [p.cam for p in pieces if p.cam is not None]
    logits = [p.logits for p in pieces if p.logits is not None]
    return Result(
        prob=np.concatenate([p.prob for p in pieces]),
        cam=np.concatenate(maps) if maps else None,
        seconds=sum(p.seconds for p in pieces),
        logits=np.concatenate(logits) if logits else None,
    )


def check_input(spec: InputSpec, max_batch: int, image: Float32NCHW) -> None:
    """Raise EngineInputError unless the image is what every engine takes."""
    wanted = f"float32 [1..{max_batch}, {', '.join(map(str, spec.shape))}], C-contiguous and finite"
    if image.dtype != np.float32 or image.shape[1:] != spec.shape:
        raise EngineInputError(f"image is {image.dtype} {list(image.shape)}; needed: {wanted}")
    if not 1 <= len(image) <= max_batch:
        raise EngineInputError(f"image holds {len(image)} slices; needed: {wanted}")
    if not image.flags.c_contiguous:
        raise EngineInputError(f"image is not C-contiguous; needed: {wanted}")
    if not np.isfinite(image).all():
        raise EngineInputError(f"image holds NaN or infinity; needed: {wanted}")


def check_output(spec: InputSpec, n: int, result: Result) -> Result:
    """Return the result, or raise EngineOutputError unless it holds finite probabilities (and maps) for n images."""
    prob, cam = result.prob, result.cam
    if prob.shape != (n, spec.n_classes) or not np.isfinite(prob).all():
        raise EngineOutputError(f"prob is {list(prob.shape)}; needed: finite [{n}, {spec.n_classes}]")
    if spec.n_classes > 1 and float(np.abs(prob.sum(axis=1) - 1.0).max()) > ROW_SUM_TOLERANCE:
        raise EngineOutputError(f"rows of prob do not sum to 1 within {ROW_SUM_TOLERANCE:g}")
    if spec.cam_grid is not None:
        shape = (n, spec.n_classes, *spec.cam_grid)
        if cam is None or cam.shape != shape or not np.isfinite(cam).all():
            found = None if cam is None else list(cam.shape)
            raise EngineOutputError(f"cam is {found}; needed: finite {list(shape)}")
    if spec.has_logits and (
        result.logits is None or result.logits.shape != prob.shape or not np.isfinite(result.logits).all()
    ):
        found = None if result.logits is None else list(result.logits.shape)
        raise EngineOutputError(f"logits is {found}; needed: finite {list(prob.shape)}")
    return result
