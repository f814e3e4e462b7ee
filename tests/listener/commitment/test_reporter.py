"""Reports on associations of our own, to a requester that answers, refuses, sleeps or is not there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import select

from egfr_dls import settings as configuration
from egfr_dls.errors import ConfigurationError
from egfr_dls.ledger import Ledger, commitments
from egfr_dls.ledger.commitments import CommitmentState, DueReport
from egfr_dls.ledger.instances import AssociationState
from egfr_dls.ledger.schema import association, commitment
from egfr_dls.settings import Settings
from egfr_dls.spool.contract import CommitmentRequested
from listener.commitment import outcome as commitment_outcome
from listener.commitment import reporter as commitment_reporter
from listener.commitment.outcome import BACK_OFF_CAP_SECONDS, Address, back_off_seconds
from listener.commitment.reporter import Reporter, address_of
from tests.listener.certificates import SERVER, Authority, mutual
from tests.listener.requester import EXPLICIT, IMPLICIT, Requester, as_bytes, free_port, listening, request
from tests.system.waiting import wait_until

NAME = "listener-test"
# pynetdicom leaves the socket of a connection that was refused to the garbage collector
refused = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@dataclass
class Clock:
    """UTC seconds that a test moves."""

    now: float = field(default_factory=time.time)

    def __call__(self) -> float:
        return self.now


@dataclass
class Bench:
    """A ledger, a reporter's settings, and what was logged."""

    root: Path
    ledger: Ledger
    events: list[dict[str, Any]]
    clock: Clock
    peers: list[dict[str, Any]]
    destinations: list[dict[str, Any]] = field(default_factory=list)

    def settings(self) -> Settings:
        sections = {"storage": {"root": self.root}, "listener": {"peers": self.peers}}
        return configuration.load(None, {**sections, "destinations": self.destinations})

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Run a reporter until the block ends."""
        with Reporter(self.settings(), self.ledger, NAME, self.clock).running():
            yield

    def decide(
        self, *instances: str, title: str = "SCANNER", transaction: str = "1.2.3", missing: tuple[str, ...] = ()
    ) -> None:
        """Put a decided request into the ledger, whose association is over."""
        at = datetime.fromtimestamp(self.clock.now, UTC)
        entry = CommitmentRequested(transaction, EXPLICIT, title, "OUR_NAME", "127.0.0.1", transaction, at)
        with self.ledger.begin() as tx:
            commitments.enter(tx, entry, as_bytes(request(instances, transaction)), NAME, self.clock.now)
            row = commitments.undecided(tx, 100)[-1]
            commitments.settle(tx, row.id, dict.fromkeys(missing, 0x0112), self.clock.now)
            self.end(tx, AssociationState.RELEASED)

    def end(self, tx: Any, state: AssociationState) -> None:
        tx.execute(association.update().values(state=state))

    def row(self, transaction: str = "1.2.3") -> Any:
        """Return a request as it stands."""
        with self.ledger.read() as tx:
            return tx.execute(select(commitment).where(commitment.c.transaction_uid == transaction)).one()

    def wait_for(self, state: CommitmentState, transaction: str = "1.2.3", attempts: int = 0) -> Any:
        """Return the row once it stands so, unclaimed, after so many tries."""
        return wait_until(
            lambda: (
                (row := self.row(transaction)).state == state
                and row.sender is None
                and row.attempts >= attempts
                and row
            ),
            f"{state} after {attempts}",
        )

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [entry for entry in self.events if entry["event"] == event]


@pytest.fixture
def requester() -> Requester:
    """A requester that does not listen yet."""
    return Requester("SCANNER", free_port())


@pytest.fixture
def bench(tmp_path: Path, requester: Requester) -> Iterator[Bench]:
    """A bench that knows where the requester listens."""
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    peers = [{"ae_title": "SCANNER", "host": "127.0.0.1", "port": requester.port}]
    with structlog.testing.capture_logs() as events:
        yield Bench(tmp_path, ledger, events, Clock(), peers)
    ledger.close()


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_the_requester_hears_in_the_syntax_that_it_takes(bench: Bench, requester: Requester, syntax: str) -> None:
    bench.decide("1.3", "1.4", "1.5", missing=("1.4",))
    with listening(requester, [syntax]), bench.reporting():
        heard = requester.next()
        bench.wait_for(CommitmentState.REPORTED)
    assert (heard.event_type, heard.transaction_uid, heard.transfer_syntax_uid) == (2, "1.2.3", syntax)
    assert (heard.committed, heard.failed) == (["1.3", "1.5"], {"1.4": 0x0112})
    assert (heard.calling_ae_title, heard.called_ae_title) == ("OUR_NAME", "SCANNER")
    assert requester.heard.empty()
    assert [e["attempts"] for e in bench.logged("commitment_reported")] == [1]


def test_a_destination_with_tls_hears_by_tls(bench: Bench, requester: Requester, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    theirs, ours = authority.issue("pacs", SERVER, alternatives="IP:127.0.0.1"), authority.issue("node")
    context = mutual(theirs, authority)
    tls = {"ca": authority.certificate, "certificate": ours.certificate, "key": ours.key}
    bench.peers = []
    bench.destinations = [
        {"name": "pacs", "ae_title": "SCANNER", "host": "127.0.0.1", "port": requester.port, "tls": tls}
    ]
    bench.decide("1.3")
    with listening(requester, tls=context), bench.reporting():
        assert requester.next().committed == ["1.3"]
        bench.wait_for(CommitmentState.REPORTED)


def test_ten_thousand_instances_are_one_report(bench: Bench, requester: Requester) -> None:
    uids = [f"1.2.826.0.1.3680043.10.1.{n}" for n in range(10_000)]
    bench.decide(*uids)
    with listening(requester), bench.reporting():
        heard = requester.next()
        bench.wait_for(CommitmentState.REPORTED)
    assert (heard.event_type, heard.committed) == (1, uids)


@refused
def test_a_requester_that_was_down_hears_once_it_is_back(
    bench: Bench, requester: Requester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commitment_outcome, "BACK_OFF_FIRST_SECONDS", 0.05)
    monkeypatch.setattr(commitment_reporter, "POLL_SECONDS", 0.05)
    bench.decide("1.3")
    with Reporter(bench.settings(), bench.ledger, NAME).running():
        row = bench.wait_for(CommitmentState.SETTLED, attempts=2)
        assert row.reason == "UNREACHABLE"
        with listening(requester):
            assert requester.next().committed == ["1.3"]
            bench.wait_for(CommitmentState.REPORTED)
    assert {e["reason"] for e in bench.logged("commitment_postponed")} == {"UNREACHABLE"}


@refused
def test_one_that_is_down_keeps_nothing_from_another(bench: Bench, requester: Requester) -> None:
    bench.peers.append({"ae_title": "DOWN", "host": "127.0.0.1", "port": free_port()})
    for n in range(40):
        bench.decide("1.3", title="DOWN", transaction=f"9.{n}")
    bench.decide("1.3")
    with listening(requester), bench.reporting():
        assert requester.next().transaction_uid == "1.2.3"


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (0x0000, CommitmentState.REPORTED),
        (0x0107, CommitmentState.REPORTED),
        (0x0110, CommitmentState.SETTLED),
        (0x0213, CommitmentState.SETTLED),
        (0x0115, CommitmentState.DEAD),
        (0x0211, CommitmentState.DEAD),
    ],
)
def test_the_answer_decides(bench: Bench, requester: Requester, status: int, state: CommitmentState) -> None:
    requester.answers.append(status)
    bench.decide("1.3")
    with listening(requester), bench.reporting():
        requester.next()
        row = bench.wait_for(state, attempts=1)
    assert row.last_status == status


@refused
def test_a_day_of_tries_is_the_end(bench: Bench) -> None:
    bench.decide("1.3")
    bench.clock.now += commitments.GIVE_UP_SECONDS + 1
    with bench.reporting():
        row = bench.wait_for(CommitmentState.DEAD)
    assert row.reason == "UNREACHABLE"
    assert [e["reason"] for e in bench.logged("commitment_dead")] == ["UNREACHABLE"]


def test_a_requester_that_does_not_leave_us_the_scp_role(bench: Bench, requester: Requester) -> None:
    bench.decide("1.3")
    with listening(requester, takes_roles=False), bench.reporting():
        row = bench.wait_for(CommitmentState.SETTLED, attempts=1)
    assert row.reason in ("ROLE_NOT_ACCEPTED", "CLASS_NOT_ACCEPTED")
    assert requester.heard.empty()


def test_the_lease_of_a_process_that_was_killed_is_freed_by_the_next_of_its_name(
    bench: Bench, requester: Requester
) -> None:
    bench.decide("1.3")
    with bench.ledger.begin() as tx:
        assert commitments.claim(tx, bench.row().id, NAME, bench.clock.now)
    with listening(requester), bench.reporting():
        assert requester.next().committed == ["1.3"]
        assert bench.wait_for(CommitmentState.REPORTED).attempts == 2


def test_what_another_listener_is_sending_is_left_to_it(bench: Bench, requester: Requester) -> None:
    bench.decide("1.3")
    bench.decide("1.4", transaction="1.2.4")
    with bench.ledger.begin() as tx:
        assert commitments.claim(tx, bench.row().id, "listener-other", bench.clock.now)
    with listening(requester), bench.reporting():
        assert requester.next().transaction_uid == "1.2.4"
        bench.wait_for(CommitmentState.REPORTED, "1.2.4")
    assert requester.heard.empty()
    assert bench.row().sender == "listener-other"


def test_two_listeners_send_it_once(bench: Bench, requester: Requester) -> None:
    for n in range(12):
        bench.decide("1.3", transaction=f"1.2.{n}")
    other = Reporter(bench.settings(), bench.ledger, "listener-other", bench.clock)
    with listening(requester), bench.reporting(), other.running():
        heard = [requester.next().transaction_uid for _ in range(12)]
        for n in range(12):
            bench.wait_for(CommitmentState.REPORTED, f"1.2.{n}")
    assert sorted(heard) == sorted(f"1.2.{n}" for n in range(12))
    assert requester.heard.empty()


def test_without_an_address_it_ends_with_the_association_that_asked(bench: Bench) -> None:
    bench.peers.clear()
    bench.decide("1.3")
    with bench.ledger.begin() as tx:
        bench.end(tx, AssociationState.OPEN)
    bench.clock.now += 3600
    with bench.reporting():
        bench.decide("1.4", title="NOBODY", transaction="1.2.4")  # ends both
        assert bench.wait_for(CommitmentState.DEAD).reason == "NO_ADDRESS"
        assert bench.wait_for(CommitmentState.DEAD, "1.2.4").reason == "NO_ADDRESS"
    assert len(bench.logged("commitment_no_address")) == 2


def test_the_wait_doubles_to_five_minutes() -> None:
    waits = [back_off_seconds(n) for n in range(1, 60)]
    assert 4.5 <= waits[0] <= 5.0
    assert 9.0 <= waits[1] <= 10.0
    assert all(0.9 * BACK_OFF_CAP_SECONDS <= wait <= BACK_OFF_CAP_SECONDS for wait in waits[7:])


# --- where a requester is ---------------------------------------------------------------------------------------------

REPORT = DueReport(1, b"", EXPLICIT, {}, "SCANNER", "EGFR_DLS", "192.0.2.7", "a", False, 0.0, 0)
PACS = {"name": "pacs", "ae_title": "SCANNER", "host": "192.0.2.99", "port": 104}


def with_peers(root: Path, *peers: dict[str, Any], destinations: tuple[dict[str, Any], ...] = ()) -> Settings:
    return configuration.load(
        None, {"storage": {"root": root}, "listener": {"peers": list(peers)}, "destinations": list(destinations)}
    )


def test_of_two_peers_of_one_title_the_one_that_asked(tmp_path: Path) -> None:
    peers = [{"ae_title": "SCANNER", "host": f"192.0.2.{n}", "port": n} for n in (6, 7, 8)]
    assert address_of(with_peers(tmp_path, *peers), REPORT) == Address("192.0.2.7", 7)


def test_a_peer_without_a_port_leaves_it_to_the_destination(tmp_path: Path) -> None:
    peer = {"ae_title": "SCANNER", "host": "192.0.2.0/24"}
    assert address_of(with_peers(tmp_path, peer, destinations=(PACS,)), REPORT) == Address("192.0.2.99", 104)
    assert address_of(with_peers(tmp_path, peer), REPORT) is None
    web = {"name": "web", "transport": "stow", "url": "http://192.0.2.99/dicom-web"}
    assert address_of(with_peers(tmp_path, peer, destinations=(web,)), REPORT) is None
    other = {**PACS, "ae_title": "OTHER"}
    assert address_of(with_peers(tmp_path, peer, destinations=(other,)), REPORT) is None


def test_a_port_of_a_whole_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"port 104 with host '192\.0\.2\.0/24'"):
        with_peers(tmp_path, {"ae_title": "SCANNER", "host": "192.0.2.0/24", "port": 104})
