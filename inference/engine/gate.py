"""The golden test: no network serves before it has given the values that its package states."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from egfr_dls.errors import ConfigurationError
from egfr_dls.findings import ModelUse
from inference.engine.contract import (
    Backend,
    EngineInputError,
    EngineOptions,
    EngineOutputError,
    Float32NCHW,
    Result,
    Session,
    run_batched,
)
from inference.engine.deviation import Deviation, deviation, fault
from inference.engine.golden_file import read_golden
from inference.engine.onnx import OrtBackend
from inference.models.manifest import ModelPackage, Preprocessing

BACKENDS: dict[str, type[Backend]] = {"onnxruntime": OrtBackend}  # the setting [inference] backend


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
    golden = read_golden(package)
    session = backend.load(package, options)
    try:
        found = deviation(golden, run_batched(session, np.asarray(golden["image"])))
    except (EngineInputError, EngineOutputError) as error:
        session.close()
        raise ConfigurationError(f"{package.golden}: {error}") from error
    wrong = fault(found, package.manifest.tolerance[options.precision], options.precision, backend.name)
    if wrong is not None:
        session.close()
        raise ConfigurationError(f"{package.golden}: {wrong}; the package does not fit this engine")
    return Scorer(package, session, found)
