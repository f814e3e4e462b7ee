"""Who waits for the ledger is woken by a commit of somebody else, and by nothing that changed nothing."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from egfr_dls.ledger import Ledger, jobs, studies
from egfr_dls.ledger.changes import Changes

ENDLESS = 3600.0
ENOUGH = 9


class Script(threading.Event):
    """A stop that is set during its last wait, and whose waits take no time: steps happen during some, by their number."""

    def __init__(self, **steps: Callable[[], object]) -> None:
        super().__init__()
        self.steps = {f"wait{ENOUGH}": self.set, **steps}
        self.waits = 0

    def wait(self, timeout: float | None = None) -> bool:
        self.waits += 1
        self.steps.get(f"wait{self.waits}", lambda: None)()
        return self.is_set()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger."""
    opened = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    yield opened
    opened.close()


@pytest.fixture
def changes(ledger: Ledger) -> Iterator[Changes]:
    """A waiter."""
    with ledger.changes() as opened:
        yield opened


def write(ledger: Ledger, uid: str = "1.2.3") -> None:
    """Enter a study."""
    with ledger.begin() as tx:
        studies.ensure(tx, uid, b"k" * 32, 0.0)


def test_a_commit_while_waiting_wakes(ledger: Ledger, changes: Changes) -> None:
    stop = Script(wait3=lambda: write(ledger))
    changes.wait(stop, ENDLESS)
    assert stop.waits == 3


def test_a_commit_of_another_process_wakes(tmp_path: Path, changes: Changes) -> None:
    def elsewhere() -> None:
        other = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
        write(other)
        other.close()

    stop = Script(wait3=elsewhere)
    changes.wait(stop, ENDLESS)
    assert stop.waits == 3


def test_a_commit_between_two_waits_is_not_missed_and_wakes_once(ledger: Ledger, changes: Changes) -> None:
    write(ledger)
    first, second = Script(), Script()
    changes.wait(first, ENDLESS)
    changes.wait(second, ENDLESS)
    assert (first.waits, second.waits) == (1, ENOUGH)


def test_each_waiter_is_woken(ledger: Ledger, changes: Changes) -> None:
    with ledger.changes() as other:
        write(ledger)
        for waiter in (changes, other):
            stop = Script()
            waiter.wait(stop, ENDLESS)
            assert stop.waits == 1


def test_looking_for_a_job_in_vain_and_a_roll_back_wake_nobody(ledger: Ledger, changes: Changes) -> None:
    """Else a stage that finds nothing to do would wake the next one, and itself, for ever."""

    def claim_nothing() -> None:
        with ledger.begin() as tx:
            assert jobs.sweep(tx, 0.0) == []
            assert jobs.claim(tx, "infer", "w", 0.0) is None

    def roll_back() -> None:
        with pytest.raises(KeyError), ledger.begin() as tx:
            studies.ensure(tx, "9.9", b"k" * 32, 0.0)
            raise KeyError

    stop = Script(wait2=claim_nothing, wait4=roll_back)
    changes.wait(stop, ENDLESS)
    assert stop.waits == ENOUGH


def test_stop_and_the_end_of_the_time_end_the_wait(changes: Changes) -> None:
    stop = threading.Event()
    changes.wait(stop, 0.0)
    stop.set()
    changes.wait(stop, ENDLESS)


def test_a_database_that_cannot_be_asked_has_not_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_arguments: object, **_named: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(sqlite3, "connect", away)
    changes, stop = Changes(tmp_path / "ledger.sqlite"), Script()
    changes.wait(stop, ENDLESS)
    changes.close()
    assert stop.waits == ENOUGH
