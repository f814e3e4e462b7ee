"""What the ledger says of how a study was received, to its report: moved, too late, or answered under other settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import pytest
from pydicom import Dataset

from egfr_dls import settings
from egfr_dls.findings import StudyFindings
from egfr_dls.ledger import completion, jobs, results, retention, studies
from egfr_dls.refusals import RefusalCode
from egfr_dls.store import open_store
from egfr_dls.study import StudyState
from inference.reception_refusals import incomplete, too_late
from reporting.stage import ReportHandler
from tests.inference.packages import network, write_package
from tests.inference.test_stage import NOW, STUDY, Bench
from tests.system.study_data import of_modality, small_study

BIOMARKER = "pet_ct_egfr"
MOVED = f"{STUDY}.1001"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small network, in two packages of which the second cuts elsewhere."""
    folder = tmp_path_factory.mktemp("models")
    for name, cut_off in (("one", 0.5), ("two", 0.4)):
        recipe = {"id": "mu2020-hyperimage-1", "input_signature": "stacked", "cut_off": cut_off}
        write_package(folder / name / "egfr", network(1), name="tiny", status="research", preprocessing=recipe)
    return folder


@pytest.fixture
def bench(tmp_path: Path, models: Path) -> Iterator[Bench]:
    """A fresh store."""
    inference = {"models": str(models / "one")}
    loaded = settings.load(None, {"storage": {"root": tmp_path, "min_free_bytes": 0}, "inference": inference})
    with open_store(loaded, "listener") as store:
        yield Bench(store, loaded)


def complete(bench: Bench, study: str, forced: completion.Forced | None = None) -> bool:
    with bench.store.ledger.begin() as tx:
        return completion.complete(tx, study, BIOMARKER, forced, bench.settings, NOW)


def state(bench: Bench, study: str = STUDY) -> StudyState:
    with bench.store.ledger.read() as tx:
        return studies.state(tx, study)


def last(bench: Bench, study: str = STUDY) -> tuple[int, StudyFindings]:
    """Return the newest revision and its findings."""
    with bench.store.ledger.read() as tx:
        row = results.last(tx, study, BIOMARKER)
    assert row is not None
    return row.revision, StudyFindings.from_json(row.document)


def report(bench: Bench) -> str:
    """Build the report that is queued and return what it prints."""
    handler = ReportHandler(bench.settings, bench.store, lambda: NOW)
    with bench.store.ledger.begin() as tx:
        job = jobs.claim(tx, "report", "w", NOW)
        assert job is not None
    effect = handler.handle(job)
    with bench.store.ledger.begin() as tx:
        jobs.finish(tx, job, effect)
        made = next(o for o in results.objects_of(tx, job.payload["findings_id"]) if o.kind == "report")
    return bench.store.objects.get(made.sha256).decode("latin-1")


# --- moved ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def moved(bench: Bench) -> Bench:
    """A study is scored; then all its instances come under another StudyInstanceUID and their old SOP Instance UIDs."""
    bench.receive(small_study(1))
    bench.complete()
    bench.infer()
    report(bench)
    bench.receive(small_study(1, StudyInstanceUID=MOVED))
    assert complete(bench, MOVED)
    return bench


def test_a_study_that_was_moved_is_refused_by_name_and_reported(moved: Bench) -> None:
    moved.infer()
    revision, found = last(moved, MOVED)
    assert (revision, state(moved, MOVED), state(moved)) == (1, StudyState.REFUSED, StudyState.SCORED)
    assert found.refusal is not None
    assert found.refusal.code == RefusalCode.INSTANCE_UID_CONFLICT
    assert "of 17 instances 16 came under a SOPInstanceUID (0008,0018)" in found.refusal.message
    assert f"study {STUDY} holds 16" in found.refusal.message
    printed = report(moved)
    assert MOVED in printed
    assert RefusalCode.INSTANCE_UID_CONFLICT in printed


def test_and_scored_where_it_lies_now_if_a_person_says_so(moved: Bench) -> None:
    moved.infer()
    report(moved)
    with moved.store.ledger.begin() as tx:
        studies.received_input(tx, MOVED, NOW, NOW)
    assert complete(moved, MOVED, "score")
    moved.infer()
    revision, found = last(moved, MOVED)
    assert (revision, found.refusal, state(moved, MOVED)) == (2, None, StudyState.SCORED)


# --- too late ---------------------------------------------------------------------------------------------------------


