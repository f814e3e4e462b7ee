"""Every backend keeps the same contract; callers need not know which one serves."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import inference.engine
from egfr_dls.errors import ConfigurationError
from inference.engine.contract import (
    Backend,
    EngineInputError,
    EngineOptions,
    EngineOutputError,
    EngineUnavailableError,
    InputSpec,
    Result,
    Session,
    check_output,
    run_batched,
)
from inference.engine.gate import BACKENDS
from inference.models.manifest import ModelPackage
from tests.inference.packages import golden_images, network, run, state_digests, write_package

Images = NDArray[np.float32]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each backend that the settings may name."""
    return BACKENDS[request.param]()


@pytest.fixture
def package(tmp_path: Path) -> ModelPackage:
    """A package whose network takes one input of three channels."""
    return ModelPackage.read(write_package(tmp_path / "tiny"))


@pytest.fixture
def session(backend: Backend, package: ModelPackage) -> Iterator[Session]:
    """An open session of at most 64 images."""
    opened = backend.load(package, EngineOptions())
    yield opened
    opened.close()


def test_it_is_available_and_carries_its_setting(backend: Backend) -> None:
    """The backend's name is the setting's value, and the locked environment can run it."""
    assert BACKENDS[backend.name] is type(backend)
    assert backend.available().ok


@pytest.mark.parametrize("n", [1, 2, 7, 64])
def test_probabilities_and_maps_are_those_of_the_network(session: Session, n: int) -> None:
    """Same numbers as an independent run of the same graph."""
    image = golden_images(n)
    wanted, found = run(network(), image), session.infer(image)
    np.testing.assert_allclose(found.prob, wanted["prob"], atol=1e-5)
    assert found.cam is not None
    np.testing.assert_allclose(found.cam, wanted["cam"], atol=1e-4)
    assert found.seconds > 0


BAD_IMAGES: dict[str, tuple[Callable[[Images], NDArray[np.floating]], str]] = {
    "none": (lambda x: x[:0], "holds 0 slices"),
    "65": (lambda x: np.repeat(x[:1], 65, axis=0), "holds 65 slices"),
    "channels last": (lambda x: np.ascontiguousarray(x.transpose(0, 2, 3, 1)), "64, 64, 3"),
    "one channel": (lambda x: x[:, :1].copy(), "1, 64, 64"),
    "one image without batch": (lambda x: x[0], "3, 64, 64"),
    "float64": (lambda x: x.astype(np.float64), "float64"),
    "not contiguous": (lambda x: x.transpose(0, 1, 3, 2), "contiguous"),
    "NaN": (lambda x: np.where(x == x.max(), np.float32(np.nan), x), "NaN"),
    "infinity": (lambda x: np.where(x == x.max(), np.float32(np.inf), x), "infinity"),
}


@pytest.mark.parametrize("fault", BAD_IMAGES)
def test_a_bad_image_never_reaches_the_runtime(session: Session, fault: str) -> None:
    """The error says what was passed."""
    change, told = BAD_IMAGES[fault]
    with pytest.raises(EngineInputError, match=told):
        session.infer(change(golden_images()))  # type: ignore[arg-type]


@pytest.mark.parametrize("max_batch", [1, 3, 8])
def test_scores_do_not_depend_on_how_slices_are_split(backend: Backend, package: ModelPackage, max_batch: int) -> None:
    """Eight slices in pieces of 1, 3 or 8 give the same numbers in the same order."""
    image = golden_images(8)
    whole = backend.load(package, EngineOptions()).infer(image)
    pieces = run_batched(backend.load(package, EngineOptions(max_batch=max_batch)), image)
    np.testing.assert_allclose(pieces.prob, whole.prob, atol=1e-6)
    assert pieces.cam is not None
    assert whole.cam is not None
    np.testing.assert_allclose(pieces.cam, whole.cam, atol=1e-5)


def test_a_network_that_gives_no_probabilities_is_caught(backend: Backend, tmp_path: Path) -> None:
    """Logits under the name `prob`: every session checks what comes out of the runtime."""
    model = network()
    softmax = next(node for node in model.graph.node if node.op_type == "Softmax")
    softmax.op_type = "Identity"
    del softmax.attribute[:]
    package = ModelPackage.read(write_package(tmp_path / "logits", model))
    with pytest.raises(EngineOutputError, match="sum to 1"):
        backend.load(package, EngineOptions()).infer(golden_images())


def test_planes_are_sliced_by_the_session(backend: Backend, tmp_path: Path) -> None:
    """A network of three inputs is called with the same [N, 3, 64, 64]."""
    package = ModelPackage.read(write_package(tmp_path / "pdl1", network(planes=True)))
    found = backend.load(package, EngineOptions()).infer(golden_images())
    np.testing.assert_allclose(found.prob, run(network(), golden_images())["prob"], atol=1e-6)


def test_a_network_without_maps_gives_none(backend: Backend, tmp_path: Path) -> None:
    """`cam: null` in the manifest: probabilities only."""
    package = ModelPackage.read(write_package(tmp_path / "plain", network(cam=False)))
    assert backend.load(package, EngineOptions()).infer(golden_images()).cam is None


