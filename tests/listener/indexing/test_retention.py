"""Retention: what may go and when; what goes, what stays; in which order, and what a crash between leaves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from pydicom import Dataset
from sqlalchemy import select, update

from egfr_dls import settings as configuration
from egfr_dls.ledger import completion, instances, jobs, results, retention, schema, studies
from egfr_dls.ledger.retention import StudyFacts
from egfr_dls.refusals import Remark
from egfr_dls.settings import Settings
from egfr_dls.study import StudyState
from listener.indexing.completion import Completion
from listener.indexing.retention import DAY_SECONDS, PASS_SECONDS, Retention, may_go
from tests.builders import STUDY_UID, ct_slices, petct_study
from tests.egfr_dls.test_findings import SCORED
from tests.listener.indexing.test_intake import AT, Bench, made_at

BIOMARKER = "pet_ct_egfr"
DAYS = 30.0
NOW = AT.timestamp() + 365 * DAY_SECONDS
GOES = {StudyState.DELIVERED, StudyState.NOT_APPLICABLE, StudyState.REFUSED}
OVER = StudyFacts(STUDY_UID, "key", StudyState.DELIVERED, held=False, changed_at=NOW - DAYS * DAY_SECONDS, open_jobs=0,
                  open_deliveries=0)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "goes"),
    [
        ({}, True),
        ({"state": StudyState.NOT_APPLICABLE}, True),
        ({"state": StudyState.REFUSED}, True),
        ({"state": StudyState.REFUSED, "open_deliveries": 1}, False),
        ({"state": StudyState.REFUSED, "open_jobs": 1}, False),
        ({"changed_at": NOW - DAYS * DAY_SECONDS + 1}, False),
        ({"changed_at": NOW + 1}, False),  # the clock was set back
        ({"held": True}, False),
        ({"open_jobs": 1}, False),
        ({"open_deliveries": 1}, False),
        *[({"state": state}, False) for state in set(StudyState) - GOES],
    ],
)
def test_what_may_go(changes: dict[str, Any], goes: bool) -> None:
    assert may_go(replace(OVER, **changes), NOW, DAYS) is goes


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A bench whose segments are full after one instance."""
    made = made_at(tmp_path, segment_bytes=1)
    yield made
    made.spool.close()
    made.ledger.close()


@pytest.fixture
def site(tmp_path: Path) -> Settings:
    """Settings without quiet time."""
    return configuration.load(None, {"storage": {"root": tmp_path}, "study": {"quiet_seconds": 0}})


def analysed(bench: Bench, site: Settings) -> None:
    """Receive the study, complete it, and let its analysis refuse it; the PACS has the report."""
    for ds in petct_study():
        bench.receive(ds)
    bench.release()
    bench.intake.index()
    Completion(bench.ledger, site).apply(AT.timestamp() + 60)
    conclude(bench, site, "refused", AT.timestamp() + 62)


def conclude(bench: Bench, site: Settings, refusal: str, now: float) -> None:
    """Work on the job as the inference stage does, with a refusal of this code, and deliver."""
    with bench.ledger.begin() as tx:
        job = jobs.claim(tx, completion.KIND, "worker", now)
        assert job is not None
        found = replace(SCORED, study_instance_uid=STUDY_UID, status="refused", refusal=Remark(refusal, "why"))
        forced = job.payload["forced"]
        question = completion.asked(tx, STUDY_UID, BIOMARKER, forced, site)
        told = forced == completion.RELEASED
        results.add_findings(
            tx, STUDY_UID, BIOMARKER, refusal, found.to_json(), "e", now, question=question, notice=told
        )
        jobs.finish(tx, job, lambda _: None)
        completion.return_to_result(tx, STUDY_UID, BIOMARKER, site, now)
        studies.move(tx, STUDY_UID, StudyState.DELIVERED, now)


def send(bench: Bench, site: Settings, some: Sequence[Dataset], association: str) -> None:
    """Send these in an association of their own; they are indexed, and decided on when the quiet time is over."""
    for ds in some:
        bench.receive(ds, association)
    bench.release(association)
    bench.intake.index()
    Completion(bench.ledger, site).apply(NOW + 100)


def stands(bench: Bench) -> tuple[StudyState, float | None]:
    """Return the study's state, and when its instances were given up."""
    with bench.ledger.read() as tx:
        return studies.state(tx, STUDY_UID), studies.released_at(tx, STUDY_UID)


def revisions(bench: Bench) -> list[tuple[str, bool]]:
    """Return code and kind of every finding."""
    with bench.ledger.read() as tx:
        rows = tx.execute(select(schema.findings).order_by(schema.findings.c.id)).all()
    return [(row.dedup, row.notice) for row in rows]


