"""The stage loop: what a handler raises decides what becomes of its job; the loop itself goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import event, select

from egfr_dls import job_loop
from egfr_dls.errors import ConfigurationError, StudyRefusedError, TemporaryFailureError
from egfr_dls.ledger import Ledger, Tx, jobs, studies
from egfr_dls.ledger.jobs import Effect, Job
from egfr_dls.ledger.schema import job
from egfr_dls.refusals import RefusalCode
from egfr_dls.study import StudyState
from tests.listener.nodes import until

STUDY = "1.2.3"
NOW = 1_000_000.0


class Scripted:
    """A handler that does what the test says; its effect moves the study to SCORED."""

    kind = "infer"

    def __init__(self, *script: Callable[[Job], None] | Exception) -> None:
        self.script = list(script)

    def handle(self, job: Job) -> Effect:
        step = self.script.pop(0) if self.script else None
        if isinstance(step, Exception):
            raise step
        if step is not None:
            step(job)
        return lambda tx: self.effect(tx, job)

    def effect(self, tx: Tx, job: Job) -> None:
        studies.move(tx, job.study_instance_uid, StudyState.SCORED, NOW)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger with a complete study and its job."""
    opened = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    add(opened, STUDY)
    yield opened
    opened.close()


def add(ledger: Ledger, uid: str) -> None:
    """Enter a complete study with its job."""
    with ledger.begin() as tx:
        studies.ensure(tx, uid, b"k" * 32, NOW)
        studies.move(tx, uid, StudyState.COMPLETE, NOW)
        jobs.enqueue(tx, "infer", f"dedup-{uid}", uid, {}, NOW)


def once(ledger: Ledger, handler: Scripted, now: float = NOW) -> list[dict[str, Any]]:
    """Work on one job and return what was logged."""
    with structlog.testing.capture_logs() as events:
        assert job_loop.run_one(ledger, handler, "w", lambda: now)
    return list(events)


def found(ledger: Ledger, uid: str = STUDY) -> tuple[str, StudyState]:
    """Return the states of job and study."""
    with ledger.read() as tx:
        return str(tx.scalar(select(job.c.state).where(job.c.study_instance_uid == uid))), studies.state(tx, uid)


def test_job_is_done_with_its_effect(ledger: Ledger) -> None:
    assert once(ledger, Scripted()) == []
    assert found(ledger) == ("done", StudyState.SCORED)
    assert not job_loop.run_one(ledger, Scripted(), "w", lambda: NOW)


