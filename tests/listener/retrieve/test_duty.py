"""What a study lacks is asked of a source, comes the same way as anything else, and is asked for once."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import KeyObjectSelectionDocumentStorage

from egfr_dls.ledger import retrievals, studies
from egfr_dls.ledger.retrievals import DueRetrieval, FetchedSeries, RetrievalState
from egfr_dls.listed_report import NotFetched, why_not_fetched
from egfr_dls.settings_sections import Source
from egfr_dls.study import StudyState
from egfr_dls.uids import series_uid
from listener.indexing import indexer
from listener.retrieve import duty
from listener.retrieve.association import FIND, GET, MOVE
from listener.retrieve.source import OWN_CLASSES
from tests.builders import (
    CT_SERIES_UID,
    PET_SERIES_UID,
    STUDY_UID,
    ct_slices,
    pet_slices,
    petct_study,
    rtstruct,
)
from tests.listener.archive import AE_TITLE, Archive, serving
from tests.listener.nodes import PEERS, Node, node_settings, running, until
from tests.listener.requester import free_port
from tests.listener.retrieve.reports import report_of
from tests.listener.web_archive import WebArchive, serving_web

OTHER_STUDY = "1.2.826.0.1.3680043.10.2.1"


# pynetdicom leaves the socket of a refused connection to the garbage collector
refused = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def source(port: int, **keys: Any) -> dict[str, Any]:
    return {"name": "pacs", "ae_title": AE_TITLE, "host": "127.0.0.1", "port": port, **keys}


@pytest.fixture(autouse=True)
def _quick_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let indexer and duty, which are forked from here, look every moment instead of every second or two."""
    monkeypatch.setattr(indexer, "TICK_SECONDS", 0.2)
    monkeypatch.setattr(duty, "POLL_SECONDS", 0.1)


@contextmanager
def asking(root: Path, *sources: dict[str, Any], **study: Any) -> Iterator[Node]:
    """Run a node that knows these sources, and takes what they send."""
    settings = node_settings(
        root,
        listener={"port": 0, "peers": [*PEERS, {"ae_title": AE_TITLE, "host": "127.0.0.1"}]},
        study={"quiet_seconds": 0, **study},
    ).model_copy(update={"sources": tuple(Source(**keys) for keys in sources)})
    with running(settings) as node:
        yield node


def complete(node: Node) -> None:
    until(lambda: node.state(STUDY_UID) is StudyState.COMPLETE, "complete")


def said(node: Node, event: str) -> dict[str, Any]:
    """Return the first event of this name, once it is there."""
    found: dict[str, Any] = until(lambda: node.logged(event), event)[0]
    return found


def fetched(node: Node) -> list[FetchedSeries]:
    with node.store.ledger.read() as tx:
        return retrievals.fetched(tx, STUDY_UID)


def forced(node: Node) -> str:
    with node.store.ledger.read() as tx:
        return "".join(job.payload for job in studies.jobs_of(tx, STUDY_UID))


@pytest.mark.parametrize("models", [(FIND, GET, MOVE), (FIND, GET), (FIND, MOVE)])
def test_a_missing_ct_is_fetched_and_the_study_is_complete(tmp_path: Path, models: tuple[str, ...]) -> None:
    """By C-GET where it is offered, else by C-MOVE to our own listener."""
    study = petct_study()
    with serving(Archive(study, models=models)) as archive, asking(tmp_path, source(archive.port)) as node:
        archive.move_to = node.port
        node.send(pet_slices())
        complete(node)
        assert sorted(node.indexed()) == sorted(ds.SOPInstanceUID for ds in study)
        assert fetched(node) == [FetchedSeries(CT_SERIES_UID, "CT", "pacs", len(ct_slices()))]
        assert '"forced": null' in forced(node)
        assert [keys.SeriesInstanceUID for keys in archive.retrievals] == [CT_SERIES_UID]  # the PET is here
        assert said(node, "source_asked")["count"] == len(ct_slices())


