"""What training reads of a cohort: labels as they hold, one a patient, and nothing that was changed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from egfr_dls.errors import UsageError
from tests.system.study_data import small_study
from tests.training_export.cohorts import Ended, call, write_files
from training_export.cohort.layout import read_cohort


@pytest.fixture
def cohort(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Ended:
    """Two patients, the first with two studies: mutant at baseline, wild type two years later."""
    for number, patient, day in ((1, "A", "20230101"), (2, "A", "20250101"), (3, "B", "20250101")):
        write_files(small_study(number, PatientID=patient, StudyDate=day), tmp_path / "in" / str(number))
    results = tmp_path / "results.csv"
    results.write_text(
        "patient_id,taken_on,test,result\nA,2023-01-02,egfr,mutant\nA,2025-01-02,egfr,wild type\nB,2025-01-02,pdl1,60\n"
    )
    ended = call(capsys, tmp_path / "out", "--from", tmp_path / "in", "--pathology", results)
    assert ended.code == 0
    return ended


def test_every_image_has_the_label_of_its_study(cohort: Ended) -> None:
    found = read_cohort(cohort.folder)
    assert found.images.dtype == np.float32 and found.images.shape[1:] == (3, 64, 64)
    n = len(found) // 3
    assert sorted(found.egfr.tolist()) == [-1] * n + [0] * n + [1] * n
    assert sorted(found.pdl1.tolist()) == [-1] * 2 * n + [1] * n
    assert found.counted.sum() == 2 * n  # the baseline of either patient
    assert set(found.patient[found.counted].tolist()) == set(found.patient.tolist())


def test_what_is_learnt_from_has_one_label_a_patient(cohort: Ended) -> None:
    """The later, wild-type study of the mutant patient is of neither class."""
    learnt = read_cohort(cohort.folder).labelled("egfr")
    assert set(learnt.egfr.tolist()) == {1} and len(set(learnt.patient.tolist())) == 1 and learnt.index_study.all()
    assert len(read_cohort(cohort.folder).labelled("pdl1")) == len(learnt)


@pytest.mark.parametrize("what", ["npz", "table", "schema", "no manifest", "not JSON", "gone"])
def test_what_is_not_as_it_was_exported_is_refused(cohort: Ended, what: str) -> None:
    manifest = cohort.folder / "cohort.json"
    npz = next((cohort.folder / "hyperimages").glob("*.npz"))
    if what == "npz":
        npz.write_bytes(npz.read_bytes()[:-2])
    elif what == "table":
        table = cohort.folder / "studies.csv"
        table.write_text(table.read_text().replace(",1,", ",0,"))
    elif what == "schema":
        manifest.write_text(json.dumps({**cohort.manifest, "schema": "egfr-dls-cohort/2"}))
    elif what == "no manifest":
        manifest.unlink()
    elif what == "not JSON":
        manifest.write_text("{")
    else:
        npz.unlink()
    with pytest.raises(UsageError):
        read_cohort(cohort.folder)
