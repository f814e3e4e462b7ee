"""`egfr-dls models import`, as a physicist would use it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from egfr_dls import cli
from egfr_dls.errors import ConfigurationError, ExitCode
from inference.engine.contract import EngineOptions
from inference.engine.gate import load_scorer
from inference.engine.onnx import OrtBackend
from inference.models.catalogue import choose, read_catalogue
from inference.models.manifest import ModelPackage
from tests.training_export import onnx_files
from tests.training_export.keras_files import Network
from training_export import import_command
from training_export.package_writer import write_package


def network(size: int = 64, classes: int = 2) -> Network:
    """Return a network of the published form."""
    made = Network()
    x = made.add("Conv2D", made.input(size, size, 3), filters=4, kernel_size=[8, 8], strides=[8, 8])
    made.head(made.add("Activation", x, activation="relu"), classes=classes)
    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The published network's stand-in."""
    return network().write(tmp_path / "Lung EGFR.hdf5")


def run(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str, str]:
    """Run the command line; returns exit code, standard output and standard error."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["models", "import", *map(str, arguments)])
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out, printed.err


def test_a_file_becomes_a_package_that_serves(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Checked, listed, chosen for its task, and it answers like the original."""
    code, out, _ = run(capsys, file, "--out", tmp_path / "models" / "egfr", "--licence", "theirs")
    assert code == ExitCode.DONE, out
    assert "taken by the biomarker of task egfr" in out
    assert "is not shown" in out
    (package,) = read_catalogue(tmp_path / "models")
    assert package.key == "Lung-EGFR@1.0.0"
    assert choose((package,), "egfr", "mu2020-hyperimage-1", None, "x") is package
    manifest = package.manifest
    assert (manifest.status, manifest.licence, manifest.labels) == ("research", "theirs", ("wild type", "mutant"))
    assert manifest.source is not None
    assert manifest.source["kind"] == "keras-hdf5"
    assert manifest.cam is not None
    image = np.random.default_rng(0).normal(0, 1, (5, 64, 64, 3)).astype(np.float32)
    scorer = load_scorer(package, OrtBackend(), EngineOptions())
    found = scorer.score(np.ascontiguousarray(image.transpose(0, 3, 1, 2)))
    np.testing.assert_allclose(found.prob, network().answer(image), atol=1e-6)
    assert sorted(p.name for p in package.folder.iterdir()) == [
        "card.md", "golden.npz", "model.fp16.onnx", "model.json", "model.onnx",
    ]  # fmt: skip