def retained(bench: Bench) -> Retention:
    return Retention(bench.ledger, bench.spool, "listener-test", DAYS)


def count(bench: Bench) -> int:
    with bench.ledger.read() as tx:
        return instances.count(tx, STUDY_UID)


def segments(bench: Bench, state: str) -> int:
    return len(list((bench.root / "spool" / "listener-test" / state).iterdir()))


def test_a_study_that_is_over_goes_and_its_segments_with_it(bench: Bench, site: Settings) -> None:
    analysed(bench, site)
    assert segments(bench, "sealed") == 17  # the release is a record too
    assert retained(bench).apply(NOW) == NOW + PASS_SECONDS
    assert count(bench) == segments(bench, "sealed") == 0
    with bench.ledger.read() as tx:
        assert studies.state(tx, STUDY_UID) is StudyState.DELIVERED
        assert studies.released_at(tx, STUDY_UID) == NOW
        assert [row.action for row in tx.execute(select(schema.audit))] == ["release_instances"]
        assert not set(instances.watermarks(tx)) & instances.sealed_segments(tx)
        assert tx.execute(select(schema.association)).all() == tx.execute(select(schema.association_study)).all() == []


def test_a_refused_study_that_nobody_is_told_of_goes_too(bench: Bench, site: Settings) -> None:
    """With ``[reporting] refusals = false`` no report is built, so it never becomes DELIVERED."""
    analysed(bench, site)
    with bench.ledger.begin() as tx:
        tx.execute(update(schema.study).values(state=StudyState.REFUSED))
    retained(bench).apply(NOW)
    assert count(bench) == 0
    assert stands(bench)[0] is StudyState.REFUSED


def test_nothing_goes_before_its_time(bench: Bench, site: Settings) -> None:
    analysed(bench, site)
    retained(bench).apply(AT.timestamp() + 62 + DAYS * DAY_SECONDS - 1)
    assert count(bench) == 16
    retained(bench).apply(AT.timestamp() + 62 + DAYS * DAY_SECONDS)
    assert count(bench) == 0


def test_between_two_passes_it_does_nothing(bench: Bench, site: Settings) -> None:
    analysed(bench, site)
    once = retained(bench)
    due = once.apply(AT.timestamp())
    assert once.apply(due - 1) == due
    assert count(bench) == 16


def test_a_segment_that_holds_another_study_stays(tmp_path: Path, site: Settings) -> None:
    bench = made_at(tmp_path)  # one segment for all
    bench.receive(ct_slices(StudyInstanceUID="1.2.3")[0], sop_instance_uid="1.2.3.4", received_at=AT.replace(year=2027))
    analysed(bench, site)
    bench.spool.close()
    bench.spool.adopt("listener-test")
    bench.intake.index()
    retained(bench).apply(NOW)
    assert (count(bench), segments(bench, "sealed")) == (0, 1)
    with bench.ledger.begin() as tx:
        (where,) = instances.locations(tx, "1.2.3").values()
        assert bench.spool.read(where)
        retention.release(tx, "1.2.3", NOW)
    retained(bench).apply(NOW)
    assert segments(bench, "sealed") == 0
    bench.ledger.close()


@pytest.mark.parametrize("dies_at", ["release", "forget_segment"])
def test_a_pass_that_died_is_gone_on_with(
    bench: Bench, site: Settings, monkeypatch: pytest.MonkeyPatch, dies_at: str
) -> None:
    """Between the transaction and the spool, and between the spool and the row of the segment."""
    analysed(bench, site)

    class DiedError(Exception):
        pass

    def die(*_: object) -> None:
        raise DiedError

    with monkeypatch.context() as broken:
        broken.setattr(*((bench.spool, "release") if dies_at == "release" else (retention, "forget_segment")), die)
        with pytest.raises(DiedError):
            retained(bench).apply(NOW)
    assert count(bench) == 0
    retained(bench).apply(NOW)
    assert segments(bench, "sealed") == 0
    with bench.ledger.read() as tx:
        assert instances.sealed_segments(tx) == frozenset()


def test_the_same_study_sent_again_is_received_anew_and_not_analysed_twice(bench: Bench, site: Settings) -> None:
    analysed(bench, site)
    retained(bench).apply(NOW)
    whole = petct_study()
    send(bench, site, whole[:-1], "again-1")
    assert stands(bench) == (StudyState.RECEIVING, NOW), "a part is not analysed in the place of the whole"
    send(bench, site, whole[-1:], "again-2")
    assert stands(bench) == (StudyState.REFUSED, None), "where the analysis of this set had led"
    assert revisions(bench) == [("refused", False)]
    assert count(bench) == 16


