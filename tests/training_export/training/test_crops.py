"""Crops of brain metastases on the documented array layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.training_export.training.slices_of import write_crops
from training_export.training.crops import read_crops
from training_export.training.refusal import Reason, TrainingRefusedError
from training_export.training.slices import checked


def test_a_folder_becomes_images_of_three_equal_channels(tmp_path: Path) -> None:
    """Only the slices that a lesion has; the rest of the five is not looked at."""
    folder = write_crops(tmp_path, patients=6)
    crops = np.load(folder / "crops.npy")
    crops[0, 4] = crops[3, 4] = np.nan  # lesions 0 and 3 have four slices
    np.save(folder / "crops.npy", crops)
    slices = read_crops(folder)
    assert len(slices) == 2 * 4 + 4 * 5
    assert slices.names == tuple(f"B{n:03d}" for n in range(6))
    assert slices.patient_labels.tolist() == [1, 0, 1, 0, 1, 0]
    image = slices.batch(np.array([4]))  # the first slice of lesion 1
    np.testing.assert_array_equal(image, np.repeat(crops[1:2, :1], 3, axis=1))
    assert checked(slices, (3, 96, 96))


def test_two_lesions_of_one_patient_are_one_patient(tmp_path: Path) -> None:
    folder = write_crops(tmp_path, patients=4)
    (folder / "lesions.csv").write_text("patient,label\nA,1\nB,0\nA,1\nC,0\n", encoding="utf-8")
    slices = read_crops(folder)
    assert slices.names == ("A", "B", "C")
    assert np.bincount(slices.patient).tolist() == [10, 5, 5]


def test_labels_that_contradict_are_refused(tmp_path: Path) -> None:
    folder = write_crops(tmp_path, patients=4)
    (folder / "lesions.csv").write_text("patient,label\nA,1\nB,0\nA,0\nC,0\n", encoding="utf-8")
    with pytest.raises(TrainingRefusedError, match="patient A") as refused:
        checked(read_crops(folder), (3, 96, 96))
    assert refused.value.reason is Reason.LABELS_CONTRADICT


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ("patient\nA\n", "no column label"),
        ("patient,label\nA,1\nB,2\n", "line 3"),
        ("patient,label\n,1\n", "patient empty"),
        ("patient,label\nA\n", "label empty"),
        ("patient,label,slices\nA,1,6\n", "slices 6"),
        ("patient,label\nA,1\n", "4 lesions"),
        ("", "no column patient"),
    ],
)
def test_a_table_that_is_not_of_the_layout_is_refused(tmp_path: Path, table: str, named: str) -> None:
    folder = write_crops(tmp_path, patients=4)
    (folder / "lesions.csv").write_text(table, encoding="utf-8")
    with pytest.raises(TrainingRefusedError, match=named):
        read_crops(folder)


@pytest.mark.parametrize(
    "array", [np.zeros((4, 5, 64, 64), np.float32), np.zeros((4, 3, 96, 96), np.float32), np.zeros((4, 5, 96, 96))]
)
def test_crops_of_another_shape_or_type_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    folder = write_crops(tmp_path, patients=4)
    np.save(folder / "crops.npy", array)
    with pytest.raises(TrainingRefusedError, match="needed: float32") as refused:
        read_crops(folder)
    assert refused.value.reason is Reason.SHAPE_WRONG


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingRefusedError, match=r"lesions\.csv"):
        read_crops(tmp_path)


def test_an_array_with_pickled_objects_is_never_opened(tmp_path: Path) -> None:
    """It could hold code."""
    folder = write_crops(tmp_path, patients=4)
    np.save(folder / "crops.npy", np.array([{"a": 1}] * 4, object), allow_pickle=True)
    with pytest.raises(TrainingRefusedError, match="needed: a NPY file of numbers"):
        read_crops(folder)


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    folder = write_crops(tmp_path, patients=4)
    whole = (folder / "crops.npy").read_bytes()
    (folder / "crops.npy").write_bytes(whole[:-1000])
    with pytest.raises(TrainingRefusedError, match="needed: a NPY file of numbers"):
        read_crops(folder)
