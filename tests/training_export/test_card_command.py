"""`egfr-dls models card` puts what is known of a network into its package, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from egfr_dls import cli
from egfr_dls.errors import ExitCode
from inference.models.manifest import ModelPackage
from tests.inference.packages import network, write_package

FACTS = """
intended_use = "to show that the software works"
limits = ["says nothing about patients"]
contact = "radiology physics"

[training_data]
patients = 240
labels = "drawn at random"
"""
ENTRY = {
    "n": 65, "positives": 28, "auc": 0.81, "auc_ci95_delong": [0.7, 0.92], "accuracy": 0.75,
    "accuracy_ci95_wilson": [0.63, 0.84], "sensitivity": None, "sensitivity_ci95_wilson": None, "tp": 3,
}  # fmt: skip
EVALUATION = {
    "schema": "egfr-dls-evaluate/1",
    "settings": {"cut_off": 0.5, "aggregation": "mean", "product_version": "0.1.0", "input_sha256": "x"},
    "binary": {"Tampa": ENTRY},
    "pdl1": {"binary": {"Harbin": ENTRY | {"auc": 0.66}}},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A package without a card."""
    return write_package(tmp_path / "tiny")


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    """What a person states."""
    (tmp_path / "facts.toml").write_text(FACTS, encoding="utf-8")
    return tmp_path / "facts.toml"


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    """What was measured."""
    (tmp_path / "evaluate.json").write_text(json.dumps(EVALUATION), encoding="utf-8")
    return tmp_path / "evaluate.json"


def card(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str, str]:
    """Run the command; returns exit code, standard output and standard error."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["models", "card", *map(str, arguments)])
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out, printed.err


def test_facts_and_figures_become_the_card(
    folder: Path, facts: Path, evaluation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the manifest, in card.md under its digest, and on the screen; the network stays what it was."""
    before = ModelPackage.read(folder)
    code, out, _ = card(capsys, folder, "--facts", facts, "--evaluation", evaluation)
    assert code == ExitCode.DONE
    package = ModelPackage.read(folder)
    stated = package.manifest.card
    assert stated is not None
    assert stated.training_data.patients == 240
    (found,) = stated.evaluations
    assert (found.cohort, found.patients, found.positives, found.cut_off) == ("Tampa", 65, 28, 0.5)
    assert found.metrics["auc"].ci95 == (0.7, 0.92)
    assert found.metrics["sensitivity"].value is None
    assert "npv" not in found.metrics
    assert out.strip() == (folder / "card.md").read_text(encoding="utf-8").strip()
    assert "| accuracy | 0.750 | 0.630 to 0.840 |" in out
    assert package.sha256 == before.sha256


def test_what_is_not_given_stays(
    folder: Path, facts: Path, evaluation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Facts first, figures a year later."""
    card(capsys, folder, "--facts", facts)
    card(capsys, folder, "--evaluation", evaluation)
    stated = ModelPackage.read(folder).manifest.card
    assert stated is not None
    assert stated.intended_use == "to show that the software works"
    assert len(stated.evaluations) == 1
    card(capsys, folder, "--facts", facts)
    again = ModelPackage.read(folder).manifest.card
    assert again == stated


def test_the_companion_has_figures_of_its_own(
    tmp_path: Path, evaluation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those under pdl1, never those of EGFR."""
    folder = write_package(tmp_path / "pdl1", network(planes=True))
    assert card(capsys, folder, "--evaluation", evaluation)[0] == ExitCode.DONE
    stated = ModelPackage.read(folder).manifest.card
    assert stated is not None
    assert [(e.cohort, e.metrics["auc"].value) for e in stated.evaluations] == [("Harbin", 0.66)]


def test_a_signature_of_the_manifest_before_goes(folder: Path, facts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It would be refused from now on; the user is told."""
    (folder / "model.json.sig").write_bytes(bytes(64))
    _, _, err = card(capsys, folder, "--facts", facts)
    assert not (folder / "model.json.sig").exists()
    assert "sign the package again" in err


@pytest.mark.parametrize(
    ("option", "content", "told"),
    [
        ("--facts", 'colour = "blue"', "unknown key colour"),
        ("--facts", "[training_data]\npatients = -1", "training_data.patients"),
        ("--facts", "evaluations = []", "unknown key evaluations"),
        ("--facts", "intended_use = ", "is not TOML"),
        ("--facts", b"\xff", "is not TOML"),
        ("--evaluation", "{", "is not JSON"),
        ("--evaluation", "[" * 100_000, "is not JSON"),
        ("--evaluation", "[]", "has schema None; needed: egfr-dls-evaluate/1"),
        ("--evaluation", '{"schema": "other/1"}', "has schema other/1"),
        ("--evaluation", '{"schema": "egfr-dls-evaluate/1"}', "no figures of labelled patients for task egfr"),
        (
            "--evaluation",
            json.dumps(EVALUATION | {"binary": {"a": ENTRY | {"auc": 81}}}),
            "the figures of binary are not",
        ),
        (
            "--evaluation",
            json.dumps(EVALUATION | {"binary": {"a": ENTRY | {"auc_ci95_delong": [1]}}}),
            "figures of binary",
        ),
        ("--evaluation", json.dumps(EVALUATION | {"binary": {"a": 1}}), "the figures of binary are not"),
    ],
)
def test_what_is_no_document_of_facts_is_a_usage_error(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, content: str | bytes, told: str
) -> None:
    """By file and key, and the package stays as it was."""
    before = ModelPackage.read(folder)
    path = tmp_path / "given"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    code, _, err = card(capsys, folder, option, path)
    assert code == ExitCode.USAGE
    assert told in err
    assert str(path) in err
    assert ModelPackage.read(folder) == before


def test_nothing_to_write_is_a_usage_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty card would look like a statement."""
    assert card(capsys, folder)[0] == ExitCode.USAGE
