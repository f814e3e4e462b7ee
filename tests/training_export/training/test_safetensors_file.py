"""Weights without code: what a made file tries is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.training_export.training.safetensors import file_of, parts
from training_export.training import safetensors_file
from training_export.training.refusal import Reason, TrainingRefusedError
from training_export.training.safetensors_file import read_safetensors

ARRAYS = {
    "conv1.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "scalar": np.array(3, np.int64),
    "double": np.linspace(0, 1, 5),
    "empty": np.zeros((0, 4), np.float32),
}
HEADER, BODY = parts(ARRAYS)


def written(tmp_path: Path, content: bytes) -> Path:
    file = tmp_path / "weights.safetensors"
    file.write_bytes(content)
    return file


def test_tensors_come_back_as_they_were(tmp_path: Path) -> None:
    found = read_safetensors(written(tmp_path, file_of(HEADER, BODY)))
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def changed(name: str, **facts: Any) -> dict[str, Any]:
    return {**HEADER, name: {**HEADER[name], **facts}}


FAULTS: dict[str, tuple[Any, bytes]] = {
    "beyond the file": (changed("conv1.weight", shape=[2000], data_offsets=[0, 8000]), BODY),
    "overlap": (changed("scalar", data_offsets=[88, 96]), BODY),
    "gap": (changed("scalar", data_offsets=[100, 108]), BODY + bytes(4)),
    "shape too large": (changed("scalar", shape=[2]), BODY),
    "negative shape": (changed("conv1.weight", shape=[-2, -12]), BODY),
    "huge shape": (changed("conv1.weight", shape=[2**62, 2**62]), BODY),
    "negative place": (changed("conv1.weight", data_offsets=[-96, 0]), BODY),
    "unknown type": (changed("scalar", dtype="BF16"), BODY),
    "type is a list": (changed("scalar", dtype=["F32"]), BODY),
    "no type": ({**HEADER, "scalar": {"shape": [], "data_offsets": [96, 104]}}, BODY),
    "no table": ({**HEADER, "scalar": 3}, BODY),
    "infinite place": (changed("scalar", data_offsets=[float("inf"), 1]), BODY),
    "header is a list": ([1, 2], BODY),
    "rest": (HEADER, BODY + b"x"),
    "cut off": (HEADER, BODY[:-1]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_made_header_is_refused(tmp_path: Path, fault: str) -> None:
    with pytest.raises(TrainingRefusedError) as refused:
        read_safetensors(written(tmp_path, file_of(*FAULTS[fault])))
    assert refused.value.reason is Reason.WEIGHTS_UNSAFE


@pytest.mark.parametrize(
    "content",
    [b"", b"\x05", (2**63).to_bytes(8, "little") + b"{}", (2).to_bytes(8, "little") + b"{x", b"[" * 5000, b"\x80\x02."],
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(TrainingRefusedError):
        read_safetensors(written(tmp_path, content))


def test_a_deep_header_is_refused(tmp_path: Path) -> None:
    text = b"[" * 200_000
    with pytest.raises(TrainingRefusedError):
        read_safetensors(written(tmp_path, len(text).to_bytes(8, "little") + text))


def test_a_file_that_is_too_large_or_missing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrainingRefusedError, match="No such file"):
        read_safetensors(tmp_path / "none.safetensors")
    monkeypatch.setattr(safetensors_file, "MAX_FILE_BYTES", 100)
    with pytest.raises(TrainingRefusedError, match="at most 100"):
        read_safetensors(written(tmp_path, file_of(HEADER, BODY)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(st.data())
def test_any_damage_is_refused_or_harmless(tmp_path: Path, data: st.DataObject) -> None:
    """A byte anywhere in the header changed: tensors of the right size, or a refusal; nothing else."""
    content = bytearray(file_of(HEADER, BODY))
    content[data.draw(st.integers(0, len(content) - len(BODY) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = read_safetensors(written(tmp_path, bytes(content)))
    except TrainingRefusedError:
        return
    assert sum(array.nbytes for array in found.values()) <= len(BODY)