def test_what_is_fetched_bears_the_association_and_the_title_of_its_source(tmp_path: Path) -> None:
    with serving(Archive(petct_study())) as archive, asking(tmp_path, source(archive.port)) as node:
        node.send(pet_slices())
        complete(node)
        titles = {(r.entry.modality, r.entry.calling_ae_title) for r in node.records() if hasattr(r.entry, "modality")}
        assert titles == {("PT", "SCANNER"), ("CT", AE_TITLE)}


def test_the_rest_of_an_interrupted_transfer_is_fetched_by_its_instances(tmp_path: Path) -> None:
    study = petct_study()
    part = [*pet_slices(), *ct_slices()[:3]]
    with serving(Archive(study)) as archive, asking(tmp_path, source(archive.port)) as node:
        assoc = node.associate(part)
        for ds in part:
            assert assoc.send_c_store(ds).Status == 0
        assoc.abort()
        complete(node)
        (keys,) = archive.retrievals
        assert keys.QueryRetrieveLevel == "IMAGE"
        assert sorted(keys.SOPInstanceUID) == sorted(ds.SOPInstanceUID for ds in ct_slices()[3:])
        assert sorted(node.indexed()) == sorted(ds.SOPInstanceUID for ds in study)


def test_a_missing_roi_is_fetched_before_the_study_is_complete(tmp_path: Path) -> None:
    roi = rtstruct(ct_slices(), {"tumour": [[0.0, 0.0, 0.0, 9.0, 0.0, 0.0, 9.0, 9.0, 0.0]]})
    with serving(Archive([*petct_study(), roi])) as archive, asking(tmp_path, source(archive.port)) as node:
        node.send(petct_study())
        complete(node)
        assert roi.SOPInstanceUID in node.indexed()
        assert [series.modality for series in fetched(node)] == ["RTSTRUCT"]
        assert len(forced(node).split("}{")) == 1  # one job, of the whole


def test_of_a_study_that_has_all_only_the_history_is_asked_for(tmp_path: Path) -> None:
    roi = rtstruct(ct_slices(), {"tumour": [[0.0, 0.0, 0.0, 9.0, 0.0, 0.0, 9.0, 9.0, 0.0]]})
    with serving(Archive([*petct_study(), roi])) as archive, asking(tmp_path, source(archive.port)) as node:
        node.send([*petct_study(), roi])
        complete(node)
        assert {keys.QueryRetrieveLevel for keys in archive.queries} == {"STUDY"}
        assert archive.retrievals == []


def test_nothing_is_asked_of_a_study_that_asks_for_no_biomarker(tmp_path: Path) -> None:
    with serving(Archive(petct_study())) as archive, asking(tmp_path, source(archive.port)) as node:
        node.send(ct_slices())
        until(lambda: node.state(STUDY_UID) is StudyState.NOT_APPLICABLE, "not applicable")
        assert archive.queries == []


def test_a_study_is_asked_about_once_whatever_comes_later(tmp_path: Path) -> None:
    """The loop guard: neither what was fetched nor a late region of interest starts another round."""
    roi = rtstruct(ct_slices(), {"tumour": [[0.0, 0.0, 0.0, 9.0, 0.0, 0.0, 9.0, 9.0, 0.0]]})
    with serving(Archive(petct_study())) as archive, asking(tmp_path, source(archive.port)) as node:
        node.send(pet_slices())
        complete(node)
        asked = len(archive.queries)
        node.send([roi])
        until(lambda: len(forced(node).split("}{")) == 2, "the second job")
        assert len(archive.queries) == asked


def test_our_own_objects_are_no_region_of_interest_to_fetch(tmp_path: Path) -> None:
    own = rtstruct(ct_slices(), {"tumour": [[0.0, 0.0, 0.0, 9.0, 0.0, 0.0, 9.0, 9.0, 0.0]]})
    own.SeriesInstanceUID = series_uid(STUDY_UID, "pet_ct_egfr", "roi", demonstration=False)
    with serving(Archive([*petct_study(), own])) as archive, asking(tmp_path, source(archive.port)) as node:
        node.send(petct_study())
        complete(node)
        assert archive.retrievals == []
        assert fetched(node) == []


