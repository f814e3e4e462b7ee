"""Kept bytes are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from egfr_dls.errors import TemporaryFailureError
from egfr_dls.objectstore import ObjectStore, write_atomically


def test_bytes_come_back_under_their_digest_and_are_kept_once(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path / "objects")
    digest = store.put(b"report")
    assert digest == hashlib.sha256(b"report").hexdigest()
    assert store.get(digest) == b"report"
    written = store.path(digest).stat().st_mtime_ns
    assert store.put(b"report") == digest
    assert store.path(digest).stat().st_mtime_ns == written
    assert (tmp_path / "objects").stat().st_mode & 0o777 == 0o700
    assert store.path(digest).stat().st_mode & 0o777 == 0o600


def test_bytes_that_cannot_be_read_are_a_temporary_failure(tmp_path: Path) -> None:
    with pytest.raises(TemporaryFailureError, match="No such file"):
        ObjectStore(tmp_path).get("ab" * 32)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_full_disk_leaves_nothing_behind_and_is_a_temporary_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    store = ObjectStore(tmp_path)
    monkeypatch.setattr(*((os, "fsync") if step == "fsync" else (Path, "replace")), full)
    with pytest.raises(TemporaryFailureError, match="No space left"):
        store.put(b"report")
    assert list(tmp_path.iterdir()) == []


def test_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(b"old")
    with path.open("rb") as reader:
        write_atomically(path, b"new")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"


def test_kill_while_writing_never_leaves_a_part_under_the_name(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from egfr_dls.objectstore import write_atomically
print("ready", flush=True)
n = 0
while True:
    write_atomically(Path(sys.argv[1]), bytes([n % 256]) * 300_000)
    n += 1
"""
    path = tmp_path / "object"
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            while not path.exists():
                pass
            writer.send_signal(signal.SIGKILL)
        data = path.read_bytes()
        assert len(data) == 300_000
        assert len(set(data)) == 1
