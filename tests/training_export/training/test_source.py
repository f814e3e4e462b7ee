"""Where training images come from: above all, that they are the bytes that are served."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from egfr_dls import cli
from egfr_dls.errors import ExitCode, UsageError
from inference.engine.onnx import OrtSession
from inference.models.manifest import Preprocessing
from tests.training_export.training.slices_of import write_crops
from training_export.cohort.layout import CohortImages
from training_export.phantom_dicom import write_phantom
from training_export.phantom_roi import RoiKind
from training_export.phantoms import make_phantom
from training_export.training.refusal import TrainingRefusedError
from training_export.training.source import BRAIN_MR, PET_CT, cohort_slices, read_data

SEED = 5


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom's DICOM files, with its regions."""
    folder = tmp_path_factory.mktemp("study")
    write_phantom(make_phantom(SEED), folder, RoiKind.SEG)
    return folder


def run(*arguments: Any) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in arguments])
    assert ended.value.code in (0, None, ExitCode.DONE)


@pytest.fixture(scope="module")
def cohort(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study as `export-cohort` exports it."""
    folder = tmp_path_factory.mktemp("cohort")
    labels = folder / "labels.csv"
    labels.write_text(f"patient_id,label\nPHANTOM-{SEED},1\n", encoding="utf-8")
    run("export-cohort", "--from", study, "--out", folder / "out", "--labels", labels)
    return folder / "out"


def test_training_sees_the_bytes_that_the_service_scores(
    study: Path, cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every training image of an exported study goes to the network, byte for byte, when the study is analysed."""
    served: set[bytes] = set()
    real = OrtSession.infer

    def noted(self: OrtSession, image: Any) -> Any:
        served.update(one.tobytes() for one in image)
        return real(self, image)

    monkeypatch.setattr(OrtSession, "infer", noted)
    run("analyze", study, "--out", tmp_path)
    slices = read_data(PET_CT, cohort, "egfr").slices
    assert len(slices) > 3
    assert slices.label.tolist() == [1] * len(slices)
    assert all(image.tobytes() in served for image in slices.batch(np.arange(len(slices))))
    lesions = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))["lesions"]
    assert int(slices.counted.sum()) == len(lesions[0]["slices"])


def test_a_cohort_says_how_its_images_were_made(cohort: Path) -> None:
    """The package will say the same, so that the service makes them likewise."""
    data = read_data(PET_CT, cohort, "egfr")
    assert (data.preprocessing, data.shape) == (Preprocessing(), (3, 64, 64))
    assert data.synthetic, "phantoms stay phantoms on the way through a cohort"
    assert data.source == "an exported cohort, 1 of its studies synthetic"


def test_a_cohort_of_patients_is_no_demonstration(cohort: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(cohort, tmp_path / "copy"))
    manifest = json.loads((copy / "cohort.json").read_text(encoding="utf-8"))
    manifest["counts"]["phantoms"] = 0
    (copy / "cohort.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert not read_data(PET_CT, copy, "egfr").synthetic


def test_a_cohort_without_labels_of_the_task_is_refused(cohort: Path) -> None:
    with pytest.raises(TrainingRefusedError, match="no patient of the cohort has a label of pdl1"):
        read_data(PET_CT, cohort, "pdl1")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no cohort"):
        read_data(PET_CT, tmp_path, "egfr")


def test_only_labelled_patients_are_learnt_from() -> None:
    """Patients by name, each image with his label; one without is not there."""
    n = 6
    cohort = CohortImages(
        images=np.random.default_rng(0).standard_normal((n, 3, 64, 64)).astype(np.float32),
        patient=np.array(["b", "b", "a", "a", "c", "c"]),
        study=np.array(["1", "1", "2", "2", "3", "3"]),
        lesion=np.ones(n, np.int64),
        slice_index=np.arange(n),
        area_mm2=np.ones(n),
        index_study=np.ones(n, np.bool_),
        counted=np.array([True, False, True, True, True, True]),
        egfr=np.array([1, 1, 0, 0, -1, -1]),
        pdl1=np.full(n, -1),
    )
    slices = cohort_slices(cohort, "egfr")
    assert slices.names == ("a", "b")
    assert slices.patient.tolist() == [1, 1, 0, 0]
    assert slices.label.tolist() == [1, 1, 0, 0]
    assert slices.counted.tolist() == [True, False, True, True]
    np.testing.assert_array_equal(slices.batch(np.arange(4)), cohort.images[:4])


def test_crops_are_made_elsewhere(tmp_path: Path) -> None:
    """So the package will say that no biomarker takes it."""
    data = read_data(BRAIN_MR, write_crops(tmp_path), "egfr")
    assert (data.preprocessing, data.shape) == (None, (3, 96, 96))
