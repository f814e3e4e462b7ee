"""`egfr-dls export-cohort`: the served bytes without their patients, whatever lies there and however it is interrupted."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from copy import deepcopy
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
from tests.builders import ct_slices
from tests.inference.packages import network, write_package
from tests.reporting.validators import need, remarks
from tests.system.study_data import of_modality, small_study, study_uid
from tests.training_export.cohorts import SECRETS, Ended, call, found_secrets, planted_study, write_files
from training_export.cohort import export
from training_export.cohort import folder as written_folder
from training_export.cohort.export import _other_patient
from training_export.cohort.patients import place_of

Capsys = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration with both networks in their smallest form, and a key of its own."""
    folder = tmp_path_factory.mktemp("site")
    write_package(folder / "models" / "egfr", network(1), name="tiny-egfr", status="research")
    write_package(folder / "models" / "pdl1", network(2, planes=True), name="tiny-pdl1", task="pdl1", status="research")
    file = folder / "site.toml"
    file.write_text(
        f'[storage]\nroot = "{folder / "root"}"\nmin_free_bytes = 0\n[inference]\nmodels = "{folder / "models"}"\n',
        encoding="utf-8",
    )
    return file


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """A folder with three studies of three patients."""
    for number in (1, 2, 3):
        write_files(small_study(number), tmp_path / "in" / str(number))
    return tmp_path / "in"


def rows(ended: Ended, name: str) -> list[dict[str, str]]:
    """Read a table of the cohort."""
    return list(csv.DictReader(io.StringIO((ended.folder / name).read_text(encoding="utf-8"), newline="")))


def arrays(ended: Ended) -> dict[str, NDArray[Any]]:
    """Return the arrays of the only study."""
    (path,) = (ended.folder / "hyperimages").glob("*.npz")
    with np.load(path) as held:
        return {name: held[name] for name in held.files}


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


# --- interrupted ------------------------------------------------------------------------------------------------------


def test_a_second_call_makes_nothing_again(three: Path, tmp_path: Path, config: Path, capsys: Capsys) -> None:
    arguments = ("--from", three, "--config", config)
    first = call(capsys, tmp_path / "out", *arguments)
    made = {p: p.stat().st_ino for p in (tmp_path / "out" / "hyperimages").iterdir()}
    before = first.files()
    again = call(capsys, tmp_path / "out", *arguments)
    assert {p: p.stat().st_ino for p in made} == made and again.files() == before


def test_killed_in_the_middle_it_goes_on_to_the_same_bytes(
    three: Path, tmp_path: Path, config: Path, capsys: Capsys
) -> None:
    whole = call(capsys, tmp_path / "whole", "--from", three, "--config", config, "--dicom")
    cut = tmp_path / "cut"
    program = [
        sys.executable,
        "-m",
        "egfr_dls",
        "export-cohort",
        "--from",
        str(three),
        "--config",
        str(config),
        "--dicom",
    ]
    process = subprocess.Popen([*program, "--out", str(cut)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 120
    while not list((cut / "studies").glob("S*.json")) and time.monotonic() < limit and process.poll() is None:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(list((cut / "studies").glob("S*.json"))) >= 1 and not (cut / "cohort.json").exists()
    (cut / "hyperimages" / ".new-left").write_bytes(b"half a file")
    resumed = call(capsys, cut, "--from", three, "--config", config, "--dicom")
    assert resumed.files() == whole.files()


def test_a_full_disk_ends_it_with_a_sentence_and_the_next_call_goes_on(
    three: Path, tmp_path: Path, config: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = call(capsys, tmp_path / "whole", "--from", three, "--config", config)
    real = written_folder.write_atomically

    def full(path: Path, data: bytes) -> None:
        if len(list((tmp_path / "out" / "hyperimages").glob("S*.npz"))) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, data)

    monkeypatch.setattr(written_folder, "write_atomically", full)
    ended = call(capsys, tmp_path / "out", "--from", three, "--config", config)
    assert ended.code == 1 and "No space left on device" in ended.err and "goes on" in ended.err
    assert not (ended.folder / "cohort.json").exists()
    monkeypatch.setattr(written_folder, "write_atomically", real)
    assert call(capsys, tmp_path / "out", "--from", three, "--config", config).files() == whole.files()


def test_a_file_that_was_changed_is_made_again(three: Path, tmp_path: Path, config: Path, capsys: Capsys) -> None:
    first = call(capsys, tmp_path / "out", "--from", three, "--config", config)
    before = first.files()
    npz = next((first.folder / "hyperimages").glob("*.npz"))
    npz.write_bytes(npz.read_bytes()[:-1])
    assert call(capsys, tmp_path / "out", "--from", three, "--config", config).files() == before


def test_a_study_whose_images_changed_is_made_again(tmp_path: Path, config: Path, capsys: Capsys) -> None:
    folder = write_files(small_study(1), tmp_path / "in")
    first = call(capsys, tmp_path / "out", "--from", folder, "--config", config)
    images = arrays(first)["images"]
    write_files(
        [
            *(deepcopy(ds) for ds in small_study(1) if ds.Modality != "CT"),
            *_brighter(of_modality(small_study(1), "CT")),
        ],
        folder,
    )
    again = call(capsys, tmp_path / "out", "--from", folder, "--config", config)
    assert again.code == 0 and not np.array_equal(arrays(again)["images"], images)


def test_another_key_or_another_source_is_refused(tmp_path: Path, config: Path, capsys: Capsys) -> None:
    """One patient under two names, or a cohort of which half the studies are unknown."""
    one = write_files(small_study(1), tmp_path / "one")
    other = write_files(small_study(2), tmp_path / "other")
    call(capsys, tmp_path / "out", "--from", one, "--config", config)
    ended = call(capsys, tmp_path / "out", "--from", one, "--config", config, "--key-file", tmp_path / "new.key")
    assert ended.code == 2 and "another site key" in ended.err
    ended = call(capsys, tmp_path / "out", "--from", other, "--config", config)
    assert ended.code == 2 and "1 studies that are not in the source" in ended.err


def test_a_folder_needs_no_configuration_and_keeps_its_key_beside_the_cohort(tmp_path: Path, capsys: Capsys) -> None:
    folder = write_files(small_study(1), tmp_path / "in")
    first = call(capsys, tmp_path / "out", "--from", folder)
    assert first.code == 0 and (tmp_path / "out.key").stat().st_mode & 0o077 == 0
    assert "a demonstration" in first.out
    again = call(capsys, tmp_path / "again", "--from", folder, "--key-file", tmp_path / "out.key")
    assert again.files() == first.files()
    assert (tmp_path / "out.key").read_text().strip() not in str(first.files())


def test_json_is_the_manifest(tmp_path: Path, config: Path, capsys: Capsys) -> None:
    folder = write_files(small_study(1), tmp_path / "in")
    ended = call(capsys, tmp_path / "out", "--from", folder, "--config", config, "--json")
    assert json.loads(ended.out) == ended.manifest
    assert ended.manifest["schema"] == "egfr-dls-cohort/1"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--from", "nowhere"], 2, "does not exist"),
        ([], 78, "storage"),
    ],
)
def test_wrong_calls(tmp_path: Path, capsys: Capsys, arguments: list[str], code: int, said: str) -> None:
    ended = call(capsys, tmp_path / "out", *arguments)
    assert ended.code == code and said in ended.err