def test_a_dicomweb_source_completes_a_study_like_any_other(tmp_path: Path) -> None:
    """By the same way into spool and ledger, with the same events; the second source is asked where it has nothing."""
    study = petct_study()
    with serving_web(WebArchive([])) as empty, serving_web(WebArchive([*study, report_of("1.2.77.1", 1)])) as archive:
        sources = [{"name": n, "transport": "dicomweb", "url": a.url} for n, a in (("empty", empty), ("pacs", archive))]
        with asking(tmp_path, *sources) as node:
            node.send(pet_slices())
            complete(node)
            assert sorted(node.indexed()) == sorted(ds.SOPInstanceUID for ds in study)
            assert fetched(node) == [FetchedSeries(CT_SERIES_UID, "CT", "pacs", len(ct_slices()))]
            assert '"forced": null' in forced(node)
            assert said(node, "source_failed")["reason"] == "NOT_THERE"
            assert said(node, "source_asked")["count"] == len(ct_slices())
            assert kept(node) == ["1.2.77.1.9.1"]


# -- a source that fails


@refused
def test_a_source_that_is_down_lets_the_study_go_on_to_its_force_time(tmp_path: Path) -> None:
    with asking(tmp_path, source(free_port()), force_seconds=2) as node:
        node.send(pet_slices())
        complete(node)
        assert '"forced": "refuse"' in forced(node)
        failed = said(node, "source_failed")
        assert (failed["reason"], failed["attempts"]) == ("UNREACHABLE", 1)


@refused
def test_a_source_that_is_down_costs_a_whole_study_one_attempt_only(tmp_path: Path) -> None:
    """Only its region of interest is missing: it is not kept waiting for a second attempt."""
    with asking(tmp_path, source(free_port())) as node:
        node.send(petct_study())
        complete(node)
        assert [event["attempts"] for event in node.logged("source_failed")] == [1]
        with node.store.ledger.read() as tx:
            (asked,) = retrievals.of_study(tx, STUDY_UID)  # a complete study is never due, whatever stands here
        assert (asked.state, asked.attempts) == (RetrievalState.FAILED, 1)


def test_a_region_that_comes_in_part_makes_a_whole_study_no_interrupted_one(tmp_path: Path) -> None:
    one = rtstruct(ct_slices(), {"tumour": [[0.0, 0.0, 0.0, 9.0, 0.0, 0.0, 9.0, 9.0, 0.0]]})
    other = deepcopy(one)
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = "1.2.826.0.1.3680043.10.9.8"
    archive = Archive([*petct_study(), one, other], gives=[one])
    with serving(archive), asking(tmp_path, source(archive.port)) as node:
        node.send(petct_study())
        complete(node)
        assert said(node, "source_failed")["reason"] == "INCOMPLETE"
        assert one.SOPInstanceUID in node.indexed()
        assert '"forced": null' in forced(node)


def test_the_second_source_is_asked_for_what_the_first_does_not_have(tmp_path: Path) -> None:
    with serving(Archive([])) as first, serving(Archive(petct_study())) as second:
        sources = source(first.port), source(second.port, name="archive")
        with asking(tmp_path, *sources) as node:
            node.send(pet_slices())
            complete(node)
            assert [series.source for series in fetched(node)] == ["archive"]
            assert said(node, "source_failed")["reason"] == "NOT_THERE"


@pytest.mark.parametrize(
    ("archive", "keys", "reason"),
    [
        (Archive(petct_study(), matches=10_000), {"max_instances": 200}, "TOO_MANY_MATCHES"),
        (Archive(petct_study()), {"max_instances": 3}, "TOO_MANY_MATCHES"),
        (Archive(petct_study()), {"max_bytes": 5000}, "SIZE_LIMIT"),
        (Archive(petct_study(), fails=9), {}, "RETRIEVE_STATUS_A702"),
        (Archive(petct_study(), gives=[]), {}, "INCOMPLETE"),
        (Archive(petct_study(), models=(FIND, MOVE)), {"retrieve": "c-get"}, "RETRIEVE_NOT_OFFERED"),
        (Archive(petct_study(), models=(FIND, GET)), {"retrieve": "c-move"}, "RETRIEVE_NOT_OFFERED"),
        (Archive(petct_study(), models=(GET,)), {}, "QUERY_NOT_OFFERED"),
    ],
)
def test_why_a_source_gives_nothing_is_said_by_name(
    tmp_path: Path, archive: Archive, keys: dict[str, Any], reason: str
) -> None:
    with serving(archive), asking(tmp_path, source(archive.port, **keys)) as node:
        node.send(pet_slices())
        assert said(node, "source_failed")["reason"] == reason
        assert node.state(STUDY_UID) is StudyState.RECEIVING
        if reason != "SIZE_LIMIT":
            assert fetched(node) == []