@pytest.mark.parametrize("max_batch", [3, 64])
def test_logits_are_given_where_the_package_has_them(backend: Backend, tmp_path: Path, max_batch: int) -> None:
    """Those of the graph, whatever pieces the images came in."""
    model, image = network(logits=True), golden_images(7)
    package = ModelPackage.read(write_package(tmp_path / "tiny", model))
    found = run_batched(backend.load(package, EngineOptions(max_batch=max_batch)), image)
    assert found.logits is not None
    np.testing.assert_allclose(found.logits, run(model, image)["logits"], atol=1e-5)


def test_weights_beside_the_network_are_not_read(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a network that keeps them in a file of its own are under no digest; not in the working folder either."""
    model = network()
    folder = write_package(tmp_path / "tiny", model)
    onnx.save_model(
        model, str(folder / "model.onnx"), save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    assert (folder / "weights.bin").exists()
    state_digests(folder)
    monkeypatch.chdir(folder)
    with pytest.raises(ConfigurationError, match=r"model\.onnx: onnxruntime cannot load it: .*External data"):
        backend.load(ModelPackage.read(folder), EngineOptions())


def test_a_variant_that_the_package_lacks_is_not_opened(backend: Backend, package: ModelPackage) -> None:
    """fp16 is served only where there is a network of it."""
    with pytest.raises(ConfigurationError, match=r"no variant fp16; it has fp32"):
        backend.load(package, EngineOptions(precision="fp16"))


def test_a_closed_session_refuses(session: Session) -> None:
    """Closing twice is harmless; inferring afterwards is not silent."""
    session.close()
    session.close()
    with pytest.raises(EngineUnavailableError, match="closed"):
        session.infer(golden_images())


def test_it_describes_itself(backend: Backend, session: Session) -> None:
    """Reports name runtime and device; the log also the runtime's version."""
    description = session.describe()
    assert description.runtime == f"{backend.name}-cpu"
    assert re.match(r"\d+\.\d+", description.library_version)


def test_a_file_that_is_no_network_is_a_configuration_error(backend: Backend, tmp_path: Path) -> None:
    """The digest fits, yet the bytes are not ONNX."""
    folder = write_package(tmp_path / "tiny", files={})
    (folder / "model.onnx").write_bytes(b"not a network")
    state_digests(folder)
    package = ModelPackage.read(folder)
    with pytest.raises(ConfigurationError, match=r"model\.onnx"):
        backend.load(package, EngineOptions())


def test_a_damaged_network_is_refused_without_a_word_on_standard_output(
    backend: Backend, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Commands with --json print one document there and nothing else; the library prints when it cannot read a name."""
    folder = write_package(tmp_path / "tiny")
    content = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(content.replace(b"Relu", b"\xff" * 4, 1))
    state_digests(folder)
    with pytest.raises(ConfigurationError, match=r"model\.onnx: onnxruntime cannot load it"):
        backend.load(ModelPackage.read(folder), EngineOptions())
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("model", "changes", "told"),
    [
        (
            network(planes=True),
            {"input": {"names": ["image"], "shape": [3, 64, 64]}, "preprocessing": {}},
            "inputs are",
        ),
        (network(cam=False), {"cam": {"bias": [0.3, -0.2], "grid": [8, 8]}}, "outputs are"),
    ],
    ids=["inputs", "outputs"],
)
def test_a_network_that_its_manifest_does_not_describe(
    backend: Backend, tmp_path: Path, model: object, changes: dict[str, object], told: str
) -> None:
    """Names of inputs and outputs are compared when the package is opened."""
    package = ModelPackage.read(write_package(tmp_path / "tiny", model, **changes))  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=told):
        backend.load(package, EngineOptions())


SPEC = InputSpec(shape=(3, 64, 64), n_classes=2, cam_grid=(8, 8))
PROB, CAM = np.full((2, 2), 0.5, np.float32), np.zeros((2, 2, 8, 8), np.float32)


@pytest.mark.parametrize(
    ("prob", "cam"),
    [
        (PROB[:1], CAM),
        (PROB * np.float32(1.001), CAM),
        (PROB * np.float32(np.nan), CAM),
        (PROB, None),
        (PROB, CAM[:, :, :4]),
        (PROB, CAM + np.float32(np.inf)),
    ],
    ids=["rows", "sum", "NaN", "no map", "grid", "infinite map"],
)
def test_output_that_is_no_probability_is_refused(prob: Images, cam: Images | None) -> None:
    """Nothing but finite probabilities (and maps) leaves an engine."""
    with pytest.raises(EngineOutputError):
        check_output(SPEC, 2, Result(prob, cam, 0.0))


@pytest.mark.parametrize("logits", [None, PROB[:1], PROB[:, :1], PROB * np.float32(np.inf)])
def test_logits_that_the_package_states_are_needed(logits: Images | None) -> None:
    """One for each class and image, finite."""
    spec = replace(SPEC, has_logits=True)
    assert check_output(spec, 2, Result(PROB, CAM, 0.0, PROB)).logits is PROB
    with pytest.raises(EngineOutputError, match="logits is"):
        check_output(spec, 2, Result(PROB, CAM, 0.0, logits))


def test_sound_output_passes_unchanged() -> None:
    """The check adds nothing."""
    result = Result(PROB, CAM, 0.0)
    assert check_output(SPEC, 2, result) is result


def test_the_engine_folder_is_not_importable_bare() -> None:
    """`inference.engine.onnx` must never be taken for the package `onnx`."""
    folder = Path(inference.engine.__path__[0]).resolve()
    assert folder not in {Path(entry).resolve() for entry in sys.path}
    assert not Path(onnx.__file__).resolve().is_relative_to(folder)
