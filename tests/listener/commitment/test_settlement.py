"""When a request is decided, and how: a ledger and a spool, stepped by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import CTImageStorage
from sqlalchemy import insert, select

from egfr_dls.ledger import Ledger, commitments
from egfr_dls.ledger.commitments import CommitmentState
from egfr_dls.ledger.instances import AssociationState
from egfr_dls.ledger.schema import association, commitment, instance
from egfr_dls.spool import DirectorySpool
from egfr_dls.spool.contract import CommitmentRequested, SpooledRecord
from egfr_dls.study import ReceivedInstance
from listener.commitment.settlement import AT_ONCE, Settlement
from tests.listener.requester import EXPLICIT, TRANSACTION, as_bytes, request

AT = datetime(2026, 1, 2, tzinfo=UTC)
NOW = AT.timestamp() + 10
CT = str(CTImageStorage)
LISTENER = "listener-test"


@dataclass
class Bench:
    """A ledger, the spool of two listeners, and what decides between them."""

    ledger: Ledger
    own: DirectorySpool
    other: DirectorySpool
    settlement: Settlement

    def ask(self, *instances: str | tuple[str, str], transaction: str = TRANSACTION, **changes: Any) -> None:
        """Enter a request, as the indexer does."""
        entry = replace(asked(), transaction_uid=transaction, **changes)
        with self.ledger.begin() as tx:
            commitments.enter(tx, entry, as_bytes(request(instances, transaction)), LISTENER, NOW)

    def index(self, *sop_instance_uids: str, sop_class_uid: str = CT) -> None:
        """Enter instances, as the indexer does."""
        with self.ledger.begin() as tx:
            for uid in sop_instance_uids:
                tx.execute(insert(instance).values(row_of(uid, sop_class_uid)))

    def rows(self) -> list[Any]:
        """Return the requests as they stand."""
        with self.ledger.read() as tx:
            return list(tx.execute(select(commitment).order_by(commitment.c.id)).all())

    def decided(self) -> list[Mapping[str, int]]:
        """Return the failures of each decided request."""
        with self.ledger.read() as tx:
            return [report.failures for report in commitments.due(tx, NOW + 3600)]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """An empty bench."""
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    own, other = (DirectorySpool(tmp_path / "spool", name) for name in (LISTENER, "listener-other"))
    yield Bench(ledger, own, other, Settlement(ledger, own))
    own.close()
    other.close()
    ledger.close()


def asked() -> CommitmentRequested:
    return CommitmentRequested(TRANSACTION, EXPLICIT, "SCANNER", "EGFR_DLS", "127.0.0.1", "a", AT)


def received(uid: str) -> ReceivedInstance:
    return ReceivedInstance(CT, uid, "1.1", "1.2", "CT", EXPLICIT, "SCANNER", "EGFR_DLS", "127.0.0.1", "a", AT)


def row_of(uid: str, sop_class_uid: str) -> dict[str, Any]:
    return {
        "sop_instance_uid": uid, "digest": f"{uid}{sop_class_uid}", "sop_class_uid": sop_class_uid,
        "series_instance_uid": "1.2", "study_instance_uid": "1.1", "transfer_syntax_uid": EXPLICIT, "segment": "s",
        "offset": 0, "length": 1, "association_id": "a", "calling_ae_title": "SCANNER", "called_ae_title": "EGFR_DLS",
        "peer_address": "127.0.0.1", "received_at": 0.0, "conflict": False,
    }  # fmt: skip


def test_what_the_ledger_has_is_committed(bench: Bench) -> None:
    bench.index("1.3", "1.4")
    bench.ask("1.3", "1.4")
    assert bench.settlement.apply(NOW) == math.inf
    assert bench.decided() == [{}]


def test_an_unknown_instance_fails_and_costs_the_others_nothing(bench: Bench) -> None:
    bench.index("1.3")
    bench.ask("1.3", "1.4")
    bench.settlement.apply(NOW)
    assert bench.decided() == [{"1.4": 0x0112}]


def test_another_class_is_a_conflict(bench: Bench) -> None:
    bench.index("1.3", sop_class_uid="1.2.840.10008.5.1.4.1.1.128")
    bench.ask("1.3")
    bench.settlement.apply(NOW)
    assert bench.decided() == [{"1.3": 0x0119}]


def test_one_of_two_contents_under_a_uid_is_enough(bench: Bench) -> None:
    """Both are kept."""
    bench.index("1.3")
    bench.index("1.3", sop_class_uid="1.2.840.10008.5.1.4.1.1.128")
    bench.ask("1.3")
    bench.settlement.apply(NOW)
    assert bench.decided() == [{}]


@pytest.mark.parametrize("which", ["own", "other"])
def test_what_is_durable_but_not_indexed_is_waited_for(bench: Bench, which: str) -> None:
    """Also where another listener received it."""
    getattr(bench, which).append(received("1.4"), [b"bytes"])
    bench.index("1.3")
    bench.ask("1.3", "1.4", "1.5")
    assert bench.settlement.apply(NOW) < NOW + 1
    assert bench.decided() == []
    bench.index("1.4")
    assert bench.settlement.apply(NOW) == math.inf
    assert bench.decided() == [{"1.5": 0x0112}]


def test_what_is_indexed_while_it_is_looked_for_is_found(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another indexer is there between the first look at the ledger and the look at the spool: nothing is past its mark."""
    bench.ask("1.3")
    records = bench.own.records

    def indexed_meanwhile(listener: str, since: Mapping[str, int]) -> Iterator[SpooledRecord]:
        bench.index(*(["1.3"] if listener == LISTENER else []))
        return records(listener, since)

    bench.own.append(received("9.9"), [b"bytes"])  # so that the folders are there
    bench.other.append(received("9.8"), [b"bytes"])
    monkeypatch.setattr(bench.own, "records", indexed_meanwhile)
    assert bench.settlement.apply(NOW) == math.inf
    assert bench.decided() == [{}]


