"""`egfr-dls export-cohort`: the served bytes without their patients, whatever lies there."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from egfr_dls import analysis, settings
from egfr_dls.errors import StudyRefusedError, TemporaryFailureError
from egfr_dls.ledger import completion
from egfr_dls.refusals import RefusalCode
from egfr_dls.store import open_store
from inference.biomarkers.pet_ct_egfr.biomarker import PET_CT_EGFR
from inference.biomarkers.registry import load_scorers
from inference.engine.gate import Scorer
from inference.stage import InferenceHandler
from inference.study_analysis import analyse_study
from tests.system.study_data import of_modality, small_study, study_uid
from tests.training_export.cohorts import SECRETS, Ended, arrays, call, found_secrets, planted_study, rows, write_files
from training_export.cohort import export
from training_export.cohort.export import _other_patient
from training_export.cohort.patients import place_of

Capsys = pytest.CaptureFixture[str]


class _Spy:
    """A session that keeps what it is given."""

    def __init__(self, session: Any, seen: list[NDArray[np.float32]]) -> None:
        self._session, self._seen = session, seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def infer(self, images: NDArray[np.float32]) -> Any:
        self._seen.append(images.copy())
        return self._session.infer(images)


def test_the_exported_hyper_images_are_the_bytes_that_are_served(tmp_path: Path, config: Path, capsys: Capsys) -> None:
    study = small_study(1)
    loaded = settings.load(config)
    seen: list[NDArray[np.float32]] = []
    scorer = load_scorers(PET_CT_EGFR, loaded)["egfr"]
    spied = Scorer(scorer.package, _Spy(scorer.session, seen), scorer.deviation)
    served = analyse_study(study, PET_CT_EGFR, {"egfr": spied}, loaded)
    ended = call(capsys, tmp_path / "out", "--from", write_files(study, tmp_path / "in"), "--config", config)
    exported = arrays(ended)["images"]
    assert ended.code == 0
    assert exported.dtype == np.float32 and exported.tobytes() == np.concatenate(seen).tobytes()
    scores = [float(row["p1"]) for row in rows(ended, "slices.csv") if row["model"] == "egfr"]
    assert np.mean(scores) == pytest.approx(served.findings.patient.egfr_dls, abs=1e-4)


def test_a_mask_and_its_place_come_with_the_images(tmp_path: Path, config: Path, capsys: Capsys) -> None:
    ended = call(capsys, tmp_path / "out", "--from", write_files(small_study(1), tmp_path / "in"), "--config", config)
    held = arrays(ended)
    assert held["roi_1"].shape[1:] == tuple(held["grid_shape"][1:]) and held["roi_1"].any(axis=(1, 2)).all()
    area = held["roi_1"].sum(axis=(1, 2)) * 16.0  # pixels of 4 mm
    assert held["area_mm2"].tolist() == [area[held["roi_slices_1"].tolist().index(z)] for z in held["slice_index"]]


@pytest.mark.parametrize("dicom", [True, False])
def test_no_byte_of_the_cohort_names_the_patient(tmp_path: Path, config: Path, capsys: Capsys, dicom: bool) -> None:
    study = planted_study(1)
    folder = write_files(study, tmp_path / "in" / "ZWINGENBERGER")
    labels = tmp_path / "labels.csv"
    labels.write_text("patient_id,issuer_of_patient_id,label\nMRN-58812077,KLINIKUM-SEESTADT,1\n")
    ended = call(
        capsys,
        tmp_path / "out",
        "--from",
        folder,
        "--config",
        config,
        "--labels",
        labels,
        *(["--dicom"] if dicom else []),
    )
    assert ended.code == 0
    files = {**ended.files(), "stdout": ended.out.encode(), "stderr": ended.err.encode()}
    files |= {f"name of {name}": name.encode() for name in files}
    with np.load(io.BytesIO(next(v for k, v in files.items() if k.endswith(".npz")))) as held:
        files |= {f"array {name}": held[name].tobytes() for name in held.files}
    uids = {str(e.value) for ds in study for e in ds.iterall() if e.VR == "UI"}
    assert found_secrets(files, [*SECRETS, *(u for u in uids if not u.startswith("1.2.840.10008."))]) == []
    assert ("dicom" in str(list(files))) is dicom
    assert rows(ended, "patients.csv")[0]["label"] == "1"


def test_the_copies_give_the_same_hyper_images_and_suv(tmp_path: Path, config: Path, capsys: Capsys) -> None:
    first = call(
        capsys, tmp_path / "a", "--from", write_files(planted_study(1), tmp_path / "in"), "--config", config, "--dicom"
    )
    (copies,) = (first.folder / "dicom").iterdir()
    again = call(capsys, tmp_path / "b", "--from", copies, "--config", config)
    assert again.code == 0
    assert arrays(first)["images"].tobytes() == arrays(again)["images"].tobytes()
    assert np.array_equal(arrays(first)["roi_1"], arrays(again)["roi_1"])
    assert rows(first, "lesions.csv")[0]["suv_max"] == rows(again, "lesions.csv")[0]["suv_max"] != ""


def test_a_region_that_a_site_rule_chose_is_a_tumour_in_the_copies(
    tmp_path: Path, config: Path, capsys: Capsys
) -> None:
    """Its name goes, and what it was used for stays."""
    study = small_study(1)
    (seg,) = of_modality(study, "SEG")
    item = seg.SegmentSequence[0]
    item.SegmentLabel = "Herd Zwingenberger"
    for sequence in (item.SegmentedPropertyCategoryCodeSequence, item.SegmentedPropertyTypeCodeSequence):
        sequence[0].CodeValue, sequence[0].CodeMeaning = "85756007", "Tissue"
    site = tmp_path / "site.toml"
    site.write_text(config.read_text() + '[biomarkers.pet_ct_egfr]\nroi_label_pattern = "herd"\n')
    first = call(capsys, tmp_path / "a", "--from", write_files(study, tmp_path / "in"), "--config", site, "--dicom")
    (copies,) = (first.folder / "dicom").iterdir()
    assert dcmread(copies / "roi-0001.dcm").SegmentSequence[0].SegmentLabel == "tumour 1"
    again = call(capsys, tmp_path / "b", "--from", copies, "--config", config)
    assert arrays(first)["images"].tobytes() == arrays(again)["images"].tobytes()


def test_the_service_s_studies_give_the_same_files_as_a_folder(tmp_path: Path, config: Path, capsys: Capsys) -> None:
    study = small_study(1)
    folder = write_files(study, tmp_path / "in")
    site = tmp_path / "site.toml"
    site.write_text(config.read_text().replace(str(config.parent / "root"), str(tmp_path / "root")))
    loaded = settings.load(site)
    with open_store(loaded, "listener") as store:
        found = [dcmread(path) for path in sorted(folder.iterdir())]
        analysis._ingest(store, found, analysis.datetime(2025, 1, 2, 12))
        with store.ledger.begin() as tx:
            completion.complete(tx, study_uid(1), "pet_ct_egfr", "score", loaded, 1e9)
        analysis._work(store, InferenceHandler(loaded, store))
    of_service = call(capsys, tmp_path / "a", "--config", site, "--dicom")
    of_folder = call(capsys, tmp_path / "b", "--from", folder, "--config", site, "--dicom")
    assert of_service.code == of_folder.code == 0
    assert _without_origin(of_service) == _without_origin(of_folder)


def test_a_study_that_the_service_still_receives_is_listed_and_left_out(
    tmp_path: Path, config: Path, capsys: Capsys
) -> None:
    site = tmp_path / "site.toml"
    site.write_text(config.read_text().replace(str(config.parent / "root"), str(tmp_path / "root")))
    with open_store(settings.load(site), "listener") as store:
        folder = write_files(small_study(1), tmp_path / "in")
        analysis._ingest(store, [dcmread(path) for path in sorted(folder.iterdir())], analysis.datetime(2025, 1, 2, 12))
    ended = call(capsys, tmp_path / "out", "--config", site)
    assert (ended.code, [row["code"] for row in rows(ended, "refused.csv")]) == (3, ["STUDY_UNFINISHED"])


@pytest.mark.parametrize(
    ("error", "code", "listed"),
    [
        (StudyRefusedError(RefusalCode.PIXELS_UNREADABLE, "damaged"), 3, ["UNREADABLE"]),
        (TemporaryFailureError("the bucket does not answer"), 1, None),
    ],
)
def test_what_cannot_be_read_was_not_released(
    error: Exception,
    code: int,
    listed: list[str] | None,
    tmp_path: Path,
    config: Path,
    capsys: Capsys,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Damaged instances are called so; storage that fails ends the call, and the next one goes on."""
    site = tmp_path / "site.toml"
    site.write_text(config.read_text().replace(str(config.parent / "root"), str(tmp_path / "root")))
    loaded = settings.load(site)
    folder = write_files(small_study(1), tmp_path / "in")
    with open_store(loaded, "listener") as store:
        analysis._ingest(store, [dcmread(path) for path in sorted(folder.iterdir())], analysis.datetime(2025, 1, 2, 12))
        with store.ledger.begin() as tx:
            completion.complete(tx, study_uid(1), "pet_ct_egfr", "score", loaded, 1e9)
        analysis._work(store, InferenceHandler(loaded, store))

    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr("training_export.cohort.studies.read_part10", fails)
    ended = call(capsys, tmp_path / "out", "--config", site)
    assert ended.code == code
    assert (tmp_path / "out" / "cohort.json").exists() == (listed is not None)
    assert listed is None or [row["code"] for row in rows(ended, "refused.csv")] == listed