def test_limits_are_never_tried_again_and_failures_are(tmp_path: Path) -> None:
    for name, archive, again in (
        ("limit", Archive(petct_study(), matches=10_000), False),
        ("failure", Archive(petct_study(), fails=9), True),
    ):
        with serving(archive), asking(tmp_path / name, source(archive.port, max_instances=200)) as node:
            node.send(pet_slices())
            said(node, "source_failed")
            with node.store.ledger.read() as tx:
                assert retrievals.is_due(tx, time.time() + 61) == again
                assert not retrievals.is_due(tx, time.time() + 50)


def test_a_time_limit_breaks_off(tmp_path: Path) -> None:
    hangs = threading.Event()

    class Silent(Archive):
        def on_find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
            hangs.wait(30)
            yield from super().on_find(event)

    with serving(Silent(petct_study())) as archive, asking(tmp_path, source(archive.port, max_seconds=0.5)) as node:
        node.send(pet_slices())
        try:
            assert said(node, "source_failed")["reason"] == "TIME_LIMIT"
        finally:
            hangs.set()


# -- a source that gives what was not asked for


def test_instances_of_another_study_are_not_taken(tmp_path: Path) -> None:
    """Its study differs, whether under UIDs that were never listed or under those that were."""
    strangers = [deepcopy(ds) for ds in ct_slices()]
    for ds in strangers:
        ds.StudyInstanceUID = OTHER_STUDY
    archive = Archive(petct_study(), gives=strangers)
    with serving(archive), asking(tmp_path, source(archive.port)) as node:
        node.send(pet_slices())
        assert said(node, "source_failed")["reason"].startswith("RETRIEVE_STATUS_")
        assert {ds.SOPInstanceUID for ds in pet_slices()} == set(node.spooled())
        assert len(node.logged("instance_not_asked_for")) == len(strangers)
        assert node.state(OTHER_STUDY) is None


def test_instances_that_were_never_listed_are_not_taken(tmp_path: Path) -> None:
    more = deepcopy(ct_slices()[0])
    more.SOPInstanceUID = more.file_meta.MediaStorageSOPInstanceUID = "1.2.826.0.1.3680043.10.9.9"
    archive = Archive(petct_study(), gives=[*ct_slices(), more])
    with serving(archive), asking(tmp_path, source(archive.port)) as node:
        node.send(pet_slices())
        until(lambda: node.logged("instance_not_asked_for"), "not asked for")
        until(lambda: node.logged("source_failed") or node.logged("source_asked"), "asked")
        assert more.SOPInstanceUID not in node.spooled()


def test_a_source_that_lists_other_studies_is_asked_for_ours_only(tmp_path: Path) -> None:
    others = [deepcopy(ds) for ds in petct_study()]
    for number, ds in enumerate(others):
        ds.StudyInstanceUID, ds.SeriesInstanceUID = OTHER_STUDY, ds.SeriesInstanceUID + ".7"
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{OTHER_STUDY}.{number}"
    archive = Archive([*others, *petct_study()], ignores_keys=True)
    with serving(archive), asking(tmp_path, source(archive.port)) as node:
        node.send(pet_slices())
        complete(node)
        assert {keys.SeriesInstanceUID for keys in archive.queries if keys.QueryRetrieveLevel == "IMAGE"} == {
            CT_SERIES_UID,
            PET_SERIES_UID,
        }
        assert node.state(OTHER_STUDY) is None


