"""Whatever bytes golden.npz holds, it is arrays of numbers or a refusal that names it."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from egfr_dls.errors import ConfigurationError
from inference.engine import golden_file
from inference.engine.golden_file import read_golden
from inference.models.manifest import ModelPackage
from tests.inference.packages import golden_images, network, run, state_digests, write_package


def packed(folder: Path, content: bytes) -> ModelPackage:
    """A package whose golden file is these bytes, its digest made to fit."""
    write_package(folder)
    (folder / "golden.npz").write_bytes(content)
    state_digests(folder)
    return ModelPackage.read(folder)


def archive(**members: bytes) -> bytes:
    """A zip of raw members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def array(values: np.ndarray, **options: bool) -> bytes:
    """One array as NumPy writes it."""
    buffer = io.BytesIO()
    np.save(buffer, values, **options)
    return buffer.getvalue()


IMAGE, PROB = array(golden_images()), array(run(network(), golden_images())["prob"])
WHOLE = archive(image=IMAGE, prob=PROB, cam=array(run(network(), golden_images())["cam"]))


def giant() -> bytes:
    """The header of an array of 36 TB, and twelve bytes of it."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<f4", "fortran_order": False, "shape": (9_000_000_000_000,)}
    )
    return buffer.getvalue() + bytes(12)


FAULTS: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "is not an npz file"),
    "text": (b"no npz", "is not an npz file"),
    "cut off": (WHOLE[: len(WHOLE) // 2], "is not an npz file"),
    "changed inside": (WHOLE[:900] + b"\0\0\0\0" + WHOLE[904:], "is not an npz file"),
    "a pickle": (archive(image=array(np.array([{}], object), allow_pickle=True), prob=PROB), "is not an npz file"),
    "text as an array": (archive(image=b"hello", prob=PROB), "array image is no array"),
    "a header that lies": (archive(image=giant(), prob=PROB), "is not an npz file"),
    "whole numbers": (archive(image=array(np.zeros((8, 3, 64, 64), np.int32))), "array image is int32"),
    "words": (archive(image=array(np.array(["a", "b"]))), "array image is <U1"),
    "no prob": (archive(image=IMAGE), "array prob is missing"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_no_golden_file_is_refused(tmp_path: Path, fault: str) -> None:
    """By file, and by array where there is one."""
    content, told = FAULTS[fault]
    package = packed(tmp_path / "tiny", content)
    with pytest.raises(ConfigurationError, match=told) as caught:
        read_golden(package)
    assert str(package.golden) in str(caught.value)


def test_a_file_that_unpacks_to_more_than_a_golden_test_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is unpacked."""
    monkeypatch.setattr(golden_file, "MAX_GOLDEN_BYTES", 1000)
    with pytest.raises(ConfigurationError, match=r"unpacks to \d+ bytes; needed: at most 1000"):
        read_golden(packed(tmp_path / "tiny", WHOLE))


def test_golden_values_of_other_shapes_are_no_defect(tmp_path: Path) -> None:
    """They are read; the comparison refuses them."""
    golden = read_golden(packed(tmp_path / "tiny", archive(image=IMAGE, prob=array(np.float32(1)), cam=PROB)))
    assert golden["prob"].shape == ()
