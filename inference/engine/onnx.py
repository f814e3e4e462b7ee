"""ONNX Runtime on the CPU: the default engine, and the only importer of onnxruntime."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from egfr_dls.errors import ConfigurationError
from inference.engine.contract import (
    Availability,
    EngineDescription,
    EngineOptions,
    EngineOutputError,
    EngineUnavailableError,
    Float32NCHW,
    InputSpec,
    Result,
    check_input,
    check_output,
)
from inference.models.manifest import ModelPackage

PROVIDERS = ["CPUExecutionProvider"]


class OrtBackend:
    """Opens packages with ONNX Runtime, on the CPU only."""

    name = "onnxruntime"

    def available(self) -> Availability:
        """Say whether onnxruntime can be imported here."""
        try:
            import onnxruntime  # noqa: F401  # engines are imported only where they are used
        except ImportError as error:
            return Availability(False, f"onnxruntime cannot be imported: {error}")
        return Availability(True)

    def load(self, package: ModelPackage, options: EngineOptions) -> OrtSession:
        """Open the package's network and hold its inputs and outputs against the manifest.

        Raises
        ------
        ConfigurationError
            the file is no network, or not the one that its manifest describes
        EngineUnavailableError
            onnxruntime is missing
        """
        availability = self.available()
        if not availability.ok:
            raise EngineUnavailableError(availability.reason)
        import onnxruntime  # engines are imported only where they are used

        try:
            runtime = onnxruntime.InferenceSession(
                str(package.network), sess_options=_session_options(onnxruntime, options), providers=PROVIDERS
            )
        except Exception as error:  # onnxruntime raises a dozen unrelated classes for a bad file
            raise ConfigurationError(f"{package.network}: onnxruntime cannot load it: {error}") from error
        _check_names(package, [i.name for i in runtime.get_inputs()], [o.name for o in runtime.get_outputs()])
        return OrtSession(package, runtime, options.max_batch, onnxruntime.__version__)


class OrtSession:
    """One network in ONNX Runtime. Callers pass all channels; networks with several inputs get their planes."""

    def __init__(self, package: ModelPackage, runtime: Any, max_batch: int, version: str) -> None:
        self.spec = InputSpec.of(package)
        self.max_batch = max_batch
        self._runtime = runtime
        self._names = package.manifest.input.names
        self._outputs = output_names(package)
        self._description = EngineDescription(self.name, "cpu", version)

    name = OrtBackend.name

    def infer(self, image: Float32NCHW) -> Result:
        """Run 1 to ``max_batch`` images ``[N, channels, rows, columns]``."""
        if self._runtime is None:
            raise EngineUnavailableError("the session is closed")
        check_input(self.spec, self.max_batch, image)
        planes = np.split(image, len(self._names), axis=1)
        feed = {n: np.ascontiguousarray(plane) for n, plane in zip(self._names, planes, strict=True)}
        start = time.perf_counter()
        try:
            outputs = self._runtime.run(self._outputs, feed)
        except Exception as error:  # whatever the runtime raises here, the study may be tried again
            raise EngineOutputError(f"onnxruntime failed: {error}") from error
        seconds = time.perf_counter() - start
        result = Result(outputs[0], outputs[1] if len(outputs) > 1 else None, seconds)
        return check_output(self.spec, len(image), result)

    def describe(self) -> EngineDescription:
        """Name the runtime, the device and the runtime's version."""
        return self._description

    def close(self) -> None:
        """Free the network; may be called again."""
        self._runtime = None


def output_names(package: ModelPackage) -> list[str]:
    """Return the graph outputs that a package must have, in order."""
    cam = package.manifest.cam
    return ["prob"] if cam is None else ["prob", cam.output]


def _session_options(onnxruntime: Any, options: EngineOptions) -> Any:
    chosen = onnxruntime.SessionOptions()
    chosen.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    chosen.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    chosen.inter_op_num_threads = 1
    chosen.intra_op_num_threads = options.threads
    chosen.add_session_config_entry("session.intra_op.allow_spinning", "0")  # other stages share the cores
    chosen.log_severity_level = 3  # errors only: faults reach the log as our own events
    return chosen


def _check_names(package: ModelPackage, inputs: list[str], outputs: list[str]) -> None:
    wanted = list(package.manifest.input.names)
    if inputs != wanted:
        raise ConfigurationError(
            f"{package.network}: inputs are {inputs}, but its manifest states input.names {wanted}"
        )
    needed = output_names(package)
    if outputs[: len(needed)] != needed:
        raise ConfigurationError(f"{package.network}: outputs are {outputs}; needed, in this order: {needed}")
