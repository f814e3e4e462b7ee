"""ONNX Runtime: on the CPU the default engine, elsewhere verified only. The only importer of onnxruntime."""

from __future__ import annotations

import os
import time
from pathlib import Path
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

CPU = "CPUExecutionProvider"
# What a provider is told beside its name: numbers of the precision that the network states.
PROVIDER_OPTIONS = {"CUDAExecutionProvider": {"use_tf32": "0"}}


class OrtBackend:
    """Opens packages with ONNX Runtime: on the CPU, or by another provider of the library that is installed."""

    name = "onnxruntime"

    def __init__(self, device: str = "cpu", provider: str = CPU) -> None:
        self.device = device
        self._provider = provider

    def available(self) -> Availability:
        """Say whether onnxruntime can be imported here, and has the provider."""
        try:
            import onnxruntime  # engines are imported only where they are used
        except ImportError as error:
            return Availability(False, f"onnxruntime cannot be imported: {error}")
        if self._provider not in onnxruntime.get_available_providers():
            return Availability(False, f"the onnxruntime that is installed has no {self._provider}")
        return Availability(True)

    def load(self, package: ModelPackage, options: EngineOptions) -> OrtSession:
        """Open the package's network and hold its inputs and outputs against the manifest.

        Raises
        ------
        ConfigurationError
            the file is no network, or not the one that its manifest describes
        EngineUnavailableError
            onnxruntime or its provider is missing, or does not start here
        """
        availability = self.available()
        if not availability.ok:
            raise EngineUnavailableError(availability.reason)
        import onnxruntime  # engines are imported only where they are used

        path = package.folder / package.variant(options.precision)
        network = package.content(path.name)  # the very bytes whose digest was checked
        try:
            runtime = onnxruntime.InferenceSession(
                network,
                sess_options=_session_options(onnxruntime, options),
                providers=[(self._provider, PROVIDER_OPTIONS.get(self._provider, {}))],
                enable_fallback=False,  # it would print to standard output, and serve with something else
            )
        except Exception as error:  # onnxruntime raises a dozen unrelated classes for a bad file
            raise ConfigurationError(f"{path}: onnxruntime cannot load it: {str(error)[:400]}") from error
        if runtime.get_providers()[0] != self._provider:
            raise EngineUnavailableError(f"{self._provider} does not start here; onnxruntime fell back to the CPU")
        _check_names(package, path, [i.name for i in runtime.get_inputs()], [o.name for o in runtime.get_outputs()])
        return OrtSession(package, runtime, options.max_batch, self.device, onnxruntime.__version__)


class OrtSession:
    """One network in ONNX Runtime. Callers pass all channels; networks with several inputs get their planes."""

    def __init__(self, package: ModelPackage, runtime: Any, max_batch: int, device: str, version: str) -> None:
        self.spec = InputSpec.of(package)
        self.max_batch = max_batch
        self._runtime = runtime
        self._names = package.manifest.input.names
        self._outputs = output_names(package)
        self._description = EngineDescription(self.name, device, version)

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
            outputs = dict(zip(self._outputs, self._runtime.run(self._outputs, feed), strict=True))
        except Exception as error:  # whatever the runtime raises here, the study may be tried again
            raise EngineOutputError(f"onnxruntime failed: {error}") from error
        seconds = time.perf_counter() - start
        result = Result(outputs["prob"], outputs.get("cam"), seconds, outputs.get("logits"))
        return check_output(self.spec, len(image), result)

    def describe(self) -> EngineDescription:
        """Name the runtime, the device and the runtime's version."""
        return self._description

    def close(self) -> None:
        """Free the network; may be called again."""
        self._runtime = None


def output_names(package: ModelPackage) -> list[str]:
    """Return the graph outputs that a package must have, in order."""
    manifest = package.manifest
    optional = (manifest.cam.output if manifest.cam else None, manifest.logits)
    return ["prob", *(name for name in optional if name is not None)]


def _session_options(onnxruntime: Any, options: EngineOptions) -> Any:
    chosen = onnxruntime.SessionOptions()
    chosen.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    chosen.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    chosen.inter_op_num_threads = 1
    chosen.intra_op_num_threads = options.threads
    chosen.add_session_config_entry("session.intra_op.allow_spinning", "0")  # other stages share the cores
    # Weights that a network keeps in another file are under no digest, so there is no folder to look for them in.
    chosen.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    chosen.log_severity_level = 3  # errors only: faults reach the log as our own events
    return chosen


def _check_names(package: ModelPackage, path: Path, inputs: list[str], outputs: list[str]) -> None:
    wanted = list(package.manifest.input.names)
    if inputs != wanted:
        raise ConfigurationError(f"{path}: inputs are {inputs}, but its manifest states input.names {wanted}")
    needed = output_names(package)
    if outputs[: len(needed)] != needed:
        raise ConfigurationError(f"{path}: outputs are {outputs}; needed, in this order: {needed}")
