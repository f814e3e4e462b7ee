"""The child process that reads foreign files: what it hands back, and how it may end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from inference.models.catalogue import SHIPPED
from tests.training_export.keras_files import Network
from training_export import isolation
from training_export.convert import convert
from training_export.isolation import convert_isolated
from training_export.network_refusal import NetworkRefusedError, Reason


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Keras file."""
    network = Network()
    network.head(network.add("Conv2D", network.input(8, 8, 3), filters=4, kernel_size=[3, 3]))
    return network.write(tmp_path_factory.mktemp("keras") / "net.h5")


def test_the_child_hands_back_what_conversion_gives(path: Path) -> None:
    """Byte for byte, golden values too."""
    here, there = convert(path), convert_isolated(path)
    assert there.network == here.network
    assert (there.input_names, there.input_shape, there.n_classes) == (
        here.input_names,
        here.input_shape,
        here.n_classes,
    )
    assert there.class_map == here.class_map
    assert there.source == here.source
    assert there.golden.saturated == here.golden.saturated
    assert there.half == here.half
    assert here.half is not None
    assert there.left_out == here.left_out == {}
    for name, values in here.golden.arrays.items():
        np.testing.assert_array_equal(there.golden.arrays[name], values)


def test_refusals_come_back_whole(tmp_path: Path) -> None:
    """Reason and message."""
    (tmp_path / "x.h5").write_bytes(b"\x80\x04.")
    with pytest.raises(NetworkRefusedError) as caught:
        convert_isolated(tmp_path / "x.h5")
    assert caught.value.reason is Reason.FILE_UNSAFE
    assert "x.h5" in caught.value.message


def test_modules_beside_the_file_are_not_imported(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of downloads may hold an h5py.py, and PYTHONPATH may name it."""
    (path.parent / "h5py.py").write_text("raise SystemExit('imported')", encoding="utf-8")
    monkeypatch.chdir(path.parent)
    monkeypatch.setenv("PYTHONPATH", str(path.parent))
    assert convert_isolated(path).n_classes == 2


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (-signal.SIGSEGV, Reason.FILE_UNREADABLE),
        (-signal.SIGABRT, Reason.FILE_UNREADABLE),
        (1, Reason.FILE_UNREADABLE),
        (-signal.SIGXCPU, Reason.LIMIT_EXCEEDED),
        (-signal.SIGKILL, Reason.LIMIT_EXCEEDED),
    ],
)
def test_a_crash_is_a_refusal(tmp_path: Path, code: int, reason: Reason) -> None:
    """Of a library, or at a limit."""
    with pytest.raises(NetworkRefusedError) as caught:
        isolation._received(tmp_path, code, "net.h5")
    assert caught.value.reason is reason


def test_a_child_that_takes_too_long_is_ended(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the message says so."""
    monkeypatch.setattr(isolation, "CHILD_WALL_SECONDS", 0.01)
    with pytest.raises(NetworkRefusedError) as caught:
        convert_isolated(path)
    assert caught.value.reason is Reason.LIMIT_EXCEEDED


def test_memory_is_limited(tmp_path: Path) -> None:
    """What asks for more than the limit ends as a refusal, in the child."""
    program = (
        "import pathlib, sys, training_export.isolation as i, training_export.convert as c; "
        "i.CHILD_MEMORY_BYTES = 2 << 30; c.convert = lambda path: bytearray(8 << 30); i.main(sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "net.h5"), str(tmp_path)],
        env={**os.environ, **isolation.ENVIRONMENT},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "LIMIT_EXCEEDED" in (tmp_path / isolation.REFUSAL).read_text(encoding="utf-8")


def test_a_large_network_stays_well_below_the_limits() -> None:
    """The shipped network takes a fraction of them, so that the published one has room."""
    assert convert_isolated(SHIPPED / "demonstration-egfr-1.0.0" / "model.onnx").n_classes == 2
