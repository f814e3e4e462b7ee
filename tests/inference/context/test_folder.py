"""The folder's files are read when they are whole, and only those that are meant."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from inference.context.entries import FaultCode, FaultyFileError
from inference.context.folder import MAX_BYTES, DroppedFile, Folder

NOW = 1_700_000_000.0
ENTRY = '{"patient_id": "42", "histology": "other"}'


def _put(folder: Path, name: str, text: str = ENTRY, age: float = 60.0) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    os.utime(path, (NOW - age, NOW - age))
    return path


def _only(folder: Path) -> DroppedFile:
    (file,) = Folder(folder).files()
    return file


def test_the_oldest_comes_first_and_what_is_not_meant_is_passed_over(tmp_path: Path) -> None:
    _put(tmp_path, "b.json", age=10)
    _put(tmp_path, "a.CSV", age=5)
    _put(tmp_path, "c.json", age=20)
    for name in (".hidden.json", "new.json.part", "read.me"):
        _put(tmp_path, name)
    (tmp_path / "folder.json").mkdir()
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "nowhere.json").symlink_to(tmp_path / "gone")
    assert [file.name for file in Folder(tmp_path).files()] == ["c.json", "b.json", "a.CSV"]


def test_a_folder_that_cannot_be_listed(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        Folder(tmp_path / "none").files()


def test_a_file_is_read_once_it_has_rested(tmp_path: Path) -> None:
    _put(tmp_path, "a.json", age=1.5)
    folder, file = Folder(tmp_path), _only(tmp_path)
    assert folder.read(file, NOW) is None
    entries = folder.read(file, NOW + 1)
    assert entries is not None
    assert entries[0].subject == ("42", "", "")


def test_a_file_that_was_written_to_since_it_was_listed_is_left_for_the_next_look(tmp_path: Path) -> None:
    path = _put(tmp_path, "a.json")
    file = _only(tmp_path)
    _put(tmp_path, "a.json", ENTRY + " ")
    assert Folder(tmp_path).read(file, NOW) is None
    path.unlink()
    assert Folder(tmp_path).read(file, NOW) is None


def test_what_cannot_be_taken(tmp_path: Path) -> None:
    """Written in the future: it would beat every correction until then; or far too large, before memory is taken."""
    _put(tmp_path, "a.json", age=-60)
    with pytest.raises(FaultyFileError) as caught:
        Folder(tmp_path).read(_only(tmp_path), NOW)
    assert caught.value.code is FaultCode.FROM_THE_FUTURE
    with (tmp_path / "a.json").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    os.utime(tmp_path / "a.json", (NOW - 60, NOW - 60))
    with pytest.raises(FaultyFileError) as caught:
        Folder(tmp_path).read(_only(tmp_path), NOW)
    assert caught.value.code is FaultCode.TOO_LARGE
