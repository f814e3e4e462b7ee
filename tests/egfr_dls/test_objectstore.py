"""Kept bytes are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from egfr_dls.errors import TemporaryFailureError
from egfr_dls.objectstore import ObjectStore


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
