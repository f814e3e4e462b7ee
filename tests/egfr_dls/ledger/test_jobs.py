"""The lease queue: whatever dies and whenever, each job has exactly one effect."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from egfr_dls.ledger import Ledger, Tx, jobs, studies
from egfr_dls.ledger.jobs import Job, JobState, LeaseLostError
from egfr_dls.ledger.schema import audit, job
from egfr_dls.study import Priority

STUDY = "1.2.3"
NOW = 1_000_000.0
KEY = b"k" * 32


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger with one study."""
    opened = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    with opened.begin() as tx:
        studies.ensure(tx, STUDY, KEY, NOW)
    yield opened
    opened.close()


def nothing(_tx: Tx) -> None:
    """Have no effect."""


def claimed(tx: Tx, now: float = NOW, worker: str = "a") -> Job:
    """Claim the job that must be there."""
    found = jobs.claim(tx, "infer", worker, now)
    assert found is not None
    return found


def row(tx: Tx, dedup: str = "d") -> object:
    """Return a job's row."""
    return tx.execute(select(job).where(job.c.dedup == dedup)).one()


def test_same_key_makes_one_job(ledger: Ledger) -> None:
    with ledger.begin() as tx:
        assert jobs.enqueue(tx, "infer", "d", STUDY, {"n": 1}, NOW)
        assert not jobs.enqueue(tx, "infer", "d", STUDY, {"n": 2}, NOW)
        assert claimed(tx).payload == {"n": 1}
        assert jobs.claim(tx, "infer", "b", NOW) is None


def test_claim_takes_the_urgent_study_before_an_older_one(ledger: Ledger) -> None:
    with ledger.begin() as tx:
        for number, level in enumerate((Priority.BACKFILL, Priority.ROUTINE, Priority.STAT)):
            studies.ensure(tx, f"9.{number}", KEY, NOW)
            studies.set_priority(tx, f"9.{number}", level)
            jobs.enqueue(tx, "infer", f"d{number}", f"9.{number}", {}, NOW - 10 + number)
        assert [claimed(tx).study_instance_uid for _ in range(3)] == ["9.2", "9.1", "9.0"]


def test_claim_takes_the_kind_the_due_and_the_oldest_first(ledger: Ledger) -> None:
    with ledger.begin() as tx:
        studies.ensure(tx, "9.9", KEY, NOW)
        jobs.enqueue(tx, "report", "r", STUDY, {}, NOW)
        jobs.enqueue(tx, "infer", "second", STUDY, {}, NOW + 1)
        jobs.enqueue(tx, "infer", "first", STUDY, {}, NOW)
        jobs.enqueue(tx, "infer", "third", "9.9", {}, NOW + 1)
        assert [claimed(tx, NOW + at).id for at in (0, 1, 1)] == [
            tx.scalar(select(job.c.id).where(job.c.dedup == d)) for d in ("first", "second", "third")
        ]


def move_of(to: JobState) -> Callable[[Tx, Job], object]:
    """Return what brings a job, claimed once, to a state."""
    return {
        JobState.READY: lambda tx, mine: (jobs.revive(tx, STUDY, NOW), jobs.reopen(tx, "d", NOW)),
        JobState.LEASED: lambda tx, _mine: jobs.claim(tx, "infer", "b", NOW + jobs.LEASE_SECONDS + 1),
        JobState.DONE: lambda tx, mine: jobs.finish(tx, mine, nothing),
        JobState.DEAD: lambda tx, mine: jobs.bury(tx, mine, "X"),
        JobState.CANCELLED: jobs.cancel,
    }[to]


@pytest.mark.parametrize("to", JobState)
@pytest.mark.parametrize("at", JobState)
def test_no_function_moves_a_job_against_the_table(ledger: Ledger, at: JobState, to: JobState) -> None:
    with ledger.begin() as tx:
        jobs.enqueue(tx, "infer", "d", STUDY, {}, NOW)
        mine = claimed(tx)
        tx.execute(update(job).values(state=at))
        with suppress(LeaseLostError):
            move_of(to)(tx, mine)
        assert jobs.state(tx, "d") in {at, *jobs.TRANSITIONS[at]}


def test_jobs_of_a_held_study_wait(ledger: Ledger) -> None:
    with ledger.begin() as tx:
        jobs.enqueue(tx, "infer", "d", STUDY, {}, NOW)
        studies.hold(tx, STUDY, held=True)
        assert jobs.claim(tx, "infer", "a", NOW) is None
        studies.hold(tx, STUDY, held=False)
        assert claimed(tx)


def test_expired_lease_is_claimed_again_and_the_first_worker_has_no_effect(ledger: Ledger) -> None:
    with ledger.begin() as tx:
        jobs.enqueue(tx, "infer", "d", STUDY, {}, NOW)
        first = claimed(tx)
        assert jobs.claim(tx, "infer", "b", NOW + jobs.LEASE_SECONDS - 1) is None
        second = claimed(tx, NOW + jobs.LEASE_SECONDS + 1, "b")
        assert (second.id, second.fence, second.attempts) == (first.id, first.fence + 1, 2)
    for loser in (
        lambda tx: jobs.finish(tx, first, lambda t: studies.record_action(t, "a", "wrong", STUDY, "", NOW)),
        lambda tx: jobs.heartbeat(tx, first, NOW),
        lambda tx: jobs.postpone(tx, first, "X", NOW),
        lambda tx: jobs.bury(tx, first, "X"),
    ):
        with pytest.raises(LeaseLostError), ledger.begin() as tx:
            loser(tx)
    with ledger.begin() as tx:
        jobs.finish(tx, second, nothing)
        assert tx.scalar(select(func.count()).select_from(audit)) == 0


