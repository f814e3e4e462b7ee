"""Phantoms as DICOM studies: same bytes in another process, the fixed truth.json, valid objects, voxels that come back."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from click.testing import CliRunner
from skimage.draw import polygon2mask

from egfr_dls.atomic_file import UNFINISHED
from training_export.phantom_command import phantom as command
from training_export.phantom_dicom import SUV_FACTOR, write_phantom
from training_export.phantom_roi import RoiKind
from training_export.phantoms import Phantom, make_phantom

SEED = 3


@pytest.fixture(scope="module")
def truth() -> Phantom:
    """The phantom that the folders below hold."""
    return make_phantom(SEED)


@pytest.fixture(scope="module")
def studies(truth: Phantom, tmp_path_factory: pytest.TempPathFactory) -> dict[RoiKind, Path]:
    """One written study for each way to store the lesions."""
    folders = {kind: tmp_path_factory.mktemp(kind.value) for kind in RoiKind}
    for kind, folder in folders.items():
        write_phantom(truth, folder, kind)
    return folders


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("kind", [RoiKind.SEG, RoiKind.RTSTRUCT])
def test_another_process_writes_the_same_bytes(studies: dict[RoiKind, Path], tmp_path: Path, kind: RoiKind) -> None:
    """Nothing in the files comes from the clock or from chance."""
    program = "from training_export.phantom_command import phantom; phantom()"
    arguments = [sys.executable, "-c", program, "pet-ct", str(tmp_path), "--seed", str(SEED), "--roi", kind.value]
    subprocess.run(arguments, check=True, capture_output=True)
    assert _digests(tmp_path) == _digests(studies[kind])


def test_truth_has_exactly_the_keys_of_the_contract(studies: dict[RoiKind, Path], truth: Phantom) -> None:
    """``truth.json`` is a fixed contract of the command."""
    document = json.loads((studies[RoiKind.SEG] / "truth.json").read_text())
    assert list(document) == ["seed", "kind", "study_instance_uid", "label", "lesions"]
    assert (document["seed"], document["kind"], document["label"]) == (SEED, "pet-ct", truth.egfr)
    assert len(document["lesions"]) == len(truth.lesions)
    for lesion in document["lesions"]:
        assert list(lesion) == ["label", "centre_mm", "diameter_mm", "volume_ml", "suv_max"]
    ds = pydicom.dcmread(studies[RoiKind.SEG] / "ct-0001.dcm")
    assert document["study_instance_uid"] == ds.StudyInstanceUID
    assert (str(ds.PatientName), ds.PatientID) == ("PHANTOM^EGFR-DLS", f"PHANTOM-{SEED}")


def test_voxels_come_back(studies: dict[RoiKind, Path], truth: Phantom) -> None:
    """CT in HU exactly, PET in SUV within half a stored step of each slice's own slope."""
    for i in (0, 40, 79):
        ct = pydicom.dcmread(studies[RoiKind.NONE] / f"ct-{i + 1:04d}.dcm")
        np.testing.assert_array_equal(ct.pixel_array.astype(np.float64) - 1024, truth.ct_hu.voxels[i])
        pet = pydicom.dcmread(studies[RoiKind.NONE] / f"pt-{i + 1:04d}.dcm")
        step = float(pet.RescaleSlope) * SUV_FACTOR
        np.testing.assert_allclose(pet.pixel_array * step, truth.pet_suv.voxels[i], rtol=0, atol=0.51 * step)
        assert pet.ImagePositionPatient[2] == pytest.approx(truth.pet_suv.geometry.slice_position_mm(i))


def test_slopes_differ_by_slice(studies: dict[RoiKind, Path]) -> None:
    """A reader that takes the first slice's slope for all is found out."""
    slopes = {float(pydicom.dcmread(p).RescaleSlope) for p in studies[RoiKind.NONE].glob("pt-*.dcm")}
    assert len(slopes) > 40


