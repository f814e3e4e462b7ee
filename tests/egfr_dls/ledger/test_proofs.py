"""Proof of what is stored: what is owed, what was asked and heard, and what follows from it in the tables."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from egfr_dls.delivery import NOT_PROVEN, TRANSITIONS, DeliveryState
from egfr_dls.ledger import Tx, counts, deliveries, destinations, proofs, results, studies
from egfr_dls.ledger.results import BuiltObject
from egfr_dls.ledger.schema import delivery

NOW = 1_700_000_000.0


@pytest.fixture
def tx(tx: Tx) -> Tx:
    """A ledger with one study, whose SEG and report are stored at one PACS and owe a proof."""
    studies.ensure(tx, "1", b"key", NOW)
    findings = results.add_findings(tx, "1", "pet_ct_egfr", "1", "{}", "e", NOW)
    assert findings is not None
    results.add_objects(tx, findings, "1", [BuiltObject(f"1.{k}", "9", "8", "7", k, k, NOW) for k in ("roi", "report")])
    deliveries.queue(tx, ["1.roi", "1.report"], "pacs", NOW)
    destinations.claim(tx, "pacs", "w", NOW, 1.0)
    for uid in ("1.roi", "1.report"):
        deliveries.begin_attempt(tx, uid, "pacs", NOW)
        deliveries.settle(tx, uid, "pacs", DeliveryState.STORED, status=0xB000, reason="COERCED", proof_due_at=NOW)
    return tx


def ask(tx: Tx, transaction_uid: str = "2.25.1", at: float = NOW) -> None:
    """Ask for the commitment of what is due."""
    proofs.ask(tx, transaction_uid, "pacs", proofs.due(tx, "pacs", at), at, at + 60)


def row(tx: Tx, uid: str) -> tuple[str, str, int]:
    """Return state, reason and absences of a delivery."""
    found = tx.execute(select(delivery).where(delivery.c.sop_instance_uid == uid)).one()
    return found.state, found.reason, found.absences


def test_what_is_stored_and_owes_a_proof_is_not_over(tx: Tx) -> None:
    assert [p.sop_instance_uid for p in proofs.due(tx, "pacs", NOW)] == ["1.roi", "1.report"]
    assert proofs.due(tx, "pacs", NOW - 1) == proofs.due(tx, "other", NOW) == []
    assert not deliveries.report_arrived(tx, "1", ["pacs"])
    assert deliveries.anything_left(tx, "1")
    for uid in ("1.roi", "1.report"):
        proofs.settle(tx, uid, "pacs", DeliveryState.VERIFIED, NOW)
    assert deliveries.report_arrived(tx, "1", ["pacs"])
    assert not deliveries.anything_left(tx, "1")


def test_what_was_asked_is_due_again_when_no_report_comes(tx: Tx) -> None:
    ask(tx)
    assert proofs.due(tx, "pacs", NOW + 59) == []
    assert [p.tries for p in proofs.due(tx, "pacs", NOW + 60)] == [1, 1]


def test_a_report_stands_until_it_is_concluded_and_may_come_twice(tx: Tx) -> None:
    ask(tx)
    assert not proofs.all_heard(tx, ["2.25.1"])
    for _ in range(2):
        assert proofs.hear(tx, "2.25.1", ["1.report"], {"1.roi": 0x0112})
    (report,) = proofs.heard(tx, "pacs")
    assert proofs.all_heard(tx, ["2.25.1"])
    assert [p.sop_instance_uid for p in report.asked_of] == ["1.roi", "1.report"]
    assert (report.committed, report.failures) == ({"1.report"}, {"1.roi": 0x0112})
    proofs.conclude(tx, "2.25.1")
    assert proofs.hear(tx, "2.25.1", ["1.roi", "1.report"], {})  # known, and too late to change anything
    assert proofs.heard(tx, "pacs") == []


def test_nobody_asked_for_an_unknown_transaction(tx: Tx) -> None:
    assert not proofs.hear(tx, "2.25.404", ["1.report"], {})
    assert proofs.heard(tx, "pacs") == []


def test_a_report_names_only_what_is_not_proven_yet(tx: Tx) -> None:
    ask(tx)
    proofs.settle(tx, "1.roi", "pacs", DeliveryState.VERIFIED, NOW)
    proofs.hear(tx, "2.25.1", ["1.roi", "1.report"], {})
    (report,) = proofs.heard(tx, "pacs")
    assert [p.sop_instance_uid for p in report.asked_of] == ["1.report"]


@pytest.mark.parametrize("to", sorted(TRANSITIONS[DeliveryState.STORED]))
def test_a_proof_leads_on_from_stored_only_and_once(tx: Tx, to: DeliveryState) -> None:
    assert proofs.settle(tx, "1.roi", "pacs", to, NOW) == 1
    assert row(tx, "1.roi") == (to, "COERCED", int(to is DeliveryState.QUEUED))
    assert proofs.settle(tx, "1.roi", "pacs", DeliveryState.COMMITTED, NOW) is None


def test_what_could_not_be_proven_is_over_until_an_operator_asks_again_or_a_report_comes(tx: Tx) -> None:
    ask(tx)
    for uid in ("1.roi", "1.report"):
        proofs.give_up(tx, uid, "pacs", NOT_PROVEN)
    assert deliveries.report_arrived(tx, "1", ["pacs"])
    assert counts.not_proven(tx) == {("pacs",): 2}
    assert counts.asked_commitments(tx) == {("pacs", "asked"): 1}
    assert deliveries.stuck_studies(tx, demonstrations=False) == ["1"]
    proofs.hear(tx, "2.25.1", ["1.roi"], {})
    (report,) = proofs.heard(tx, "pacs")
    assert len(report.asked_of) == 2
    proofs.settle(tx, "1.roi", "pacs", DeliveryState.COMMITTED, NOW)
    assert row(tx, "1.roi") == ("committed", "", 0)
    assert deliveries.revive(tx, "1", NOW, demonstrations=False) == 1
    assert [(p.sop_instance_uid, p.tries) for p in proofs.due(tx, "pacs", NOW)] == [("1.report", 0)]


def test_what_was_proven_is_never_taken_back_by_a_late_answer(tx: Tx) -> None:
    proofs.settle(tx, "1.roi", "pacs", DeliveryState.COMMITTED, NOW)
    proofs.postpone(tx, "1.roi", "pacs", NOW)
    proofs.give_up(tx, "1.roi", "pacs", NOT_PROVEN)
    assert deliveries.settle(tx, "1.roi", "pacs", DeliveryState.QUEUED) is None
    assert row(tx, "1.roi")[0] == "committed"
    assert [p.sop_instance_uid for p in proofs.due(tx, "pacs", NOW)] == ["1.report"]