def test_a_stop_breaks_off_and_the_next_start_asks_again(tmp_path: Path) -> None:
    hangs = threading.Event()
    asked = threading.Event()

    class Silent(Archive):
        def on_find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
            asked.set()
            hangs.wait(30)
            yield from super().on_find(event)

    with serving(Silent(petct_study())) as archive:
        with asking(tmp_path, source(archive.port)) as node:
            node.send(pet_slices())
            assert asked.wait(20)
            started = time.monotonic()
        assert time.monotonic() - started < 10
        hangs.set()
        with asking(tmp_path, source(archive.port)) as node:
            complete(node)
            assert [series.modality for series in fetched(node)] == ["CT"]


def test_instances_of_another_patient_are_not_taken(tmp_path: Path) -> None:
    """Under the UIDs of the study, as PET and CT are compared before they are scored."""
    others = ct_slices(PatientID="SOMEBODY ELSE")
    with serving(Archive([*pet_slices(), *others])) as archive, asking(tmp_path, source(archive.port)) as node:
        node.send(pet_slices())
        assert said(node, "source_failed")["reason"].startswith("RETRIEVE_STATUS_")
        assert {ds.SOPInstanceUID for ds in pet_slices()} == set(node.spooled())
        assert len(node.logged("instance_not_asked_for")) == len(others)


# -- earlier reports of the patient


def kept(node: Node) -> list[str]:
    """Return the SOP Instance UIDs of the reports that are kept for the study."""
    with node.store.ledger.read() as tx:
        found = retrievals.reports(tx, STUDY_UID)
    assert {name for name, _ in found} <= {"pacs"}
    return [str(dcmread(io.BytesIO(node.store.objects.get(sha256))).SOPInstanceUID) for _, sha256 in found]


def test_the_newest_report_of_each_earlier_study_is_kept_and_not_indexed(tmp_path: Path) -> None:
    reports = [report_of("1.2.77.1", 1), report_of("1.2.77.1", 2), report_of("1.2.77.2", 1)]
    with serving(Archive([*petct_study(), *reports])) as archive, asking(tmp_path, source(archive.port)) as node:
        node.send(pet_slices())
        complete(node)
        assert kept(node) == ["1.2.77.1.9.2", "1.2.77.2.9.1"]
        assert not {ds.SOPInstanceUID for ds in reports} & {*node.indexed(), *node.spooled()}
        assert [series.modality for series in fetched(node)] == ["CT"]


@pytest.mark.parametrize(
    "report",
    [
        report_of("1.2.77.1", 1, patient_id="SOMEBODY"),
        report_of("1.2.77.1", 1, date="20991231"),
        report_of(STUDY_UID, 1),  # of this very study
    ],
)
def test_reports_of_other_patients_later_studies_and_this_one_are_not_asked_for(
    tmp_path: Path, report: Dataset
) -> None:
    with serving(Archive([*petct_study(), report])) as archive, asking(tmp_path, source(archive.port)) as node:
        node.send(petct_study())
        complete(node)
        assert archive.retrievals == []


def test_a_patient_id_with_a_wild_card_is_not_asked_for(tmp_path: Path) -> None:
    """It would match other patients (PS3.4 C.2.2.2.4)."""
    study = petct_study(PatientID="47*")
    with serving(Archive(study)) as archive, asking(tmp_path, source(archive.port)) as node:
        node.send(study)
        complete(node)
        assert [keys.get("PatientID", "") for keys in archive.queries if keys.QueryRetrieveLevel == "STUDY"] == [""]


def test_a_report_that_is_not_given_is_noted_and_the_others_are_kept(tmp_path: Path) -> None:
    class Torn(Archive):
        def _retrieved(self, event: Any) -> Iterator[Any]:
            if event.identifier.StudyInstanceUID == "1.2.77.2":
                yield 1
                yield 0xA702, None
                return
            yield from super()._retrieved(event)

    reports = [report_of(f"1.2.77.{n}", 1, date=f"2024010{n}") for n in (1, 2, 3)]
    with serving(Torn([*petct_study(), *reports])) as archive, asking(tmp_path, source(archive.port)) as node:
        node.send(petct_study())
        complete(node)
        assert said(node, "source_asked")["count"] == 0
        with node.store.ledger.read() as tx:
            contents = [node.store.objects.get(sha256) for _, sha256 in retrievals.reports(tx, STUDY_UID)]
        noted = [why for content in contents if (why := why_not_fetched(content)) is not None]
        assert (len(contents), noted) == (3, [NotFetched("1.2.77.2", "RETRIEVE_STATUS_A702")])
        (left_out,) = node.logged("prior_left_out")
        assert (left_out["source"], left_out["reason"]) == ("pacs", "RETRIEVE_STATUS_A702")
        assert not any("1.2.77" in str(value) for value in left_out.values())


