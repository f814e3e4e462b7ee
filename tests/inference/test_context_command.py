"""`egfr-dls context` says by name which files count."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from egfr_dls import cli
from egfr_dls.errors import ExitCode


def _config(tmp_path: Path, folder: Path | None) -> Path:
    path = tmp_path / "egfr-dls.toml"
    section = "" if folder is None else f'[context]\nfolder = "{folder}"\n'
    path.write_text(f'[storage]\nroot = "{tmp_path / "root"}"\n{section}', encoding="utf-8")
    return path


def _run(config: Path, *arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(["context", "--config", str(config), *arguments])
    return int(ended.value.code or 0)


def _put(folder: Path, name: str, text: str, age: float = 60.0) -> None:
    (folder / name).write_text(text, encoding="utf-8")
    os.utime(folder / name, (time.time() - age,) * 2)


def test_each_file_is_named_with_what_is_wrong_with_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 3 where one does not count."""
    folder = tmp_path / "facts"
    folder.mkdir()
    config = _config(tmp_path, folder)
    _put(folder, "sound.json", '{"patient_id": "42", "histology": "other"}', 90)
    _put(folder, "growing.json", "{", -1)
    assert _run(config) == ExitCode.DONE
    assert capsys.readouterr().out.splitlines()[:2] == ["sound.json: entries: 1", "growing.json: still being written"]
    _put(folder, "wrong.csv", "patient_id,histology\n42,small cell\n")
    assert _run(config, "--json") == ExitCode.REFUSED
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "egfr-dls-context/1"
    assert [(f["name"], f["entries"], f["code"]) for f in document["files"]] == [
        ("sound.json", 1, None),
        ("wrong.csv", None, "ENTRY"),
        ("growing.json", None, None),
    ]
    assert "line 2: histology" in document["files"][1]["message"]
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize(("folder", "said"), [(None, "context is missing"), ("none", "No such file or directory")])
def test_without_a_folder_it_is_the_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], folder: str | None, said: str
) -> None:
    assert _run(_config(tmp_path, None if folder is None else tmp_path / folder)) == ExitCode.CONFIGURATION
    assert said in capsys.readouterr().err
