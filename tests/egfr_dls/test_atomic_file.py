"""A file is there whole or not at all, whatever ends its writer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from egfr_dls.atomic_file import PRIVATE, SHARED, atomic_file, write_atomically


@pytest.mark.parametrize(("mode", "found"), [(PRIVATE, 0o600), (SHARED, 0o640)])
def test_who_may_read_it(tmp_path: Path, mode: int, found: int) -> None:
    """Others may where the umask lets them, never what may name a patient."""
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "a", b"a", mode)
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == found


def test_an_error_on_the_way_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), atomic_file(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("state", b"old")]


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
from egfr_dls.atomic_file import write_atomically
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