def test_look_for_nothing_takes_no_write_lock(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each commit to the ledger wakes every stage: a stage with nothing to do must not make the writers wait for it."""
    once(ledger, Scripted())
    monkeypatch.setattr(ledger, "begin", lambda: pytest.fail("a write transaction"))
    assert not job_loop.run_one(ledger, Scripted(), "w", lambda: NOW)


def test_temporary_failure_goes_back_and_ends_as_failed(ledger: Ledger) -> None:
    handler, now = Scripted(*[TemporaryFailureError("of DOE^JOHN")] * 3), NOW
    for attempt in (1, 2):
        events = once(ledger, handler, now)
        assert [(e["event"], e["attempts"], e["error_class"]) for e in events] == [
            ("job_postponed", attempt, "TemporaryFailureError")
        ]
        assert found(ledger) == ("ready", StudyState.COMPLETE)
        assert not job_loop.run_one(ledger, handler, "w", lambda: now)  # noqa: B023  # asked at once
        now += 3600
    events = once(ledger, handler, now)
    assert [e["event"] for e in events] == ["job_postponed", "job_dead"]
    assert found(ledger) == ("dead", StudyState.FAILED)
    assert "DOE" not in str(events)


@pytest.mark.parametrize(
    "error", [ValueError("DOE^JOHN"), MemoryError(), StudyRefusedError(RefusalCode.NO_ROI, "DOE^JOHN")]
)
def test_defect_costs_one_study_and_the_loop_goes_on(ledger: Ledger, error: Exception) -> None:
    add(ledger, "9.9")
    handler = Scripted(error)
    events = once(ledger, handler)
    assert [(e["event"], e["error_class"]) for e in events] == [("job_dead", type(error).__name__)]
    assert "DOE" not in str(events)
    assert found(ledger) == ("dead", StudyState.FAILED)
    once(ledger, handler)
    assert found(ledger, "9.9") == ("done", StudyState.SCORED)


def test_defect_in_an_effect_costs_one_study_too(ledger: Ledger) -> None:
    class Broken(Scripted):
        def effect(self, tx: Tx, job: Job) -> None:
            super().effect(tx, job)
            raise KeyError("x")

    assert [e["event"] for e in once(ledger, Broken())] == ["job_dead"]
    assert found(ledger) == ("dead", StudyState.FAILED)  # and what the effect wrote was rolled back


def test_wrong_configuration_ends_the_stage(ledger: Ledger) -> None:
    with pytest.raises(ConfigurationError):
        job_loop.run_one(ledger, Scripted(ConfigurationError("x")), "w", lambda: NOW)


@pytest.mark.parametrize("ending", [None, ValueError(), TemporaryFailureError()])
def test_lost_lease_discards_whatever_came_of_the_work(ledger: Ledger, ending: Exception | None) -> None:
    def overtaken(_job: Job) -> None:
        with ledger.begin() as tx:
            assert jobs.claim(tx, "infer", "other", NOW + jobs.LEASE_SECONDS + 1)
        if ending is not None:
            raise ending

    events = once(ledger, Scripted(overtaken))
    assert events[-1]["event"] == "lease_lost"
    assert found(ledger) == ("leased", StudyState.COMPLETE)


def test_job_that_killed_its_workers_is_failed_by_the_next_one(ledger: Ledger) -> None:
    for n in range(jobs.MAX_ATTEMPTS):
        with ledger.begin() as tx:
            assert jobs.claim(tx, "infer", "killed", NOW + n * 100)
    assert not job_loop.run_one(ledger, Scripted(), "w", lambda: NOW + 1000)
    assert found(ledger) == ("dead", StudyState.FAILED)


def test_heartbeat_keeps_a_long_job(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "HEARTBEAT_SECONDS", 0.01)
    times = iter(range(10**6))

    def clock() -> float:
        return NOW + 10 * next(times)

    def long(_job: Job) -> None:
        until(lambda: lease(ledger) > NOW + 500, "lease extended")

    assert job_loop.run_one(ledger, Scripted(long), "w", clock)
    assert found(ledger) == ("done", StudyState.SCORED)


def lease(ledger: Ledger) -> float:
    """Return until when the job is leased."""
    with ledger.read() as tx:
        return float(tx.scalar(select(job.c.lease_until)) or 0)


def test_loop_waits_for_a_ledger_that_is_away(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_loop, "POLL_SECONDS", 0.01)
    troubles, original = [1, 2], ledger.begin

    @contextmanager
    def flaky() -> Iterator[Tx]:
        if troubles:
            troubles.pop()
            raise TemporaryFailureError("locked")
        with original() as tx:
            yield tx

    monkeypatch.setattr(ledger, "begin", flaky)
    stop = threading.Event()
    with structlog.testing.capture_logs() as events:
        thread = threading.Thread(target=job_loop.run, args=(ledger, Scripted(), "w", stop))
        thread.start()
        until(lambda: found(ledger) == ("done", StudyState.SCORED), "done")
        stop.set()
        thread.join()
    assert [e["event"] for e in events] == ["ledger_unavailable"] * 2


def test_loop_is_woken_by_a_job_that_another_process_adds(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_loop, "POLL_SECONDS", 3600.0)
    idle, stop, original = threading.Event(), threading.Event(), job_loop.run_one

    def watched(*arguments: Any) -> bool:
        worked = original(*arguments)
        if not worked:
            idle.set()
        return worked

    monkeypatch.setattr(job_loop, "run_one", watched)
    thread = threading.Thread(target=job_loop.run, args=(ledger, Scripted(), "w", stop))
    thread.start()
    try:
        until(lambda: found(ledger) == ("done", StudyState.SCORED) and idle.is_set(), "idle")
        other = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
        add(other, "9.9")
        until(lambda: found(other, "9.9") == ("done", StudyState.SCORED), "done")
        other.close()
    finally:
        stop.set()
        thread.join()


def test_locked_database_is_a_temporary_failure(ledger: Ledger, tmp_path: Path) -> None:
    other = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    event.listen(other._writer, "engine_connect", lambda c: c.connection.execute("PRAGMA busy_timeout=1"))
    with ledger.begin(), pytest.raises(TemporaryFailureError, match="locked"), other.begin():
        raise AssertionError("two writers at once")
    other.close()