def test_one_that_waits_holds_no_other_up(bench: Bench) -> None:
    bench.own.append(received("1.4"), [b"bytes"])
    bench.index("1.3")
    bench.ask("1.4", transaction="1.1")
    bench.ask("1.3", transaction="1.2")
    assert bench.settlement.apply(NOW) < NOW + 1
    assert [row.state for row in bench.rows()] == [CommitmentState.REQUESTED, CommitmentState.SETTLED]


def test_one_that_fails_as_a_whole_waits_for_no_instance(bench: Bench) -> None:
    """What is about to be indexed makes no difference to it."""
    bench.own.append(received("1.4"), [b"bytes"])
    bench.ask("1.4")
    bench.ask("1.4", "1.5")
    bench.settlement.apply(NOW)
    assert [row.state for row in bench.rows()] == [CommitmentState.REQUESTED, CommitmentState.SETTLED]
    assert bench.decided() == [{"1.4": 0x0131, "1.5": 0x0131}]


def test_nor_one_of_a_class_that_is_here_as_another(bench: Bench) -> None:
    """It is here, and so not looked for in the spool, wherever else its UID is coming."""
    bench.index("1.4", sop_class_uid="1.2.840.10008.5.1.4.1.1.128")
    bench.own.append(received("1.4"), [b"bytes"])
    bench.ask("1.4")
    assert bench.settlement.apply(NOW) == math.inf
    assert bench.decided() == [{"1.4": 0x0119}]


def test_another_request_under_a_known_transaction_uid_fails_as_a_whole(bench: Bench) -> None:
    bench.index("1.3", "1.4")
    bench.ask("1.3")
    bench.ask("1.3", "1.4")
    bench.settlement.apply(NOW)
    assert bench.decided() == [{}, {"1.3": 0x0131, "1.4": 0x0131}]


def test_another_requester_under_a_known_transaction_uid_is_another_request(bench: Bench) -> None:
    bench.index("1.3")
    bench.ask("1.3")
    bench.ask("1.3", calling_ae_title="THIEF")
    bench.settlement.apply(NOW)
    assert bench.decided() == [{}, {"1.3": 0x0131}]


def test_the_same_request_again_is_reported_again_as_things_stand_then(bench: Bench) -> None:
    bench.ask("1.3")
    bench.settlement.apply(NOW)
    with bench.ledger.begin() as tx:
        commitments.reported(tx, bench.rows()[0].id, 0)
    bench.index("1.3")
    bench.ask("1.3", association_id="b")
    (row,) = bench.rows()
    assert (row.state, row.association_id, row.attempts) == (CommitmentState.REQUESTED, "b", 0)
    bench.settlement.apply(NOW)
    assert bench.decided() == [{}]


def test_a_request_of_last_week_is_not_reported_by_a_ledger_that_is_rebuilt(bench: Bench) -> None:
    bench.ask("1.3", received_at=AT.replace(year=2025))
    bench.settlement.apply(NOW)
    assert [(row.state, row.reason) for row in bench.rows()] == [(CommitmentState.DEAD, "TOO_OLD")]


def test_one_that_cannot_be_read_any_more_stops_nothing(bench: Bench) -> None:
    bench.index("1.3")
    with bench.ledger.begin() as tx:
        commitments.enter(tx, asked(), b"\x08\x00garbage", LISTENER, NOW)
    bench.ask("1.3", transaction="1.9")
    assert bench.settlement.apply(NOW) == math.inf
    assert [(row.state, row.reason) for row in bench.rows()] == [
        (CommitmentState.DEAD, "UNREADABLE"), (CommitmentState.SETTLED, ""),
    ]  # fmt: skip