def test_a_report_that_comes_later_takes_the_place_of_the_note(tmp_path: Path) -> None:
    study = DueRetrieval(STUDY_UID, "key", "pacs", 1)
    with asking(tmp_path, source(1)) as node:
        node.send(ct_slices())
        until(lambda: node.state(STUDY_UID) is StudyState.NOT_APPLICABLE, "known")
        with node.store.ledger.begin() as tx:
            retrievals.keep_reports(tx, study, {"1": "note"}, came=False)
            retrievals.keep_reports(tx, study, {"1": "report"}, came=True)
            retrievals.keep_reports(tx, study, {"1": "another note"}, came=False)
            assert retrievals.reports(tx, STUDY_UID) == [("pacs", "report")]


@pytest.mark.parametrize("sop_class", OWN_CLASSES[:3])
def test_reports_come_in_whatever_class_their_destination_took(tmp_path: Path, sop_class: str) -> None:
    report = report_of("1.2.77.1", 1)
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = sop_class
    with serving(Archive([*petct_study(), report])) as archive, asking(tmp_path, source(archive.port)) as node:
        node.send(petct_study())
        complete(node)
        assert kept(node) == [report.SOPInstanceUID]


def note_of(study: str, *rejected: str) -> Dataset:
    """Return what stands for a rejection note of ours that names these reports."""
    note = report_of(study, 7)
    note.SOPClassUID = note.file_meta.MediaStorageSOPClassUID = KeyObjectSelectionDocumentStorage
    note.SeriesInstanceUID = series_uid(study, "pet_ct_egfr", "rejection", demonstration=False)
    references = [Dataset() for _ in rejected]
    for item, uid in zip(references, rejected, strict=True):
        item.ReferencedSOPInstanceUID = uid
    series, evidence = Dataset(), Dataset()
    series.ReferencedSOPSequence, evidence.ReferencedSeriesSequence = references, [series]
    note.Modality, note.CurrentRequestedProcedureEvidenceSequence = "KO", [evidence]
    return note


def test_a_withdrawn_report_is_not_kept(tmp_path: Path) -> None:
    first, second, gone = (report_of(study, n) for study, n in (("1.2.77.1", 1), ("1.2.77.1", 2), ("1.2.77.2", 1)))
    notes = [note_of("1.2.77.1", second.SOPInstanceUID), note_of("1.2.77.2", gone.SOPInstanceUID)]
    holds = [*petct_study(), first, second, gone, *notes]
    with serving(Archive(holds)) as archive, asking(tmp_path, source(archive.port)) as node:
        node.send(petct_study())
        complete(node)
        assert kept(node) == [first.SOPInstanceUID]  # and no note
        assert node.logged("prior_left_out") == []


def test_a_note_that_cannot_be_read_leaves_its_study_out(tmp_path: Path) -> None:
    broken = note_of("1.2.77.1")
    del broken.CurrentRequestedProcedureEvidenceSequence
    holds = [*petct_study(), report_of("1.2.77.1", 1), broken, report_of("1.2.77.2", 1)]
    with serving(Archive(holds)) as archive, asking(tmp_path, source(archive.port)) as node:
        node.send(petct_study())
        complete(node)
        assert [event["reason"] for event in node.logged("prior_left_out")] == ["NOTE_UNREADABLE"]


def test_a_source_without_c_get_gives_no_reports(tmp_path: Path) -> None:
    archive = Archive([*petct_study(), report_of("1.2.77.1", 1)], models=(FIND, MOVE))
    with serving(archive), asking(tmp_path, source(archive.port)) as node:
        node.send(petct_study())
        complete(node)
        assert archive.retrievals == []
        assert node.logged("source_failed") == []
