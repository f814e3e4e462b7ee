"""Several listeners on one root: each has its name alone, and one that is gone is adopted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from egfr_dls.errors import ConfigurationError
from egfr_dls.ledger import instances, listeners, studies
from egfr_dls.spool import DirectorySpool
from listener.indexing import neighbours
from listener.indexing.neighbours import Neighbours, alone, named
from tests.builders import STUDY_UID, ct_slices
from tests.listener.indexing.test_intake import Bench, made_at

NOW = 1_800_000_000.0


@pytest.fixture
def living(tmp_path: Path) -> Iterator[Bench]:
    """The bench of the listener that lives."""
    made = made_at(tmp_path, "living")
    yield made
    made.spool.close()
    made.ledger.close()


@pytest.fixture
def gone(tmp_path: Path) -> Bench:
    """The bench of another one, which has two instances and one open association, and died before they were indexed."""
    made = made_at(tmp_path, "gone")
    for ds in ct_slices()[:2]:
        made.receive(ds, "left-open")
    made.spool.close()
    made.ledger.close()
    return made


def watch(living: Bench) -> Neighbours:
    return Neighbours(living.ledger, living.spool, living.intake, living.root, "living")


def held(living: Bench) -> int:
    with living.ledger.read() as tx:
        return len(instances.all_sop_instance_uids(tx))


def test_an_orphan_is_indexed_its_associations_aborted_its_segments_sealed(living: Bench, gone: Bench) -> None:
    with structlog.testing.capture_logs() as events:
        watch(living).apply(NOW)
    assert held(living) == 2
    snapshot = living.snapshot(STUDY_UID)
    assert (snapshot.open_associations, snapshot.interrupted) == (0, True)
    assert [e["count"] for e in events if e["event"] == "listener_adopted"] == [2]
    assert not list((gone.root / "spool" / "gone" / "active").iterdir())
    assert len(list((gone.root / "spool" / "gone" / "sealed").iterdir())) == 1
    with living.ledger.read() as tx:
        assert len(instances.sealed_segments(tx)) == 1


def test_one_whose_lease_holds_is_left_alone(living: Bench, gone: Bench) -> None:
    with living.ledger.begin() as tx:
        listeners.renew(tx, "gone", NOW)
    watch(living).apply(NOW + listeners.LEASE_SECONDS - 1)
    assert held(living) == 0
    watch(living).apply(NOW + listeners.LEASE_SECONDS)
    assert held(living) == 2


@pytest.mark.usefixtures("gone")
def test_one_that_has_its_lock_is_alive_however_late_its_lease(living: Bench) -> None:
    with named(living.root, "gone") as ours:
        assert ours
        watch(living).apply(NOW)
        assert held(living) == 0
    watch(living).apply(NOW)
    assert held(living) == 2


def test_an_adopted_listener_that_comes_back_goes_on(living: Bench, gone: Bench) -> None:
    watch(living).apply(NOW)
    spool = DirectorySpool(gone.root / "spool", "gone")
    back = Bench(gone.root, spool, living.ledger, living.intake, seconds=10)
    back.receive(ct_slices()[2], "new")
    assert living.intake.index("gone").records == 1
    spool.close()
    assert held(living) == 3
    with living.ledger.read() as tx:
        assert studies.snapshot(tx, STUDY_UID).open_associations == 1


def test_a_name_is_held_by_one_listener_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "WAIT_SECONDS", 0.0)
    with (
        alone(tmp_path, "a"),
        alone(tmp_path, "b"),
        pytest.raises(ConfigurationError, match="another listener named a"),
        alone(tmp_path, "a"),
    ):
        pass
    with alone(tmp_path, "a"):
        pass


def test_the_next_look_is_due_long_before_the_lease_runs_out(living: Bench) -> None:
    neighbour = watch(living)
    due = neighbour.apply(NOW)
    assert NOW < due < NOW + listeners.LEASE_SECONDS / 2
    assert neighbour.apply(NOW + 1) == due
