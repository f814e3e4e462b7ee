"""What retention decides from, and what goes with a study: each fact by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import insert, select, update

from egfr_dls.delivery import DeliveryState
from egfr_dls.ledger import Tx, arrivals, deliveries, instances, jobs, results, retention, schema, studies
from egfr_dls.ledger.arrivals import IndexedInstance
from egfr_dls.ledger.instances import AssociationState
from egfr_dls.ledger.jobs import JobState
from egfr_dls.ledger.results import BuiltObject
from egfr_dls.spool import AssociationEnded
from egfr_dls.study import ReceivedInstance, SpoolRef, StudyState

STUDY, OTHER = "1.2", "1.3"
AT = datetime(2026, 1, 2, tzinfo=UTC)
NOW = AT.timestamp()
SEEN = IndexedInstance(
    ReceivedInstance(
        "1.2.840.10008.5.1.4.1.1.2", "1.2.1.1", STUDY, "1.2.1", "CT", "1.2.840.10008.1.2.1", "SCANNER", "EGFR_DLS",
        "127.0.0.1", "a", AT,
    ),
    SpoolRef("listener-1/1.seg", 0, 1), "d1", own=False,
)  # fmt: skip


@pytest.fixture
def tx(tx: Tx) -> Tx:
    """An open transaction on a ledger that knows a study of one instance, which NOT_APPLICABLE ended when it came."""
    receive(tx)
    studies.move(tx, STUDY, StudyState.NOT_APPLICABLE, NOW)
    return tx


def receive(tx: Tx, ref: SpoolRef | None = None, digest: str = "d1", **changes: object) -> None:
    entry = replace(SEEN.entry, **changes)  # type: ignore[arg-type]  # fields by name
    arrivals.enter(tx, [IndexedInstance(entry, ref or SEEN.ref, digest, own=False)], b"key", "listener-1")


def facts(tx: Tx) -> retention.StudyFacts:
    return retention.facts(tx, STUDY)


def test_a_study_of_which_nothing_is_left_to_do(tx: Tx) -> None:
    found = facts(tx)
    assert (found.state, found.held) == (StudyState.NOT_APPLICABLE, False)
    assert (found.open_jobs, found.open_deliveries, found.changed_at) == (0, 0, NOW)


def test_held_is_told(tx: Tx) -> None:
    studies.hold(tx, STUDY, held=True)
    assert facts(tx).held


# --- when it last changed ---------------------------------------------------------------------------------------------


def came_later(tx: Tx) -> None:
    """A report of ours, or whatever fills no role: it moves no timer of the study, but it has just come."""
    receive(tx, sop_instance_uid="1.2.9.1", series_instance_uid="1.2.9", modality="SR", received_at=AT.replace(day=3))


@pytest.mark.parametrize(
    "change",
    [
        lambda tx: tx.execute(update(schema.study).values(state_since=NOW + 86400)),
        lambda tx: tx.execute(update(schema.study).values(last_instance_at=NOW + 86400)),
        came_later,
    ],
    ids=["state", "input", "any instance"],
)
def test_the_latest_change_counts(tx: Tx, change: Callable[[Tx], object]) -> None:
    change(tx)
    assert facts(tx).changed_at == NOW + 86400


# --- what is open -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", JobState)
def test_a_job_is_open_until_it_is_done_or_cancelled(tx: Tx, state: JobState) -> None:
    """A dead one waits for a person, who needs the images."""
    jobs.enqueue(tx, "infer", "d", STUDY, {}, NOW)
    tx.execute(update(schema.job).values(state=state))
    assert facts(tx).open_jobs == (state not in (JobState.DONE, JobState.CANCELLED))


def test_another_studys_job_is_not_its(tx: Tx) -> None:
    jobs.enqueue(tx, "infer", "d", OTHER, {}, NOW)
    assert facts(tx).open_jobs == 0


def deliver(tx: Tx, study: str, state: DeliveryState, proof_due_at: float | None = None) -> None:
    studies.ensure(tx, study, b"key", NOW)
    findings = results.add_findings(tx, study, "pet_ct_egfr", "d", "{}", "e", NOW)
    assert findings is not None
    results.add_objects(
        tx, findings, study, [BuiltObject(f"{study}.9", "2.25.2", "1.2.3", "1.2.4", "report", "s", NOW)]
    )
    deliveries.queue(tx, [f"{study}.9"], "pacs", NOW)
    tx.execute(update(schema.delivery).values(state=state, proof_due_at=proof_due_at))


OPEN = (DeliveryState.QUEUED, DeliveryState.SENT, DeliveryState.PARKED, DeliveryState.DEAD)


@pytest.mark.parametrize("state", DeliveryState)
def test_a_delivery_is_open_until_nothing_more_is_awaited_of_it(tx: Tx, state: DeliveryState) -> None:
    deliver(tx, STUDY, state)
    assert facts(tx).open_deliveries == (state in OPEN)


def test_one_whose_proof_is_owed_is_open(tx: Tx) -> None:
    deliver(tx, STUDY, DeliveryState.STORED, proof_due_at=NOW)
    assert facts(tx).open_deliveries == 1


def test_another_studys_delivery_is_not_its(tx: Tx) -> None:
    deliver(tx, OTHER, DeliveryState.QUEUED)
    assert facts(tx).open_deliveries == 0


# --- what goes --------------------------------------------------------------------------------------------------------


def test_the_conflict_goes_with_the_contents(tx: Tx) -> None:
    receive(tx, digest="d2", ref=SpoolRef("listener-1/1.seg", 1, 1))
    assert studies.find(tx, STUDY).conflict
    assert retention.release(tx, STUDY, NOW) == 2
    assert not studies.find(tx, STUDY).conflict
    receive(tx)
    assert not studies.find(tx, STUDY).conflict


def association(tx: Tx) -> list[str]:
    return list(tx.execute(select(schema.association.c.state)).scalars())


def test_an_association_that_is_still_open_stays(tx: Tx) -> None:
    """Its end is still to come, and would else be entered without its name."""
    retention.release(tx, STUDY, NOW)
    assert association(tx) == [AssociationState.OPEN]


def test_one_that_ended_goes(tx: Tx) -> None:
    arrivals.enter_ends(tx, [AssociationEnded("a", AT, released=True)], "listener-1")
    retention.release(tx, STUDY, NOW)
    assert association(tx) == []


def test_one_that_brought_another_study_too_stays(tx: Tx) -> None:
    receive(tx, study_instance_uid=OTHER, sop_instance_uid="1.3.1", series_instance_uid="1.3.0")
    arrivals.enter_ends(tx, [AssociationEnded("a", AT, released=True)], "listener-1")
    retention.release(tx, STUDY, NOW)
    assert association(tx) == [AssociationState.RELEASED]


@pytest.fixture
def free(tx: Tx) -> Tx:
    """The study has gone; its segment is full."""
    retention.release(tx, STUDY, NOW)
    instances.advance(tx, {"listener-1/1.seg": 10}, {"listener-1/1.seg"})
    return tx


def test_a_full_segment_in_which_nothing_lies_is_empty(free: Tx) -> None:
    assert retention.empty_segments(free, {"listener-1"}) == ["listener-1/1.seg"]


def test_one_with_a_record_that_could_not_be_indexed_is_not(free: Tx) -> None:
    instances.skip(free, SpoolRef("listener-1/1.seg", 5, 1), "ValueError", NOW)
    assert retention.empty_segments(free, {"listener-1"}) == []


def test_nor_one_with_an_instance(free: Tx) -> None:
    receive(free)
    assert retention.empty_segments(free, {"listener-1"}) == []


def test_nor_one_that_is_still_written(free: Tx) -> None:
    instances.advance(free, {"listener-1/1.seg": 10})
    assert retention.empty_segments(free, {"listener-1"}) == []


def test_nor_one_of_another_listener_that_is_alive(free: Tx) -> None:
    """Also where its name begins alike: a listener gives back what is its, and no other's."""
    free.execute(insert(schema.segment).values(name="listener-10/1.seg", indexed_bytes=1, sealed=True))
    assert retention.empty_segments(free, {"listener-1"}) == ["listener-1/1.seg"]
    assert retention.empty_segments(free, {"listener-10"}) == ["listener-10/1.seg"]
