"""The golden test: no network serves before it has given the values that its package states."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from egfr_dls.errors import ConfigurationError
from egfr_dls.findings import ModelUse
from inference.engine.contract import (
    Backend,
    EngineInputError,
    EngineOptions,
    Float32NCHW,
    Result,
    Session,
    run_batched,
)
from inference.engine.onnx import OrtBackend
from inference.models.manifest import ModelPackage, Preprocessing

CAM_IDENTITY = 1e-3  # softmax of the spatial means = prob, on any engine (docs/reference/science.md, Zhou et al. 2016)
BACKENDS: dict[str, type[Backend]] = {"onnxruntime": OrtBackend}  # the setting [inference] backend


@dataclass(frozen=True)
class Deviation:
    """Largest difference from the golden values: probability, and map relative to its largest value."""

    prob: float
    cam_rel: float | None


@dataclass(frozen=True, eq=False)
class Scorer:
    """A network that passed its golden test, ready to serve."""

    package: ModelPackage
    session: Session
    deviation: Deviation

    @property
    def preprocessing(self) -> Preprocessing:
        """How its input is made."""
        return self.package.preprocessing

    @property
    def use(self) -> ModelUse:
        """The network as findings and reports name it."""
        manifest = self.package.manifest
        return ModelUse(
            name=manifest.name,
            version=manifest.version,
            sha256=self.package.sha256,
            status=manifest.status,
            cut_off=self.preprocessing.cut_off,
            runtime=self.session.describe().runtime,
        )

    def score(self, images: Float32NCHW) -> Result:
        """Run any number of images ``[N, channels, rows, columns]``."""
        return run_batched(self.session, np.ascontiguousarray(images, np.float32))


def load_scorer(package: ModelPackage, backend: Backend, options: EngineOptions) -> Scorer:
    """Open a package and run its golden test.

    Raises
    ------
    ConfigurationError
        the network does not give its golden values within the manifest's tolerance; the service must not start
    """
    session = backend.load(package, options)
    golden = _read_golden(package)
    try:
        result = run_batched(session, golden["image"])
    except EngineInputError as error:
        raise ConfigurationError(f"{package.golden}: {error}") from error
    deviation = _compare(golden, result)
    tolerance = package.manifest.tolerance["fp32"]
    if not deviation.prob <= tolerance.prob:
        session.close()
        raise ConfigurationError(
            f"{package.golden}: prob differs by {deviation.prob:.3g} on {backend.name}, "
            f"more than tolerance.fp32.prob {tolerance.prob:g}; the package does not fit this engine"
        )
    if deviation.cam_rel is not None and not deviation.cam_rel <= tolerance.cam_rel:
        session.close()
        raise ConfigurationError(
            f"{package.golden}: cam differs by {deviation.cam_rel:.3g} of its maximum on {backend.name}, "
            f"more than tolerance.fp32.cam_rel {tolerance.cam_rel:g}; the package does not fit this engine"
        )
    if result.cam is not None and not (apart := _explained(result.prob, result.cam)) <= CAM_IDENTITY:
        session.close()
        raise ConfigurationError(
            f"{package.network}: the class probabilities of the maps' means differ by {apart:.3g} from prob, more than "
            f"{CAM_IDENTITY:g}: these maps do not explain this score. Needed: cam = sum of weights x features + bias, "
            "before the mean (docs/reference/science.md); or `cam: null` in the manifest"
        )
    return Scorer(package, session, deviation)


def _read_golden(package: ModelPackage) -> Mapping[str, NDArray[np.float32]]:
    try:
        with np.load(package.golden, allow_pickle=False) as arrays:
            golden = {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ConfigurationError(f"{package.golden} is not an npz file: {error}") from error
    for name in ("image", "prob") if package.manifest.cam is None else ("image", "prob", "cam"):
        if name not in golden:
            raise ConfigurationError(f"{package.golden}: array {name} is missing")
    return golden


def _compare(golden: Mapping[str, NDArray[np.float32]], result: Result) -> Deviation:
    prob = _largest(golden["prob"], result.prob)
    if result.cam is None:
        return Deviation(prob, None)
    scale = float(np.abs(golden["cam"]).max()) or 1.0
    return Deviation(prob, _largest(golden["cam"], result.cam) / scale)


def _explained(prob: NDArray[np.float32], cam: NDArray[np.float32]) -> float:
    """Return how far the softmax of the maps' spatial means is from the probabilities: an identity of such a head."""
    return _largest(prob, softmax(cam.mean(axis=(2, 3), dtype=np.float64), axis=1))


def _largest(wanted: NDArray[np.floating], found: NDArray[np.floating]) -> float:
    if wanted.shape != found.shape:
        return float("inf")
    return float(np.abs(wanted.astype(np.float64) - found.astype(np.float64)).max())