def test_many_requests_are_decided_part_by_part(bench: Bench) -> None:
    for n in range(AT_ONCE + 1):
        bench.ask("1.3", transaction=f"1.2.{n}")
    assert bench.settlement.apply(NOW) < NOW + 1
    assert bench.settlement.apply(NOW) == math.inf
    assert {row.state for row in bench.rows()} == {CommitmentState.SETTLED}


def test_ten_thousand_instances_are_decided_in_one_go(bench: Bench) -> None:
    uids = [f"1.3.{n}" for n in range(10_000)]
    bench.index(*uids[:-1])
    bench.ask(*uids)
    bench.settlement.apply(NOW)
    assert bench.decided() == [{uids[-1]: 0x0112}]


# --- who sends, and when ----------------------------------------------------------------------------------------------


@pytest.fixture
def settled(bench: Bench) -> Bench:
    """One decided request, of association "a"."""
    bench.index("1.3")
    bench.ask("1.3")
    bench.settlement.apply(NOW)
    return bench


def due_at(bench: Bench, seconds: float, ask: Callable[..., Any] = commitments.due) -> int:
    with bench.ledger.read() as tx:
        return len(ask(tx, NOW + seconds))


def end(bench: Bench, state: AssociationState) -> None:
    with bench.ledger.begin() as tx:
        tx.execute(association.update().values(state=state))


def test_the_association_that_asked_has_its_time(settled: Bench) -> None:
    assert due_at(settled, commitments.SAME_ASSOCIATION_SECONDS - 1) == 0
    assert due_at(settled, commitments.SAME_ASSOCIATION_SECONDS) == 1
    with settled.ledger.read() as tx:
        assert [r.association_open for r in commitments.due_on(tx, ["a", "b"], NOW)] == [True]
        assert commitments.due_on(tx, ["b"], NOW) == []


@pytest.mark.parametrize("state", [AssociationState.RELEASED, AssociationState.ABORTED])
def test_once_it_is_over_the_report_is_due_elsewhere(settled: Bench, state: AssociationState) -> None:
    end(settled, state)
    assert due_at(settled, 0) == 1


def test_a_lease_is_taken_once_and_ends(settled: Bench) -> None:
    (row,) = settled.rows()
    with settled.ledger.begin() as tx:
        assert commitments.claim(tx, row.id, "one", NOW)
        assert not commitments.claim(tx, row.id, "two", NOW)
    assert due_at(settled, commitments.LEASE_SECONDS - 1) == 0
    assert due_at(settled, commitments.LEASE_SECONDS) == 1
    with settled.ledger.begin() as tx:
        commitments.free(tx, "one")
    assert due_at(settled, commitments.SAME_ASSOCIATION_SECONDS) == 1


def test_asked_again_while_its_report_is_on_its_way_it_is_free_at_once(settled: Bench) -> None:
    """The try before holds a lease of two minutes and may conclude late: that is no answer to what was asked since."""
    (row,) = settled.rows()
    with settled.ledger.begin() as tx:
        assert commitments.claim(tx, row.id, "another", NOW)
    settled.ask("1.3")
    with settled.ledger.begin() as tx:
        commitments.reported(tx, row.id, 0)
    assert settled.rows()[0].state == CommitmentState.REQUESTED
    settled.settlement.apply(NOW)
    with settled.ledger.begin() as tx:
        assert commitments.claim(tx, row.id, LISTENER, NOW)


def test_a_request_older_than_a_day_that_is_read_again_changes_nothing(settled: Bench) -> None:
    (row,) = settled.rows()
    with settled.ledger.begin() as tx:
        commitments.reported(tx, row.id, 0)
        commitments.enter(tx, asked(), as_bytes(request(["1.3"])), LISTENER, NOW + commitments.GIVE_UP_SECONDS)
    assert settled.rows()[0].state == CommitmentState.REPORTED


def test_what_is_reported_is_never_due_again(settled: Bench) -> None:
    (row,) = settled.rows()
    with settled.ledger.begin() as tx:
        commitments.reported(tx, row.id, 0)
        assert not commitments.claim(tx, row.id, "one", NOW + 10**6)
    assert due_at(settled, 10**6) == 0
    assert settled.rows()[0].request == b""  # its data set is not kept


def test_an_association_that_ended_before_its_request_was_entered_stays_ended(bench: Bench) -> None:
    """Its records may stand in two segments."""
    with bench.ledger.begin() as tx:
        tx.execute(
            insert(association).values(
                association_id="a", listener=LISTENER, calling_ae_title="", state=AssociationState.RELEASED,
                last_record_at=0.0,
            )
        )  # fmt: skip
    bench.index("1.3")
    bench.ask("1.3")
    bench.settlement.apply(NOW)
    assert due_at(bench, 0) == 1
