"""A destination that cannot be reached, rejects, or must not get a result: what is parked, probed, and counted."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import structlog

from egfr_dls.delivery import DEMONSTRATION
from egfr_dls.ledger import deliveries
from egfr_dls.study import StudyState
from reporting.probing import PROBE_CAP_SECONDS
from reporting.stage import is_loopback
from tests.reporting.deliveries import (
    START,
    Desk,
    ScriptedPacs,
    desk,
    object_uid,
    pass_time,
    reject,
    scripted_pacs,
    study_uid,
)

ROI, PAGES, REPORT = (object_uid(1, kind) for kind in ("roi", "pages", "report"))
ALL_STORED = {"roi": "stored", "pages": "stored", "report": "stored"}


@pytest.mark.parametrize(
    ("triple", "reason"),
    [
        ((1, 1, 2), "APPLICATION_CONTEXT_NOT_SUPPORTED"),
        ((1, 1, 3), "CALLING_AE_TITLE_NOT_RECOGNISED"),
        ((1, 1, 7), "CALLED_AE_TITLE_NOT_RECOGNISED"),
        ((1, 2, 2), "PROTOCOL_VERSION_NOT_SUPPORTED"),
    ],
)
def test_permanent_rejection_parks_the_destination(
    work: Desk, pacs: ScriptedPacs, monkeypatch: pytest.MonkeyPatch, triple: tuple[int, int, int], reason: str
) -> None:
    reject(monkeypatch, *triple)
    sender = work.sender()
    with structlog.testing.capture_logs() as events:
        assert work.send(sender) == 0
    assert work.parked() == reason
    assert ("destination_parked", "error") in [(e["event"], e["log_level"]) for e in events]
    monkeypatch.undo()
    pass_time(work, sender, 3)
    assert pacs.uids() == []  # until a person has looked
    with work.store.ledger.begin() as tx:
        deliveries.revive(tx, study_uid(1), work.now, demonstrations=False)
    work.send(sender)
    assert work.states() == ALL_STORED


@pytest.mark.parametrize("triple", [(2, 3, 1), (2, 3, 2), (2, 1, 1)])
def test_transient_rejection_is_tried_again(
    work: Desk, monkeypatch: pytest.MonkeyPatch, triple: tuple[int, int, int]
) -> None:
    reject(monkeypatch, *triple)
    sender = work.sender()
    pass_time(work, sender, 5, seconds=11)
    assert work.parked() == ""
    assert {(r.state, r.attempts, r.reason) for r in work.rows().values()} == {("queued", 0, "ASSOCIATION_REJECTED")}
    monkeypatch.undo()
    work.send(sender)
    assert work.states() == ALL_STORED


def test_permanent_rejection_without_a_reason_parks_after_three(work: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    reject(monkeypatch, 1, 1, 1)
    sender = work.sender()
    pass_time(work, sender, 2, seconds=11)
    assert work.parked() == ""
    work.send(sender)
    assert work.parked() == "REJECTED_WITHOUT_REASON"


# pynetdicom drops the socket of a refused connection without closing it (transport.py, AssociationSocket.connect).
refused = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def closed_port() -> int:
    """Return a port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@refused
def test_unreachable_destination_is_probed_within_ten_seconds_and_nothing_is_counted(tmp_path: Path) -> None:
    port = closed_port()
    with desk(tmp_path, port) as work:
        work.keep()
        sender, waits = work.sender(), []
        for _ in range(8):
            assert work.send(sender) == 0
            waits.append(sender._probing.at - work.now)
            assert work.send(sender) == 0  # too early: it is not called again
            work.now = sender._probing.at
        assert all(0 < wait <= PROBE_CAP_SECONDS for wait in waits)
        assert waits[0] <= 1
        assert waits[-1] >= 8
        rows = work.rows().values()
        assert {(r.state, r.attempts, r.reason, r.first_try_at) for r in rows} == {("queued", 0, "UNREACHABLE", START)}
        with scripted_pacs(ScriptedPacs(port)):
            assert work.send(sender) == 3
        assert work.states() == ALL_STORED


def test_name_that_does_not_resolve_is_unreachable(tmp_path: Path) -> None:
    with desk(tmp_path, 104, host="no-such-host.invalid") as work:
        work.keep()
        assert work.send() == 0
        assert {(r.state, r.reason) for r in work.rows().values()} == {("queued", "NAME_NOT_RESOLVED")}


@refused
def test_dead_destination_does_not_hold_the_other_one_back(tmp_path: Path) -> None:
    with scripted_pacs() as pacs, desk(tmp_path, closed_port(), pacs.port) as work:
        work.keep()
        work.send(work.sender("pacs"))
        work.send(work.sender("second"))
        assert set(work.states(destination="pacs").values()) == {"queued"}
        assert work.states(destination="second") == ALL_STORED
        assert work.study_state() is StudyState.SCORED  # both are required


def test_demonstration_results_stay_and_retry_does_not_free_them(tmp_path: Path) -> None:
    with scripted_pacs() as pacs, desk(tmp_path, pacs.port) as work:
        work.keep(parked=DEMONSTRATION)
        with work.store.ledger.begin() as tx:
            assert deliveries.revive(tx, study_uid(1), work.now, demonstrations=False) == 0
        assert work.send() == 0
        assert pacs.associations == 0
        with work.store.ledger.begin() as tx:
            assert deliveries.revive(tx, study_uid(1), work.now, demonstrations=True) == 3
        assert work.send() == 3


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", True),
        ("pacs", False),
        ("192.0.2.1", False),
    ],
)
def test_loopback_is_judged_as_written(host: str, ours: bool) -> None:
    assert is_loopback(host) is ours
