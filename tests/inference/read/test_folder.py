"""A folder is read whatever its files are called, headers first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataelem import RawDataElement

from egfr_dls.errors import UsageError
from inference.read.ct import read_ct
from inference.read.folder import read_folder
from inference.read.header import tag_of
from inference.read.series import group_series
from tests import builders


def test_dicom_is_found_below_whatever_its_name_and_the_rest_is_counted(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for i, ds in enumerate(builders.ct_slices()):
        (tmp_path / "a" / ("b" if i % 2 else "") / f"IM{i}").write_bytes(builders.to_part10(ds))
    (tmp_path / "notes.txt").write_text("not DICOM")
    (tmp_path / "empty").touch()
    (tmp_path / "broken.dcm").write_bytes(bytes(128) + b"DICM" + b"\xff" * 40)
    contents = read_folder(tmp_path)
    assert len(contents.datasets) == 8
    assert contents.skipped == 2
    assert [path.name for path in contents.damaged] == ["broken.dcm"]


def test_a_single_file_is_a_path_too(tmp_path: Path) -> None:
    file = tmp_path / "one"
    file.write_bytes(builders.to_part10(builders.ct_slices()[0]))
    assert len(read_folder(file).datasets) == 1


def test_pixels_stay_in_the_file_until_asked_for(tmp_path: Path) -> None:
    hu = np.zeros((2, 256, 256))
    for i, ds in enumerate(builders.ct_slices(hu)):
        (tmp_path / f"{i}").write_bytes(builders.to_part10(ds))
    contents = read_folder(tmp_path)
    for ds in contents.datasets:
        element = ds._dict[tag_of("PixelData")]
        assert isinstance(element, RawDataElement)
        assert element.value is None
    (series,) = group_series(contents.datasets)
    np.testing.assert_array_equal(read_ct(series).voxels, hu)


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_a_path_without_dicom_is_a_usage_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "x").write_text("x")
    with pytest.raises(UsageError, match=name):
        read_folder(tmp_path / name)