def test_a_refused_study_is_listed_and_stops_no_other(tmp_path: Path, config: Path, capsys: Capsys) -> None:
    bad: dict[str, Sequence[Dataset]] = {
        "without CT": of_modality(small_study(2), "PT", "SEG"),
        "no PET": of_modality(small_study(3), "CT"),
        "nobody": small_study(4, PatientID=""),
        "two patients": [*small_study(5)[:4], *small_study(5, PatientID="OTHER")[4:]],
        "born twice": [*small_study(6, PatientID="ANON", PatientBirthDate="19500101")],
        "born again": [*small_study(7, PatientID="ANON", PatientBirthDate="19610606")],
        "one name": small_study(8, PatientName="DOE^JANE", PatientBirthDate="19440404"),
        "two ids": small_study(9, PatientName="Doe^Jane", PatientBirthDate="19440404"),
    }
    write_files(small_study(1), tmp_path / "in" / "good")
    for name, datasets in bad.items():
        write_files(datasets, tmp_path / "in" / name)
    damaged = write_files(small_study(10), tmp_path / "in" / "damaged")
    (damaged / "0003.dcm").write_bytes((damaged / "0003.dcm").read_bytes()[:600])
    (tmp_path / "in" / "readme.txt").write_text("no DICOM")
    ended = call(capsys, tmp_path / "out", "--from", tmp_path / "in", "--config", config)
    assert ended.code == 3
    assert sorted(row["code"] for row in rows(ended, "refused.csv")) == [
        "NOT_APPLICABLE", "PATIENT_AMBIGUOUS", "PATIENT_AMBIGUOUS", "PATIENT_MIXED", "PATIENT_TWO_IDS", "PATIENT_TWO_IDS",
        "PATIENT_UNKNOWN", "PIXELS_UNREADABLE", "SERIES_MISSING",
    ]  # fmt: skip
    assert all(row["advice"] for row in rows(ended, "refused.csv"))
    counts = ended.manifest["counts"]
    assert (counts["exported"], counts["refused"], counts["files_skipped"], counts["files_damaged"]) == (1, 9, 1, 1)
    assert len(rows(ended, "patients.csv")) == 1


