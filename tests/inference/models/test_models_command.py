"""`egfr-dls models` prints what is installed: a table, or one JSON document."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from egfr_dls.errors import UsageError
from inference.models_command import models
from tests.inference.packages import write_package


@pytest.fixture
def config(tmp_path: Path) -> str:
    """A configuration that names a catalogue of one package."""
    write_package(tmp_path / "models" / "tiny")
    path = tmp_path / "egfr-dls.toml"
    path.write_text(
        f'[storage]\nroot = "{tmp_path}/store"\n[inference]\nmodels = "{tmp_path}/models"\n', encoding="utf-8"
    )
    return str(path)


def test_list_prints_a_line_for_each_package(config: str) -> None:
    """The table holds name, task and status."""
    result = CliRunner().invoke(models, ["list", "--config", config])
    assert result.exit_code == 0
    assert "tiny" in result.output
    assert "demonstration" in result.output


def test_list_as_json(config: str) -> None:
    """One document with a schema and every manifest."""
    document = json.loads(CliRunner().invoke(models, ["list", "--config", config, "--json"]).output)
    assert document["schema"] == "egfr-dls-models/1"
    assert [m["key"] for m in document["models"]] == ["tiny@1.0.0"]


@pytest.mark.parametrize("name", ["tiny", "tiny@1.0.0"])
def test_show_prints_the_manifest(config: str, name: str) -> None:
    """By name, or by name and version; nested keys in one line each."""
    text = CliRunner().invoke(models, ["show", name, "--config", config]).output
    assert "preprocessing.cut_off = 0.5" in text
    assert "## Intended use\n\nunknown" in text
    assert "signature.state = none" in text
    document = json.loads(CliRunner().invoke(models, ["show", name, "--config", config, "--json"]).output)
    assert document["model"]["preprocessing"]["margin_mm"] == 15


def test_show_of_an_unknown_package_names_the_known_ones(config: str) -> None:
    """A wrong name is a usage error."""
    result = CliRunner().invoke(models, ["show", "other", "--config", config])
    assert isinstance(result.exception, UsageError)
    assert "tiny@1.0.0" in str(result.exception)