def corrected(**attributes: str) -> list[Dataset]:
    """Return the region as somebody has drawn it anew."""
    (seg,) = of_modality(small_study(1, **attributes), "SEG")
    seg.SeriesInstanceUID = f"{seg.SeriesInstanceUID}.2"
    seg.SOPInstanceUID = seg.file_meta.MediaStorageSOPInstanceUID = f"{seg.SOPInstanceUID}.2"
    return [seg]


def late(bench: Bench, region: Sequence[Dataset]) -> None:
    """Score the study, report, give its instances up, and let a region come."""
    bench.receive(small_study(1))
    bench.complete()
    bench.infer()
    report(bench)
    with bench.store.ledger.begin() as tx:
        retention.release(tx, STUDY, NOW)
    bench.receive(region)
    with bench.store.ledger.begin() as tx:
        completion.keep_result(tx, STUDY, bench.settings, NOW, too_late=True)


def test_a_region_that_came_too_late_is_reported_and_the_result_stands(bench: Bench) -> None:
    seg = corrected()
    late(bench, seg)
    with bench.store.ledger.read() as tx:
        before = results.newest(tx, STUDY)
    bench.infer()
    revision, found = last(bench)
    assert found.refusal is not None
    assert (revision, found.refusal.code) == (2, RefusalCode.ROI_TOO_LATE)
    assert f"SEG {seg[0].SOPInstanceUID} came after" in found.refusal.message
    assert "The result of report 1 stands" in found.refusal.message
    with bench.store.ledger.read() as tx:
        assert results.newest(tx, STUDY) == before
        row = studies.find(tx, STUDY)
    assert (row.state, row.refusal_code) == (StudyState.SCORED, None)
    assert RefusalCode.ROI_TOO_LATE in report(bench)


def test_one_of_somebody_else_is_not_reported(bench: Bench) -> None:
    """The report would be filed under the patient that the region names."""
    late(bench, corrected(PatientID="SOMEBODY", PatientBirthDate="19500505"))
    bench.infer()
    assert (last(bench)[0], state(bench)) == (1, StudyState.SCORED)


def test_it_is_scored_when_the_images_come_again(bench: Bench) -> None:
    late(bench, seg := corrected())
    bench.infer()
    report(bench)
    bench.receive(of_modality(small_study(1), "PT", "CT"))
    assert complete(bench, STUDY)
    bench.infer()
    revision, found = last(bench)
    assert (revision, found.refusal, state(bench)) == (3, None, StudyState.SCORED)
    assert [lesion.roi_sop_instance_uid for lesion in found.lesions] == [seg[0].SOPInstanceUID]


# --- asked again otherwise --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["setting", "network"])
def test_under_the_first_settings_again_the_newest_result_is_theirs(bench: Bench, models: Path, what: str) -> None:
    """A, B, A: of a setting, and of a network of the same weights with another cut-off."""
    bench.receive(small_study(1))
    change = {
        "setting": {"reporting": bench.settings.reporting.model_copy(update={"pages": False})},
        "network": {"inference": bench.settings.inference.model_copy(update={"models": models / "two"})},
    }[what]
    other = bench.settings.model_copy(update=change)
    seen = []
    for loaded in (bench.settings, other, bench.settings):
        now = Bench(bench.store, loaded)
        assert complete(now, STUDY)
        now.infer()
        revision, found = last(now)
        assert found.model is not None
        seen.append((revision, found.configuration_sha256, found.model.cut_off))
        with bench.store.ledger.begin() as tx:
            studies.received_input(tx, STUDY, NOW, NOW)
    assert [revision for revision, _, _ in seen] == [1, 2, 3]
    assert seen[0][1:] == seen[2][1:] != seen[1][1:]
    assert not complete(bench, STUDY), "and now it stands"


# --- the sentences ----------------------------------------------------------------------------------------------------


def test_an_incomplete_study_names_every_series_in_doubt() -> None:
    refusal = incomplete(small_study(1), [("CT", "1.2"), ("PT", "1.3")])
    assert "the transfer of CT series 1.2 and PT series 1.3 broke off" in str(refusal)
    assert "Needed: send CT series 1.2 and PT series 1.3 again" in str(refusal)


def test_also_where_none_is_known() -> None:
    assert "the transfer of the study broke off" in str(incomplete(small_study(1), []))


def test_of_what_came_too_late_only_regions_are_named() -> None:
    told = str(too_late(small_study(1), date(2025, 3, 1), 4))
    assert told.count("1.2.826") == 1, "the SEG alone"
    assert "2025-03-01" in told
    assert "report 4 stands" in told
