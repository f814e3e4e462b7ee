"""`egfr-dls config`: what would run, whether it may, and the file's schema."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from egfr_dls import settings
from tests.egfr_dls.test_cli import end

MINIMAL = '[storage]\nroot = "/var/lib/egfr-dls"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A minimal configuration."""
    path = tmp_path / "egfr-dls.toml"
    path.write_text(MINIMAL, encoding="utf-8")
    return path


def test_show_prints_every_value_in_force(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EGFR_DLS_LISTENER__PORT", "4711")
    code, out, _ = end(["config", "show", "--config", str(file), "--json"], capsys)
    document = json.loads(out)
    assert (code, document.pop("schema")) == (0, "egfr-dls-config/1")
    assert document == json.loads(settings.load(file).model_dump_json())
    assert document["listener"]["port"] == 4711
    code, out, _ = end(["config", "show", "--config", str(file)], capsys)
    assert "listener.port = 4711" in out.splitlines()


def test_show_runs_on_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert end(["config", "show"], capsys)[0] == 0


def test_show_masks_a_password(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(MINIMAL + '[ledger]\nurl = "sqlite://user:secret@/ledger.sqlite"\n', encoding="utf-8")
    code, out, err = end(["config", "show", "--config", str(file)], capsys)
    assert code == 0
    assert "secret" not in out + err
    assert "***" in out


def test_check_says_whether_it_may_run(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = end(["config", "check", "--config", str(file)], capsys)
    assert (code, out) == (0, "ok: 0 peers, 0 destinations\n")
    assert err.count("note:") == 2
    code, out, _ = end(["config", "check", "--config", str(file), "--json"], capsys)
    assert json.loads(out) == {"schema": "egfr-dls-config/1", "status": "ok"}


def test_check_notes_a_folder_of_facts_that_is_not_there(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It may be a share that is mounted later: the service runs."""
    for folder, notes in ((file.parent / "none", 3), (file.parent, 2)):
        file.write_text(f'{MINIMAL}[context]\nfolder = "{folder}"\n', encoding="utf-8")
        code, _, err = end(["config", "check", "--config", str(file)], capsys)
        assert (code, err.count("note:")) == (0, notes)


def test_check_refuses_a_ledger_that_this_version_does_not_have(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(MINIMAL + '[ledger]\nurl = "postgresql+psycopg://user:secret@host/db"\n', encoding="utf-8")
    code, out, err = end(["config", "check", "--config", str(file)], capsys)
    assert (code, out) == (78, "")
    assert "secret" not in err


def test_schema_is_that_of_the_settings(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = end(["config", "schema"], capsys)
    assert (code, json.loads(out)) == (0, settings.Settings.model_json_schema())