def test_heartbeat_keeps_the_lease(ledger: Ledger) -> None:
    with ledger.begin() as tx:
        jobs.enqueue(tx, "infer", "d", STUDY, {}, NOW)
        mine = claimed(tx)
        jobs.heartbeat(tx, mine, NOW + 50)
        assert jobs.claim(tx, "infer", "b", NOW + 100) is None


def test_effect_and_end_are_one_transaction(ledger: Ledger) -> None:
    def broken(tx: Tx) -> None:
        studies.record_action(tx, "a", "half", STUDY, "", NOW)
        raise ValueError

    with ledger.begin() as tx:
        jobs.enqueue(tx, "infer", "d", STUDY, {}, NOW)
        mine = claimed(tx)
    with pytest.raises(ValueError), ledger.begin() as tx:  # the effect's own
        jobs.finish(tx, mine, broken)
    with ledger.read() as tx:
        assert tx.scalar(select(func.count()).select_from(audit)) == 0
        assert tx.scalar(select(job.c.state)) == "leased"


def test_postponed_job_backs_off_and_is_dead_when_its_attempts_are_used_up(ledger: Ledger) -> None:
    with ledger.begin() as tx:
        jobs.enqueue(tx, "infer", "d", STUDY, {}, NOW)
        now, waits = NOW, []
        for _ in range(jobs.MAX_ATTEMPTS - 1):
            assert jobs.postpone(tx, claimed(tx, now), "TemporaryFailureError", now)
            due = float(tx.scalar(select(job.c.run_at)) or 0)
            waits.append(due - now)
            assert jobs.claim(tx, "infer", "a", due - 1) is None
            now = due
        assert waits == [30, 60]
        assert not jobs.postpone(tx, claimed(tx, now), "TemporaryFailureError", now)
        assert jobs.claim(tx, "infer", "a", now + 1e9) is None
        assert tx.execute(select(job.c.state, job.c.error_class)).one() == ("dead", "TemporaryFailureError")
        assert jobs.revive(tx, STUDY, now) == ["infer"]
        assert claimed(tx, now).attempts == 1


def test_job_that_kills_its_workers_is_swept(ledger: Ledger) -> None:
    with ledger.begin() as tx:
        jobs.enqueue(tx, "infer", "d", STUDY, {}, NOW)
        now = NOW
        for _ in range(jobs.MAX_ATTEMPTS):
            assert jobs.sweep(tx, now) == []
            claimed(tx, now)
            now += jobs.LEASE_SECONDS + 1
        assert jobs.claim(tx, "infer", "a", now) is None
        assert jobs.sweep(tx, now) == [STUDY]
        assert jobs.sweep(tx, now) == []
        assert tx.scalar(select(job.c.error_class)) == "LEASE_LOST"


def test_release_frees_only_what_the_dead_worker_held(ledger: Ledger) -> None:
    with ledger.begin() as tx:
        for dedup in ("d", "e"):
            jobs.enqueue(tx, "infer", dedup, STUDY, {}, NOW)
        first, second = claimed(tx, worker="inference-1"), claimed(tx, worker="inference-2")
        assert jobs.release_worker(tx, "inference-1") == 1
        assert claimed(tx, worker="inference-1").id == first.id
        assert jobs.claim(tx, "infer", "inference-1", NOW) is None
        jobs.finish(tx, second, nothing)


WORKER = """
import os, random, sys, time
from sqlalchemy import insert, func, select
from egfr_dls.ledger import Ledger, jobs
from egfr_dls.ledger.schema import audit, job
jobs.LEASE_SECONDS = 0.4
url, worker, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
ledger, chance = Ledger(url), random.Random(seed)
while True:
    with ledger.begin() as tx:
        mine = jobs.claim(tx, "infer", worker, time.time())
        left = tx.scalar(select(func.count()).select_from(job).where(job.c.state != "done"))
    if mine is None:
        if not left:
            break
        time.sleep(0.02)
        continue
    time.sleep(0.6 if chance.random() < 0.05 else 0.001)   # some are slower than their lease
    try:
        with ledger.begin() as tx:
            jobs.finish(tx, mine, lambda t: t.execute(insert(audit).values(at=0, actor=worker, action=str(mine.id), detail="")))
    except jobs.LeaseLostError:
        pass
"""


def test_effects_equal_jobs_through_kills_and_lost_leases(ledger: Ledger, tmp_path: Path) -> None:
    """Three processes, two of which are killed again and again while they work; leases shorter than some jobs."""
    count, url = 60, f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    with ledger.begin() as tx:
        for n in range(count):
            jobs.enqueue(tx, "infer", f"d{n}", STUDY, {}, 0.0)
        tx.execute(update(job).values(attempts=-1000))  # kills must not use them up

    def start(n: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", WORKER, url, f"w{n}", str(n)])

    steady, chance, kills = start(0), random.Random(1), 0
    deadline = time.monotonic() + 60
    victims = [start(1), start(2)]
    while steady.poll() is None:
        assert time.monotonic() < deadline
        if kills < 4:
            time.sleep(chance.uniform(0.3, 0.8))
            victims[kills % 2].send_signal(signal.SIGKILL)
            victims[kills % 2].wait()
            victims[kills % 2] = start(10 + kills)
            kills += 1
        else:
            time.sleep(0.05)
    for victim in victims:
        assert victim.wait(30) == 0
    with ledger.read() as tx:
        effects = list(tx.scalars(select(audit.c.action)))
        states = set(tx.scalars(select(job.c.state)))
    assert steady.returncode == 0
    assert (len(effects), len(set(effects)), states) == (count, count, {"done"})
    assert kills >= 1
