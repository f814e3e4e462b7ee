"""A split that the user states."""

from __future__ import annotations

from pathlib import Path

import pytest

from training_export.training.refusal import Reason, TrainingRefusedError
from training_export.training.stated_split import read_split


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "split.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_each_patient_has_his_part(tmp_path: Path) -> None:
    """A spreadsheet's byte order mark, further columns and a row that says the same again do no harm."""
    file = written(tmp_path, "\ufeffpatient,hospital,split\nA,x,training\nB,y, test \nA,x,training\n")
    assert read_split(file) == {"A": "training", "B": "test"}


def test_a_patient_in_two_parts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingRefusedError, match="line 4: patient A is in test and in training") as refused:
        read_split(written(tmp_path, "patient,split\nA,training\nB,test\nA,test\n"))
    assert refused.value.reason is Reason.PATIENT_IN_TWO_SPLITS


@pytest.mark.parametrize("text", ["", "patient,part\nA,test\n"])
def test_another_table_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(TrainingRefusedError, match="needed: patient, split"):
        read_split(written(tmp_path, text))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "split.csv"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TrainingRefusedError, match="needed: a CSV table"):
        read_split(file)