def test_segments_are_the_lesions(studies: dict[RoiKind, Path], truth: Phantom) -> None:
    """Each segment's frames hold exactly the lesion's voxels."""
    ds = pydicom.dcmread(studies[RoiKind.SEG] / "seg.dcm")
    assert [s.SegmentLabel for s in ds.SegmentSequence] == [lesion.label for lesion in truth.lesions]
    assert {s.SegmentedPropertyTypeCodeSequence[0].CodeValue for s in ds.SegmentSequence} == {"108369006"}
    counts = np.zeros(len(truth.lesions), dtype=int)
    for item, plane in zip(ds.PerFrameFunctionalGroupsSequence, ds.pixel_array, strict=True):
        counts[item.SegmentIdentificationSequence[0].ReferencedSegmentNumber - 1] += np.count_nonzero(plane)
    assert counts.tolist() == [np.count_nonzero(lesion.mask) for lesion in truth.lesions]


def test_contours_enclose_the_lesions(studies: dict[RoiKind, Path], truth: Phantom) -> None:
    """Pixel centres inside the polygons are exactly the lesion's voxels."""
    ds = pydicom.dcmread(studies[RoiKind.RTSTRUCT] / "rtstruct.dcm")
    x0, y0, z0 = truth.ct_hu.geometry.origin_mm
    for roi, lesion in zip(ds.ROIContourSequence, truth.lesions, strict=True):
        drawn = np.zeros_like(lesion.mask)
        for contour in roi.ContourSequence:
            x, y, z = np.array(contour.ContourData, float).reshape(-1, 3).T
            index = round((z[0] - z0) / 4.0)
            drawn[index] ^= polygon2mask(drawn.shape[1:], np.stack([(y - y0) / 2.0, (x - x0) / 2.0], axis=1))
        np.testing.assert_array_equal(drawn, lesion.mask)


@pytest.mark.dicom3tools
@pytest.mark.parametrize(
    ("kind", "name"),
    [("seg", "ct-0001.dcm"), ("seg", "pt-0040.dcm"), ("seg", "seg.dcm"), ("rtstruct", "rtstruct.dcm")],
)
def test_objects_are_valid_dicom(studies: dict[RoiKind, Path], kind: str, name: str) -> None:
    """dciodvfy has nothing to say about them."""
    run = subprocess.run(["dciodvfy", str(studies[RoiKind(kind)] / name)], capture_output=True, text=True, check=False)
    assert [line for line in (run.stdout + run.stderr).splitlines() if line.startswith("Error")] == []


@pytest.mark.dicom3tools
def test_study_is_consistent(studies: dict[RoiKind, Path]) -> None:
    """dcentvfy finds no attribute that differs between objects of one patient, study, series or frame of reference."""
    files = [str(path) for path in sorted(studies[RoiKind.SEG].glob("*.dcm"))]
    run = subprocess.run(["dcentvfy", *files], capture_output=True, text=True, check=False)
    assert [line for line in (run.stdout + run.stderr).splitlines() if line.startswith("Error")] == []


def test_command_writes_rising_seeds_into_numbered_folders(tmp_path: Path) -> None:
    """``--count 2`` gives OUT/0001 and OUT/0002 with seeds N and N + 1."""
    result = CliRunner().invoke(command, ["pet-ct", str(tmp_path), "--seed", "5", "--count", "2", "--roi", "none"])
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0001", "0002"]
    seeds = [json.loads((tmp_path / n / "truth.json").read_text())["seed"] for n in ("0001", "0002")]
    assert seeds == [5, 6]
    assert result.stdout == ""  # progress goes to standard error


def test_other_files_stay_and_an_old_roi_of_ours_goes(truth: Phantom, tmp_path: Path) -> None:
    """A second run replaces what the first one wrote; a stale ROI of ours would be scored."""
    (tmp_path / "notes.txt").write_text("mine")
    write_phantom(truth, tmp_path, RoiKind.SEG)
    write_phantom(truth, tmp_path, RoiKind.RTSTRUCT)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "seg.dcm").exists()
    assert (tmp_path / "rtstruct.dcm").exists()
    assert not list(tmp_path.glob(UNFINISHED))


def test_command_refuses_an_unknown_roi_kind(tmp_path: Path) -> None:
    """Usage errors end with 2."""
    result = CliRunner().invoke(command, ["pet-ct", str(tmp_path), "--roi", "points"])
    assert result.exit_code == 2
    assert "rtstruct" in result.output
