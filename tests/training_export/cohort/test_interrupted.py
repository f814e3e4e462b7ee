"""An export that was interrupted goes on to the same bytes; and how wrong calls end."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset

from tests.builders import ct_slices
from tests.system.study_data import of_modality, small_study
from tests.training_export.cohorts import arrays, call, write_files
from training_export.cohort import folder as written_folder

Capsys = pytest.CaptureFixture[str]


def test_a_second_call_makes_nothing_again(three: Path, tmp_path: Path, config: Path, capsys: Capsys) -> None:
    arguments = ("--from", three, "--config", config)
    first = call(capsys, tmp_path / "out", *arguments)
    made = {p: p.stat().st_ino for p in (tmp_path / "out" / "hyperimages").iterdir()}
    before = first.files()
    again = call(capsys, tmp_path / "out", *arguments)
    assert {p: p.stat().st_ino for p in made} == made and again.files() == before


def test_killed_in_the_middle_it_goes_on_to_the_same_bytes(
    three: Path, tmp_path: Path, config: Path, capsys: Capsys
) -> None:
    whole = call(capsys, tmp_path / "whole", "--from", three, "--config", config, "--dicom")
    cut = tmp_path / "cut"
    program = [
        sys.executable,
        "-m",
        "egfr_dls",
        "export-cohort",
        "--from",
        str(three),
        "--config",
        str(config),
        "--dicom",
    ]
    process = subprocess.Popen([*program, "--out", str(cut)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 120
    while not list((cut / "studies").glob("S*.json")) and time.monotonic() < limit and process.poll() is None:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(list((cut / "studies").glob("S*.json"))) >= 1 and not (cut / "cohort.json").exists()
    (cut / "hyperimages" / ".new-left").write_bytes(b"half a file")
    resumed = call(capsys, cut, "--from", three, "--config", config, "--dicom")
    assert resumed.files() == whole.files()


def test_a_full_disk_ends_it_with_a_sentence_and_the_next_call_goes_on(
    three: Path, tmp_path: Path, config: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = call(capsys, tmp_path / "whole", "--from", three, "--config", config)
    real = written_folder.write_atomically

    def full(path: Path, data: bytes) -> None:
        if len(list((tmp_path / "out" / "hyperimages").glob("S*.npz"))) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, data)

    monkeypatch.setattr(written_folder, "write_atomically", full)
    ended = call(capsys, tmp_path / "out", "--from", three, "--config", config)
    assert ended.code == 1 and "No space left on device" in ended.err and "goes on" in ended.err
    assert not (ended.folder / "cohort.json").exists()
    monkeypatch.setattr(written_folder, "write_atomically", real)
    assert call(capsys, tmp_path / "out", "--from", three, "--config", config).files() == whole.files()


def test_a_file_that_was_changed_is_made_again(three: Path, tmp_path: Path, config: Path, capsys: Capsys) -> None:
    first = call(capsys, tmp_path / "out", "--from", three, "--config", config)
    before = first.files()
    npz = next((first.folder / "hyperimages").glob("*.npz"))
    npz.write_bytes(npz.read_bytes()[:-1])
    assert call(capsys, tmp_path / "out", "--from", three, "--config", config).files() == before


def test_a_study_whose_images_changed_is_made_again(tmp_path: Path, config: Path, capsys: Capsys) -> None:
    folder = write_files(small_study(1), tmp_path / "in")
    first = call(capsys, tmp_path / "out", "--from", folder, "--config", config)
    images = arrays(first)["images"]
    write_files(
        [
            *(deepcopy(ds) for ds in small_study(1) if ds.Modality != "CT"),
            *_brighter(of_modality(small_study(1), "CT")),
        ],
        folder,
    )
    again = call(capsys, tmp_path / "out", "--from", folder, "--config", config)
    assert again.code == 0 and not np.array_equal(arrays(again)["images"], images)


def test_another_key_or_another_source_is_refused(tmp_path: Path, config: Path, capsys: Capsys) -> None:
    """One patient under two names, or a cohort of which half the studies are unknown."""
    one = write_files(small_study(1), tmp_path / "one")
    other = write_files(small_study(2), tmp_path / "other")
    call(capsys, tmp_path / "out", "--from", one, "--config", config)
    ended = call(capsys, tmp_path / "out", "--from", one, "--config", config, "--key-file", tmp_path / "new.key")
    assert ended.code == 2 and "another site key" in ended.err
    ended = call(capsys, tmp_path / "out", "--from", other, "--config", config)
    assert ended.code == 2 and "1 studies that are not in the source" in ended.err


def test_a_folder_needs_no_configuration_and_keeps_its_key_beside_the_cohort(tmp_path: Path, capsys: Capsys) -> None:
    folder = write_files(small_study(1), tmp_path / "in")
    first = call(capsys, tmp_path / "out", "--from", folder)
    assert first.code == 0 and (tmp_path / "out.key").stat().st_mode & 0o077 == 0
    assert "a demonstration" in first.out
    again = call(capsys, tmp_path / "again", "--from", folder, "--key-file", tmp_path / "out.key")
    assert again.files() == first.files()
    assert (tmp_path / "out.key").read_text().strip() not in str(first.files())


def test_json_is_the_manifest(tmp_path: Path, config: Path, capsys: Capsys) -> None:
    folder = write_files(small_study(1), tmp_path / "in")
    ended = call(capsys, tmp_path / "out", "--from", folder, "--config", config, "--json")
    assert json.loads(ended.out) == ended.manifest
    assert ended.manifest["schema"] == "egfr-dls-cohort/1"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--from", "nowhere"], 2, "does not exist"),
        ([], 78, "storage"),
    ],
)
def test_wrong_calls(tmp_path: Path, capsys: Capsys, arguments: list[str], code: int, said: str) -> None:
    ended = call(capsys, tmp_path / "out", *arguments)
    assert ended.code == code and said in ended.err


def _brighter(ct: Sequence[Dataset]) -> list[Dataset]:
    changed = []
    for ds, other in zip(ct, ct_slices(), strict=True):
        copy = deepcopy(ds)
        values = np.frombuffer(other.PixelData, "<u2").reshape(32, 32).copy()
        values[::2] += 100
        copy.PixelData = values.tobytes()
        changed.append(copy)
    return changed