def test_an_image_of_another_patient_than_the_survey_saw_is_told() -> None:
    """The ledger's survey reads one header a study; the others are held against it when the study is read."""
    study = small_study(1, PatientID="A")
    place = place_of(study_uid(1), study[:1])
    assert _other_patient(study, place) == ""
    assert _other_patient([*study[:3], *of_modality(small_study(1, PatientID="B"), "PT")], place) == "PATIENT_MIXED"
    assert (
        _other_patient([*study[:3], *of_modality(small_study(1, PatientID="B"), "SEG")], place) == ""
    )  # not used, and said


def test_a_defect_on_one_study_is_listed_and_stops_no_other(
    three: Path, tmp_path: Path, config: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = export.analyse_for_export, []

    def once(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == 1:
            raise RecursionError("Zwingenberger")
        return real(*given)

    monkeypatch.setattr(export, "analyse_for_export", once)
    ended = call(capsys, tmp_path / "out", "--from", three, "--config", config)
    assert (ended.code, [row["code"] for row in rows(ended, "refused.csv")]) == (1, ["DEFECT"])
    assert ended.manifest["counts"]["exported"] == 2 and "Zwingenberger" not in ended.err
    assert call(capsys, tmp_path / "out", "--from", three, "--config", config).code == 0


def test_one_patient_has_one_name_and_one_baseline(tmp_path: Path, config: Path, capsys: Capsys) -> None:
    """Two studies of one patient: the earlier is the baseline unless only the later has a label."""
    for number, day in ((1, "20240301"), (2, "20250601")):
        write_files(small_study(number, PatientID="0042", StudyDate=day), tmp_path / "in" / str(number))
    arguments = ("--from", tmp_path / "in", "--config", config)
    plain = call(capsys, tmp_path / "a", *arguments)
    assert {row["patient"] for row in rows(plain, "studies.csv")} == {rows(plain, "patients.csv")[0]["patient"]}
    assert [row["index_study"] for row in rows(plain, "studies.csv")] == ["1", "0"]
    results = tmp_path / "results.csv"
    results.write_text("patient_id,taken_on,test,result\n0042,2025-05-20,egfr,mutant\n")
    ended = call(capsys, tmp_path / "b", *arguments, "--pathology", results)
    assert [(row["index_study"], row["label"]) for row in rows(ended, "studies.csv")] == [("0", ""), ("1", "1")]
    days = [analysis.datetime.fromisoformat(row["study_date"]) for row in rows(ended, "studies.csv")]
    assert (days[1] - days[0]).days == 457 and days[0].year < 2024


def test_labels_that_contradict_are_an_error_before_anything_is_written(
    tmp_path: Path, config: Path, capsys: Capsys
) -> None:
    folder = write_files(small_study(1, PatientID="0042"), tmp_path / "in")
    results = tmp_path / "results.csv"
    results.write_text("patient_id,taken_on,test,result\n0042,2025-01-02,egfr,mutant\n0042,2025-01-09,egfr,wild type\n")
    ended = call(capsys, tmp_path / "out", "--from", folder, "--config", config, "--pathology", results)
    assert ended.code == 2
    assert "egfr is mutant in results.csv, line 2 and wild type in results.csv, line 3" in ended.err
    assert "0042" not in ended.err and not ended.folder.exists()


def test_an_image_with_burned_in_text_is_told_and_not_copied(tmp_path: Path, config: Path, capsys: Capsys) -> None:
    study = small_study(1)
    study[0].BurnedInAnnotation = "YES"
    ended = call(capsys, tmp_path / "out", "--from", write_files(study, tmp_path / "in"), "--config", config, "--dicom")
    assert (
        ended.manifest["counts"]["burned_in"]
        == ended.manifest["counts"]["copies_left_out"]
        == {"BURNED_IN_ANNOTATION": 1}
    )
    assert "text may be burned into 1 images" in ended.out
    assert len(list((ended.folder / "dicom").rglob("ct-*.dcm"))) == 7


def _without_origin(ended: Ended) -> dict[str, bytes]:
    """Return the files but for what tells a record's source: here the digests of another listener's bytes."""
    return {
        name: re.sub(rb'"fingerprint": "[0-9a-f]{64}"', b"", data)
        for name, data in ended.files().items()
        if name != "cohort.json"
    }