# --- real data --------------------------------------------------------------------------------------------------------


@pytest.mark.shared_data
@pytest.mark.dicom3tools
def test_a_real_study_keeps_its_images_and_loses_its_header(
    shared_data: Path, tmp_path: Path, config: Path, capsys: Capsys
) -> None:
    """ACRIN 042: its own region by the site's rule; the copies are analysed like the original, and valid where it was."""
    folder = shared_data / "petct_lung_acrin042"
    site = tmp_path / "site.toml"
    site.write_text(config.read_text() + '[biomarkers.pet_ct_egfr]\nroi_label_pattern = "^pt_segment_1$"\n')
    first = call(capsys, tmp_path / "a", "--from", folder, "--config", site, "--dicom")
    assert first.code == 0, first.err
    (copies,) = (first.folder / "dicom").iterdir()
    again = call(capsys, tmp_path / "b", "--from", copies, "--config", config)
    assert arrays(first)["images"].tobytes() == arrays(again)["images"].tobytes()
    assert rows(first, "lesions.csv")[0]["suv_max"] == rows(again, "lesions.csv")[0]["suv_max"]
    original = [dcmread(p, stop_before_pixels=True) for p in sorted(folder.rglob("*.dcm"))]
    values = {str(ds.get(k, "")) for ds in original for k in ("PatientID", "PatientName", "StudyID", "AccessionNumber")}
    values |= {str(ds.SOPInstanceUID) for ds in original} | {str(ds.StudyInstanceUID) for ds in original}
    values |= {str(ds.get("InstitutionName", "")) for ds in original}
    assert found_secrets(first.files(), sorted(v for v in values if len(v) > 4)) == []
    errors = {p: _errors(p) for p in (folder / "CT_CT_IMAGES_858561", folder / "PT_PET_AC_081015")}
    errors[folder] = _errors(*(p for p in folder.iterdir() if p.name.startswith("SEG_PT-Seg")))
    for name, before in zip(("ct-0001.dcm", "pt-0001.dcm", "roi-0001.dcm"), errors.values(), strict=True):
        assert _errors(copies / name) <= before, name


@pytest.mark.shared_data
@pytest.mark.filterwarnings("ignore:The value length")  # a StudyID of 18 characters
def test_a_region_of_another_body_part_is_exported_as_it_would_be_scored(
    shared_data: Path, tmp_path: Path, config: Path, capsys: Capsys
) -> None:
    ended = call(capsys, tmp_path / "out", "--from", shared_data / "pet_rtstruct_sts", "--config", config, "--dicom")
    assert ended.code == 3, ended.err
    codes = {row["code"] for row in rows(ended, "refused.csv")}
    assert ended.manifest["counts"]["exported"] == 2 and codes == {"SERIES_MISSING"}  # STS_006 has no CT


def _errors(*paths: Path) -> set[str]:
    """Return what dciodvfy calls an error in a file, or in the first file of a folder."""
    files = [path if path.is_file() else min(path.rglob("*.dcm")) for path in paths]
    return {line for file in files for line in remarks(need("dciodvfy"), file) if line.startswith("Error")}


def _without_origin(ended: Ended) -> dict[str, bytes]:
    """Return the files but for what tells a record's source: here the digests of another listener's bytes."""
    return {
        name: re.sub(rb'"fingerprint": "[0-9a-f]{64}"', b"", data)
        for name, data in ended.files().items()
        if name != "cohort.json"
    }


def _brighter(ct: Sequence[Dataset]) -> list[Dataset]:
    changed = []
    for ds, other in zip(ct, ct_slices(), strict=True):
        copy = deepcopy(ds)
        values = np.frombuffer(other.PixelData, "<u2").reshape(32, 32).copy()
        values[::2] += 100
        copy.PixelData = values.tobytes()
        changed.append(copy)
    return changed
