"""The power failures and disk faults of `python -m benchmarks.durability`, short; and that they find what is broken."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.durability.disk import CALLS, failing_calls, full_file_system
from benchmarks.durability.power import run_power_failures
from benchmarks.durability.states import Disk
from benchmarks.durability.trace import Kind, Note
from egfr_dls.dimse_status import StoreStatus

ROOT, FILE, FOLDER = 1, 2, 3  # inodes
MAKE = Note(Kind.MAKE, 0, FILE, 0o600, "/node/a", "", b"")
WRITE = Note(Kind.WRITE, 0, FILE, 0, "", "", b"x" * 2048)
RENAME = Note(Kind.RENAME, 0, 0, 0, "/node/a", "/node/folder/b", b"")
MAKE_FOLDER = Note(Kind.MAKE_FOLDER, 0, FOLDER, 0o700, "/node/folder", "", b"")
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="not installed: gcc")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system needs root")


def sync(inode: int, number: int = 0, *, whole: bool = True) -> tuple[Note, Note]:
    begins = Note(Kind.SYNC_BEGINS, number, inode, int(whole), "", "", b"")
    return begins, replace(begins, kind=Kind.SYNCED)


def states(folder: Path, *notes: Note) -> Iterator[dict[str, bytes]]:
    """Yield the files of many states after these steps."""
    (folder / "objects").mkdir()
    disk = Disk(Path("/node"), ROOT, folder / "objects")
    for at, note in enumerate(notes):
        disk.follow(at, note)
    for seed in range(100):
        into = folder / str(seed)
        into.mkdir()
        disk.crashed(into, random.Random(seed))
        yield {str(path.relative_to(into)): path.read_bytes() for path in into.rglob("*") if path.is_file()}


def test_what_was_not_synced_may_be_there_in_part_or_not_at_all(tmp_path: Path) -> None:
    found = list(states(tmp_path, MAKE, WRITE))
    contents = {content.get("a") for content in found}
    assert {None, b"", WRITE.data} < contents
    assert any(content and set(content) == set(b"x\0") for content in contents), "torn at a sector"


def test_a_file_that_was_synced_may_still_have_no_name(tmp_path: Path) -> None:
    assert {state.get("a") for state in states(tmp_path, MAKE, WRITE, *sync(FILE))} == {None, WRITE.data}


def test_what_was_synced_with_its_name_is_there(tmp_path: Path) -> None:
    steps = (MAKE, *sync(ROOT), WRITE, *sync(FILE, 1, whole=False))
    assert all(state == {"a": WRITE.data} for state in states(tmp_path, *steps))


def test_a_sync_covers_nothing_that_came_after_it_had_begun(tmp_path: Path) -> None:
    begins, ends = sync(FILE)
    assert b"" in {state["a"] for state in states(tmp_path, MAKE, *sync(ROOT, 1), begins, WRITE, ends)}


def test_a_file_under_rename_has_one_name(tmp_path: Path) -> None:
    steps = (MAKE, MAKE_FOLDER, WRITE, *sync(FILE), *sync(ROOT, 1), RENAME)
    found = [frozenset(state) for state in states(tmp_path, *steps)]
    assert set(found) == {frozenset({"a"}), frozenset({"folder/b"})}


def test_a_mode_may_be_older_than_the_data_that_were_synced_after_it(tmp_path: Path) -> None:
    closed = Note(Kind.MODE, 0, FILE, 0o400, "", "", b"")
    list(states(tmp_path, MAKE, *sync(ROOT), closed, WRITE, *sync(FILE, 1, whole=False)))
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("*/a")} == {0o400, 0o600}


@needs_gcc
@pytest.mark.system
def test_whatever_a_power_failure_leaves_holds_what_was_acknowledged(tmp_path: Path) -> None:
    found = run_power_failures(tmp_path, traces=1, states=60, seed=9)
    assert found.tally.faults == 0, found.tally
    assert found.states > 30
    assert found.started >= 1
    assert found.promises > 10 * found.released / 9, "most of what was acknowledged is to be there"


@needs_gcc
@pytest.mark.system
@pytest.mark.parametrize("call", ["fdatasync", "fsync"])
def test_a_sync_that_does_nothing_is_found_out(tmp_path: Path, call: str) -> None:
    """With one that only says that it is done, acknowledged instances are lost, and the check says so."""
    assert run_power_failures(tmp_path, traces=1, states=60, seed=9, lose=call).tally.lost


@needs_root
@pytest.mark.system
def test_a_full_file_system_costs_the_sender_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """A700H while it is full, success again once it has been made larger; nothing leaks."""
    found = full_file_system(tmp_path, seed=3)
    assert found.tally.faults == 0, found.tally
    assert found.refused[StoreStatus.OUT_OF_RESOURCES] >= 40
    assert found.log_lines < 3 * (found.refused[StoreStatus.OUT_OF_RESOURCES] + found.acknowledged)


@needs_gcc
@pytest.mark.system
@pytest.mark.parametrize("number", range(len(CALLS)), ids=[f"{call}-{name}" for call, name, *_ in CALLS])
def test_a_call_that_fails_for_a_while_costs_nothing_that_was_acknowledged(tmp_path: Path, number: int) -> None:
    found = failing_calls(tmp_path, seed=3, calls=CALLS[number : number + 1])[0]
    assert found.tally.faults == 0, found.tally