def test_three_planes_are_the_companion(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The PD-L1 form."""
    made = Network()
    planes = [
        made.add("Conv2D", made.input(64, 64, 1), filters=2, kernel_size=[4, 4], strides=[4, 4]) for _ in range(3)
    ]
    made.head(made.add("Concatenate", *planes))
    made.write(tmp_path / "pdl1.h5")
    code, _, _ = run(capsys, tmp_path / "pdl1.h5", "--out", tmp_path / "p", "--task", "pdl1")
    package = ModelPackage.read(tmp_path / "p")
    assert code == ExitCode.DONE
    assert package.preprocessing.input_signature == "planes"
    assert package.manifest.input.names == ("pet", "ct", "fuse")
    assert package.manifest.labels == ("negative", "positive")


def test_a_second_import_gives_the_same_bytes(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """So that a package can be checked against another's."""
    for name in ("one", "two"):
        run(capsys, file, "--out", tmp_path / name)
    for path in sorted((tmp_path / "one").iterdir()):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_other_shapes_become_packages_that_nobody_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ten classes; and a network of 32 pixels, which is taken where its recipe is named."""
    network(classes=10).write(tmp_path / "ten.h5")
    network(size=32).write(tmp_path / "small.h5")
    code, out, _ = run(capsys, tmp_path / "ten.h5", "--out", tmp_path / "a")
    assert code == ExitCode.DONE
    assert "taken by no biomarker" in out
    assert ModelPackage.read(tmp_path / "a").manifest.preprocessing is None
    code, _, err = run(capsys, tmp_path / "ten.h5", "--out", tmp_path / "b", "--preprocessing", "mu2020-hyperimage-1")
    assert code == ExitCode.USAGE
    assert "needs two classes" in err
    run(capsys, tmp_path / "small.h5", "--out", tmp_path / "c")
    assert ModelPackage.read(tmp_path / "c").manifest.preprocessing is None
    run(capsys, tmp_path / "small.h5", "--out", tmp_path / "d", "--preprocessing", "mu2020-hyperimage-1")
    assert ModelPackage.read(tmp_path / "d").preprocessing.size == 32


def test_saturated_golden_answers_are_told_apart_by_their_logits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scores of 0 and 1 alone would let a wrong network pass: nothing to warn of, the golden test looks behind them."""
    made = network()
    made.layers[-1].weights["bias"][:] = (200.0, -200.0)
    made.write(tmp_path / "sure.h5")
    code, out, _ = run(capsys, tmp_path / "sure.h5", "--out", tmp_path / "p")
    assert code == ExitCode.DONE
    assert "warning" not in out
    package = ModelPackage.read(tmp_path / "p")
    golden = dict(np.load(package.golden))
    assert set(np.unique(golden["prob"])) == {0.0, 1.0}
    made.layers[-1].weights["bias"][:] = (300.0, -300.0)
    made.write(tmp_path / "surer.h5")
    run(capsys, tmp_path / "surer.h5", "--out", tmp_path / "q")
    other = ModelPackage.read(tmp_path / "q")
    facts = package.manifest.model_dump(
        mode="json", by_alias=True, exclude={"files", "tolerance", "variants", "logits"}
    )
    exchanged = write_package(tmp_path / "r", facts, other.content("model.onnx"), golden)
    with pytest.raises(ConfigurationError, match="differs by"):
        load_scorer(exchanged, OrtBackend(), EngineOptions())


def test_saturated_golden_answers_are_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the logits cannot be told, only reference scores show small faults."""
    held = onnx_files.weights() | {"b": np.array([40.0, -40.0], np.float32)}
    nodes = (
        *onnx_files.BODY,
        *onnx_files.GEMM_HEAD[:-1],
        ("Softmax", ["s"], "p", {"axis": 1}),
        ("Abs", ["p"], "out", {}),
    )
    onnx_files.write(tmp_path / "sure.onnx", onnx_files.model(nodes, constants=held))
    code, out, _ = run(capsys, tmp_path / "sure.onnx", "--out", tmp_path / "p")
    assert code == ExitCode.DONE
    assert "warning: the golden answers are all near 0 or 1" in out


def test_a_network_beyond_half_precision_is_imported_without_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Told, and kept in the manifest."""
    held = onnx_files.weights()
    held["w"] *= np.float32(1e7)
    held["k"] *= np.float32(1e-7)
    onnx_files.write(tmp_path / "large.onnx", onnx_files.model(constants=held))
    code, out, _ = run(capsys, tmp_path / "large.onnx", "--out", tmp_path / "p")
    assert code == ExitCode.DONE
    assert "precisions: fp32\n" in out
    assert "warning: no fp16 variant: " in out
    manifest = ModelPackage.read(tmp_path / "p").manifest
    assert (manifest.variants, list(manifest.left_out)) == (("fp32",), ["fp16"])
    assert not (tmp_path / "p" / "model.fp16.onnx").exists()


def test_reference_scores_are_kept_in_the_manifest(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scores of four decimals, of the positive class; wrong ones refuse the package."""
    image = np.random.default_rng(2).normal(0, 1, (6, 64, 64, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", image)
    scores = network().answer(image)[:, 1]
    (tmp_path / "y.txt").write_text("\n".join(f"{s:.4f}" for s in scores), encoding="utf-8")
    options = ("--reference-inputs", tmp_path / "x.npy", "--reference-scores", tmp_path / "y.txt")
    code, out, _ = run(capsys, file, "--out", tmp_path / "p", *options)
    assert code == ExitCode.DONE
    assert "6 reference scores differ by" in out
    source = ModelPackage.read(tmp_path / "p").manifest.source
    assert source is not None
    assert float(source["reference_largest_difference"]) <= 5e-5
    assert len(source["reference_inputs_sha256"]) == 64
    (tmp_path / "y.txt").write_text("\n".join(f"{s:.4f}" for s in scores[::-1]), encoding="utf-8")
    code, out, _ = run(capsys, file, "--out", tmp_path / "q", *options, "--json")
    assert code == ExitCode.REFUSED
    document = json.loads(out)
    assert (document["status"], document["refusal"]["code"], document["model"]) == (
        "refused",
        "REFERENCE_DIFFERS",
        None,
    )
    assert not (tmp_path / "q").exists()


def test_refused_files_leave_nothing_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 3, in words and as JSON."""
    (tmp_path / "x.hdf5").write_bytes(b"\x80\x04.")
    code, _, err = run(capsys, tmp_path / "x.hdf5", "--out", tmp_path / "p")
    assert code == ExitCode.REFUSED
    assert "FILE_UNSAFE: x.hdf5 is a Python pickle, which is never opened" in err
    code, out, _ = run(capsys, tmp_path / "x.hdf5", "--out", tmp_path / "p", "--json")
    assert code == ExitCode.REFUSED
    assert json.loads(out)["refusal"]["code"] == "FILE_UNSAFE"
    assert not (tmp_path / "p").exists()


def test_a_package_is_replaced_only_by_force(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Other files of the folder stay."""
    out = tmp_path / "p"
    run(capsys, file, "--out", out)
    (out / "notes.txt").write_text("mine", encoding="utf-8")
    code, _, err = run(capsys, file, "--out", out)
    assert code == ExitCode.USAGE
    assert "--force replaces it" in err
    code, printed, _ = run(capsys, file, "--out", out, "--force", "--version", "2.0.0", "--json")
    assert code == ExitCode.DONE
    assert json.loads(printed)["model"]["key"] == "Lung-EGFR@2.0.0"
    assert (out / "notes.txt").read_text(encoding="utf-8") == "mine"


def test_the_catalogue_is_the_default_place(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the configuration names one."""
    config = tmp_path / "egfr-dls.toml"
    text = f'[storage]\nroot = "{tmp_path}/store"\n'
    config.write_text(text, encoding="utf-8")
    code, _, err = run(capsys, file, "--config", config)
    assert code == ExitCode.USAGE
    assert "--out is missing" in err
    config.write_text(f'{text}[inference]\nmodels = "{tmp_path}/models"\n', encoding="utf-8")
    code, _, _ = run(capsys, file, "--config", config, "--name", "mu")
    assert code == ExitCode.DONE
    assert (tmp_path / "models" / "mu-1.0.0" / "model.json").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--name", "../x"], "--name"),
        (["--name", "a/b"], "--name"),
        (["--version", ".."], "--version"),
        (["--version", "x" * 33], "--version"),
        (["--reference-inputs", "{file}"], "belong together"),
    ],
)
def test_wrong_options_are_usage_errors(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    """Names are never paths."""
    code, _, err = run(capsys, file, "--out", tmp_path / "p", *(o.format(file=file) for o in options))
    assert code == ExitCode.USAGE
    assert said in err


def test_without_the_extra_the_command_says_what_to_install(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing else of the product needs it."""
    monkeypatch.setattr(import_command.importlib.util, "find_spec", lambda name: None if name == "h5py" else name)
    code, _, err = run(capsys, file)
    assert code == ExitCode.CONFIGURATION
    assert "egfr-dls[import]" in err