# --- a region that comes when the images are gone ---------------------------------------------------------------------


def test_a_region_that_comes_too_late_is_told_of_and_changes_nothing(bench: Bench, site: Settings) -> None:
    analysed(bench, site)
    retained(bench).apply(NOW)
    with structlog.testing.capture_logs() as events:
        send(bench, site, [late_region()], "late")
    assert [(e["event"], e["log_level"]) for e in events] == [("region_too_late", "warning")]
    conclude(bench, site, "ROI_TOO_LATE", NOW + 110)
    assert stands(bench) == (StudyState.DELIVERED, NOW)
    assert revisions(bench) == [("refused", False), ("ROI_TOO_LATE", True)]
    with bench.ledger.read() as tx:
        assert [row.action for row in tx.execute(select(schema.audit))] == ["release_instances", "region too late"]


def test_and_is_scored_when_the_images_come_again(bench: Bench, site: Settings) -> None:
    analysed(bench, site)
    retained(bench).apply(NOW)
    send(bench, site, [late_region()], "late")
    conclude(bench, site, "ROI_TOO_LATE", NOW + 110)
    whole = petct_study()
    send(bench, site, whole[:-1], "again-1")
    assert stands(bench) == (StudyState.RECEIVING, NOW), "with the region they are as many as went, and not all"
    send(bench, site, whole[-1:], "again-2")
    assert stands(bench) == (StudyState.COMPLETE, None)
    with bench.ledger.read() as tx:
        assert len(instances.content_digest_rows(tx, STUDY_UID)) == 17
        assert [job.state for job in studies.jobs_of(tx, STUDY_UID)] == ["done", "done", "ready"]


def test_nor_does_anything_else_that_comes_late(bench: Bench, site: Settings) -> None:
    analysed(bench, site)
    retained(bench).apply(NOW)
    other = ct_slices(Modality="MR", SeriesInstanceUID="1.2.3.5")[0]
    with structlog.testing.capture_logs() as events:
        send(bench, site, [other], "late")
    assert [e["event"] for e in events] == ["result_kept"]
    assert stands(bench) == (StudyState.REFUSED, NOW), "this PACS has no report of it"
    assert revisions(bench) == [("refused", False)]


def late_region() -> Dataset:
    """Return what the indexer takes for a SEG of somebody's."""
    return ct_slices(Modality="SEG", SeriesInstanceUID="1.2.3.4", SOPInstanceUID="1.2.3.4.1")[0]


def test_a_part_that_comes_late_and_goes_again_does_not_make_the_whole_smaller(bench: Bench, site: Settings) -> None:
    analysed(bench, site)
    retained(bench).apply(NOW)
    whole = petct_study()
    with bench.ledger.read() as tx:
        inputs = tx.scalar(select(schema.released_study.c.inputs))
    bench.receive(whole[0], "late")
    bench.intake.index()
    with bench.ledger.begin() as tx:
        retention.release(tx, STUDY_UID, NOW + 1)
        assert tx.scalar(select(schema.released_study.c.inputs)) == inputs
    for ds in whole[:-1]:
        bench.receive(ds, "again")
    bench.release("again")
    bench.intake.index()
    Completion(bench.ledger, site).apply(NOW + 100)
    with bench.ledger.read() as tx:
        assert studies.state(tx, STUDY_UID) is StudyState.RECEIVING, "a part is not analysed in the place of the whole"


def test_what_comes_while_it_is_decided_keeps_the_study(
    bench: Bench, site: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    analysed(bench, site)
    found = retention.unchanged_since

    def then_comes_one(*args: Any) -> list[StudyFacts]:
        over = found(*args)
        bench.receive(
            ct_slices(SOPInstanceUID="1.2.3.9")[0], received_at=AT.replace(year=2027), sop_instance_uid="1.2.3.9"
        )
        bench.intake.index()
        return over

    monkeypatch.setattr(retention, "unchanged_since", then_comes_one)
    retained(bench).apply(NOW)
    assert count(bench) == 17


def test_a_ledger_from_before_retention_forgets_what_is_gone(bench: Bench, site: Settings) -> None:
    """What is sent again is then received, and not taken for known."""
    analysed(bench, site)
    with bench.ledger.read() as tx:
        (gone, *_) = instances.locations(tx, STUDY_UID).values()
    bench.spool.release(gone.segment)
    bench.intake.recover(0.0)
    assert count(bench) == 15
    for ds in petct_study():
        bench.receive(ds)
    bench.intake.index()
    assert count(bench) == 16
