"""A package is what lies in its folder: links out of it, paths, devices and giants are refused by name."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from egfr_dls.errors import ConfigurationError
from inference.models import package_files
from inference.models.manifest import ModelPackage
from tests.inference.packages import write_package


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound package."""
    return write_package(tmp_path / "tiny")


def _linked_out(folder: Path) -> None:
    (folder / "model.onnx").rename(folder.parent / "elsewhere.onnx")
    (folder / "model.onnx").symlink_to(folder.parent / "elsewhere.onnx")


def _fifo(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    os.mkfifo(folder / "model.onnx")


def _listed(folder: Path, name: str) -> None:
    path = folder / "model.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["files"][name] = "0" * 64
    path.write_text(json.dumps(document), encoding="utf-8")


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "link out of the folder": (_linked_out, "model.onnx leads out of the package, to"),
    "link to nothing": (
        lambda f: ((f / "model.onnx").unlink(), (f / "model.onnx").symlink_to("nowhere")),
        "No such file",
    ),
    "link to itself": (
        lambda f: ((f / "model.onnx").unlink(), (f / "model.onnx").symlink_to("model.onnx")),
        "model.onnx",
    ),
    "pipe": (_fifo, "model.onnx is no plain file"),
    "folder": (lambda f: ((f / "model.onnx").unlink(), (f / "model.onnx").mkdir()), "model.onnx is no plain file"),
    "path upwards": (lambda f: _listed(f, "../tiny/model.onnx"), "files.../tiny/model.onnx: must be a file name"),
    "path from the root": (lambda f: _listed(f, "/etc/passwd"), "files./etc/passwd: must be a file name"),
    "the folder itself": (lambda f: _listed(f, ".."), "files...: must be a file name"),
    "no name": (lambda f: _listed(f, ""), "must be a file name"),
    "zero byte": (lambda f: _listed(f, "a\0b"), "must be a file name"),
    "name too long for a file system": (lambda f: _listed(f, "a" * 5000), "File name too long"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_no_file_of_the_package_is_refused(folder: Path, fault: str) -> None:
    """The message names the folder, the file and what it is."""
    change, told = FAULTS[fault]
    change(folder)
    with pytest.raises(ConfigurationError) as caught:
        ModelPackage.read(folder)
    assert str(folder) in str(caught.value)
    assert told in str(caught.value)


def test_links_within_the_folder_are_followed(folder: Path) -> None:
    """As Kubernetes mounts files: through a hidden folder that it can change at once."""
    (folder / "..data").mkdir()
    (folder / "model.onnx").rename(folder / "..data" / "model.onnx")
    (folder / "model.onnx").symlink_to("..data/model.onnx")
    assert ModelPackage.read(folder).key == "tiny@1.0.0"


def test_a_package_may_itself_be_reached_through_a_link(folder: Path) -> None:
    """A folder `current` that leads to a version."""
    (folder.parent / "current").symlink_to(folder)
    assert ModelPackage.read(folder.parent / "current").key == "tiny@1.0.0"


def test_a_file_larger_than_any_network_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is read."""
    monkeypatch.setattr(package_files, "MAX_FILE_BYTES", 100)
    with pytest.raises(ConfigurationError, match=r"holds \d+ bytes; needed: at most 100"):
        ModelPackage.read(folder)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b" " * ((1 << 20) + 1), "holds 1048577 bytes; needed: at most 1048576"),
        (b"[" * 200_000, "is not JSON"),
        (b'{"schema":' * 50_000, "is not JSON"),
        (b"1" * 5000, "is not JSON"),
        (json.dumps({f"key{n}": "x" * 50 for n in range(10_000)}).encode(), "more"),
        (json.dumps({"schema": "y" * 900_000}).encode(), "schema"),
    ],
    ids=["huge", "deep lists", "deep objects", "long number", "many keys", "long text"],
)
def test_a_hostile_manifest_is_refused_in_a_sentence(folder: Path, content: bytes, told: str) -> None:
    """Whatever its size or depth, the message stays readable."""
    (folder / "model.json").write_bytes(content)
    with pytest.raises(ConfigurationError, match=told) as caught:
        ModelPackage.read(folder)
    assert str(folder / "model.json") in str(caught.value)
    assert len(str(caught.value)) < 2000


def test_more_files_than_a_package_has_are_refused(folder: Path) -> None:
    """A manifest of a thousand files would be a thousand digests."""
    for n in range(20):
        _listed(folder, f"file{n}")
    with pytest.raises(ConfigurationError, match="files: Dictionary should have at most 16 items"):
        ModelPackage.read(folder)


def test_what_is_used_is_what_was_checked(folder: Path) -> None:
    """A file that is exchanged after the package was read is found when it is opened."""
    package = ModelPackage.read(folder)
    (folder / "model.onnx").write_bytes(b"another network")
    with pytest.raises(ConfigurationError, match="was changed or damaged"):
        package.content("model.onnx")
