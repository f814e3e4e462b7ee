"""`egfr-dls train`, as a physicist would use it (needs PyTorch)."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra training)")

from egfr_dls import cli  # noqa: E402  # after the skip
from egfr_dls.errors import ExitCode  # noqa: E402
from inference.engine.contract import EngineOptions  # noqa: E402
from inference.engine.gate import load_scorer  # noqa: E402
from inference.engine.onnx import OrtBackend  # noqa: E402
from inference.models.catalogue import choose, read_catalogue  # noqa: E402
from tests.training_export.training.slices_of import write_crops  # noqa: E402
from training_export.resnet50 import ResNet50  # noqa: E402

pytestmark = [
    pytest.mark.training,
    # Of the legacy ONNX exporter, which alone needs no further package.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
# The recipe of brain metastases with a small network and a short training.
SMALL = """
[mr_brain_metastasis_egfr]
network = "small"
transfer = false
epochs = 4
batch = 16
threads = 1
learning_rate = 4e-3
[mr_brain_metastasis_egfr.split]
folds = 3
"""
BRAIN = "mr_brain_metastasis_egfr"


@pytest.fixture
def settings_file(tmp_path: Path) -> Path:
    file = tmp_path / "settings.toml"
    file.write_text(SMALL, encoding="utf-8")
    return file


def run(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str, str]:
    """Run the command line; returns exit code, standard output and standard error."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", *map(str, arguments)])
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out, printed.err


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_folds_of_crops_become_a_package_that_the_engine_loads(
    tmp_path: Path, settings_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cross-validation, then a network of everybody; it tells unseen crops apart, and says that nobody takes it."""
    data, out = write_crops(tmp_path / "data", patients=36), tmp_path / "run"
    code, printed, _ = run(capsys, BRAIN, "--data", data, "--out", out, "--settings", settings_file, "--device", "cpu")
    assert code == ExitCode.DONE, printed
    assert "no biomarker of this version takes it" in printed
    (package,) = read_catalogue(out)
    manifest = package.manifest
    assert (package.key, manifest.status, manifest.preprocessing) == ("site-brain-mr-egfr@1.0.0", "research", None)
    assert manifest.trained_on.startswith("36 patients (18 mutant), 168 images")
    assert "3-fold cross-validation: mean AUC" in manifest.performance
    assert "measured on none" in manifest.performance
    assert manifest.source is not None
    assert manifest.source["data_sha256"] == json.loads((out / "run.json").read_text())["data_sha256"]
    _check_record(out)

    unseen = np.load(write_crops(tmp_path / "unseen", patients=20, seed=9) / "crops.npy")
    scorer = load_scorer(package, OrtBackend(), EngineOptions())
    result = scorer.score(np.repeat(unseen[:, 2:3], 3, axis=1))
    assert ((result.prob[:, 1] >= 0.5) == (np.arange(20) % 2 == 0)).mean() >= 0.8
    assert result.cam is not None


def _check_record(out: Path) -> None:
    """Hold log, curves and scores of a run in three folds against each other."""
    log = table(out / "log.csv")
    fits = list(dict.fromkeys(row["fit"] for row in log))
    assert fits == ["fold 1", "fold 2", "fold 3", "everybody"]
    assert [row["epoch"] for row in log if row["fit"] == "fold 2"] == ["1", "2", "3", "4"]
    assert all(float(row["validation_loss"]) > 0 for row in log if row["fit"] != "everybody")
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    patients, slices = table(out / "patients.csv"), table(out / "slices.csv")
    assert len({row["patient"] for row in patients}) == len(patients) == 36
    assert {row["cohort"] for row in patients} == {"fold 1", "fold 2", "fold 3"}
    assert len(slices) == 168
    assert all(abs(float(row["p0"]) + float(row["p1"]) - 1) < 1e-9 for row in slices)


KILLS_ITSELF = """
import os, signal, sys
from training_export.training import screen

real = screen._Bar.step

def step(self, share):
    real(self, share)
    if self._name == "fold 2" and share > 0.6:  # in the third epoch of four
        os.kill(os.getpid(), signal.SIGKILL)

screen._Bar.step = step
from egfr_dls.cli import main
main(sys.argv[1:])
"""


def test_a_run_that_was_killed_in_an_epoch_gives_the_same_network_when_resumed(
    tmp_path: Path, settings_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """SIGKILL, then --resume: the file of the network is that of a run that nobody disturbed, byte for byte."""
    data = write_crops(tmp_path / "data", patients=24)
    options = [BRAIN, "--data", data, "--settings", settings_file, "--device", "cpu", "--seed", 5]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    done = subprocess.run(
        [sys.executable, "-c", KILLS_ITSELF, "train", *map(str, options), "--out", str(killed)],
        capture_output=True,
        check=False,
    )
    assert done.returncode == -9, done.stderr.decode()
    assert not list(killed.glob("*/model.json"))
    assert len(table(killed / "log.csv")) == 4 + 2
    code, _, said = run(capsys, *options, "--out", killed)
    assert (code, "--resume goes on with it" in said) == (ExitCode.USAGE, True)
    code, _, said = run(capsys, *options, "--out", killed, "--resume")
    assert code == ExitCode.DONE, said
    assert "fold 1: 4 epochs were done before" in said
    assert "fold 2: 2 epochs were done before" in said
    assert run(capsys, *options, "--out", whole)[0] == ExitCode.DONE
    for name in ("model.onnx", "golden.npz", "model.json"):
        assert (killed / "site-brain-mr-egfr-1.0.0" / name).read_bytes() == (
            whole / "site-brain-mr-egfr-1.0.0" / name
        ).read_bytes()
    for name in ("slices.csv", "patients.csv"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    assert [r["training_loss"] for r in table(killed / "log.csv")] == [
        r["training_loss"] for r in table(whole / "log.csv")
    ]


def test_a_run_is_resumed_with_the_same_facts_or_not_at_all(
    tmp_path: Path, settings_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another seed, recipe or set of data would mix two networks."""
    data, out = write_crops(tmp_path / "data", patients=20), tmp_path / "run"
    settings_file.write_text(SMALL.replace("epochs = 4", "epochs = 1"), encoding="utf-8")
    options = ["--out", out, "--device", "cpu", "--resume"]
    assert run(capsys, BRAIN, "--data", data, "--settings", settings_file, *options)[0] == ExitCode.DONE
    code, _, said = run(capsys, BRAIN, "--data", data, "--settings", settings_file, "--seed", 1, *options)
    assert (code, "another seed" in said) == (ExitCode.USAGE, True)
    other = write_crops(tmp_path / "other", patients=20, seed=3)
    code, _, said = run(capsys, BRAIN, "--data", other, "--settings", settings_file, *options)
    assert (code, "another data_sha256" in said) == (ExitCode.USAGE, True)
    settings_file.write_text(SMALL, encoding="utf-8")
    code, _, said = run(capsys, BRAIN, "--data", data, "--settings", settings_file, *options)
    assert (code, "another recipe" in said) == (ExitCode.USAGE, True)


def test_a_run_with_a_stated_split_is_resumed_with_that_split_only(
    tmp_path: Path, settings_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With another one, patients that trained would be those that are only measured on."""
    data, out, split = write_crops(tmp_path / "data", patients=20), tmp_path / "run", tmp_path / "split.csv"
    settings_file.write_text(
        SMALL.replace("epochs = 4", "epochs = 1").replace("folds = 3", "folds = 0\nvalidation = 0.2\ntest = 0.2"),
        encoding="utf-8",
    )
    arguments = [BRAIN, "--data", data, "--out", out, "--settings", settings_file, "--split", split, "--device", "cpu"]
    parts = ["training"] * 12 + ["validation"] * 4 + ["test"] * 4
    _write_split(split, parts)
    assert run(capsys, *arguments)[0] == ExitCode.DONE
    _write_split(split, parts[::-1])
    code, _, said = run(capsys, *arguments, "--resume")
    assert (code, "another split_sha256" in said) == (ExitCode.USAGE, True)
    _write_split(split, parts)
    assert run(capsys, *arguments, "--resume")[0] == ExitCode.DONE


def _write_split(path: Path, parts: list[str]) -> None:
    rows = [f"B{number:03d},{part}" for number, part in enumerate(parts)]
    path.write_text("\n".join(["patient,split", *rows]) + "\n", encoding="utf-8")


def test_the_recipe_of_the_paper_runs_from_given_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """ResNet-50, mixup, F1 loss, oversampling, stratified folds; two folds of one epoch, to be quick."""
    settings_file, weights = tmp_path / "quick.toml", tmp_path / "resnet50.pth"
    settings_file.write_text(
        f"[{BRAIN}]\nepochs = 1\nlearning_rate = 1e-3\n[{BRAIN}.split]\nfolds = 2\nleast_patients = 3\n",
        encoding="utf-8",
    )
    torch.manual_seed(0)
    torch.save(ResNet50(classes=1000).state_dict(), weights)
    data, out = write_crops(tmp_path / "data", patients=9, positives=1 / 3), tmp_path / "run"
    arguments = [BRAIN, "--data", data, "--out", out, "--settings", settings_file, "--pretrained", weights]
    code, _, said = run(capsys, *arguments, "--device", "cpu")
    assert code == ExitCode.DONE, said
    (package,) = read_catalogue(out)
    assert package.manifest.input.shape == (3, 96, 96)
    assert package.manifest.cam is not None
    assert package.manifest.cam.grid == (3, 3)


def test_phantoms_become_a_package_that_the_biomarker_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A demonstration, whatever --name says; the recipe of the images is that of the service."""
    settings_file, out = tmp_path / "quick.toml", tmp_path / "run"
    settings_file.write_text("[pet_ct_egfr]\nepochs = 1\n[pet_ct_egfr.split]\nleast_patients = 3\n", encoding="utf-8")
    code, _, said = run(
        capsys, "pet_ct_egfr", "--phantoms", 10, "--out", out, "--settings", settings_file, "--task", "pdl1"
    )
    assert code == ExitCode.DONE, said
    (package,) = read_catalogue(out)
    assert choose((package,), "pdl1", "mu2020-hyperimage-1", None, "x") is package
    assert package.manifest.status == "demonstration"
    assert "says nothing about patients" in package.manifest.performance
    assert "held-out patients: AUC" in package.manifest.performance
    assert {row["cohort"] for row in table(out / "patients.csv")} == {"validation", "test"}
    assert "pdl1_label" in table(out / "patients.csv")[0]
    load_scorer(package, OrtBackend(), EngineOptions()).session.close()


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        ([BRAIN], ExitCode.USAGE, "either --data DIR or --phantoms N"),
        ([BRAIN, "--phantoms", "9"], ExitCode.USAGE, "phantoms for pet_ct_egfr alone"),
        (["pet_ct_egfr", "--phantoms", "9", "--data", "."], ExitCode.USAGE, "either --data DIR or --phantoms N"),
        (["pet_ct_egfr", "--phantoms", "9", "--name", "../x"], ExitCode.USAGE, "--name"),
        (["pet_ct_egfr", "--phantoms", "9", "--pretrained", "settings.toml"], ExitCode.USAGE, "transfer is false"),
        ([BRAIN, "--data", "empty"], ExitCode.REFUSED, "DATA_UNREADABLE"),
        ([BRAIN, "--data", "missing"], ExitCode.USAGE, "does not exist"),
        ([BRAIN, "--data", "five"], ExitCode.REFUSED, "TOO_FEW_PATIENTS: 5 patients"),
        ([BRAIN, "--data", "one"], ExitCode.REFUSED, "ONE_CLASS: every one of the 30 patients"),
        ([BRAIN, "--data", "nan"], ExitCode.REFUSED, "NOT_FINITE: image 3 (patient B000)"),
        ([BRAIN, "--data", "good", "--pretrained", "settings.toml"], ExitCode.REFUSED, "WEIGHTS_UNSAFE: settings.toml"),
        ([BRAIN, "--data", "five", "--task", "pdl1"], ExitCode.USAGE, "EGFR labels alone"),
        (["brain"], ExitCode.USAGE, "brain"),
    ],
)
def test_what_cannot_be_trained_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: ExitCode,
    named: str,
) -> None:
    """With its exit code, and nothing is left in the folder of the run."""
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("settings.toml").write_text("", encoding="utf-8")
    write_crops(Path("five"), patients=5)
    write_crops(Path("good"), patients=20)
    folder = write_crops(Path("one"), patients=30)
    (folder / "lesions.csv").write_text("patient,label\n" + "".join(f"P{n},1\n" for n in range(30)), encoding="utf-8")
    crops = np.load(write_crops(Path("nan"), patients=30) / "crops.npy")
    crops[0, 3, 5, 5] = np.nan
    np.save("nan/crops.npy", crops)
    found, _, said = run(capsys, *arguments, "--out", "run")
    assert (found, named in " ".join(said.split())) == (code, True), said
    assert not Path("run").exists()
