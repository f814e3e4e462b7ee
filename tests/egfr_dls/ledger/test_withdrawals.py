"""What a withdrawal changes in the tables: nothing of the result goes any more, and what was sent of it is known."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from egfr_dls.delivery import NOT_PROVEN, THERE, DeliveryState
from egfr_dls.ledger import Tx, deliveries, patients, proofs, results, retrievals, studies, withdrawals
from egfr_dls.ledger.patients import PatientStudy
from egfr_dls.ledger.results import BuiltObject
from egfr_dls.ledger.retrievals import DueRetrieval
from egfr_dls.ledger.schema import delivery
from egfr_dls.ledger.withdrawals import RejectedFor, SentObject, Withdrawal

NOW = 1_700_000_000.0
KINDS = ("roi", "report", "pages")


def result(tx: Tx, revision: int, study: str = "1", *destinations: str) -> int:
    """Enter a revision whose SEG, report and pages are queued; return the findings' id."""
    studies.ensure(tx, study, b"key", NOW)
    row = results.add_findings(tx, study, "pet_ct_egfr", f"{study}-{revision}", "{}", "e", NOW)
    assert row is not None
    built = [BuiltObject(uid(revision, k, study), "9", "8", "7", k, f"sha-{revision}-{k}", NOW) for k in KINDS]
    results.add_objects(tx, row, study, built)
    for name in destinations or ("pacs",):
        deliveries.queue(tx, [made.sop_instance_uid for made in built], name, NOW)
    return row


def uid(revision: int, kind: str, study: str = "1") -> str:
    return f"{study}.{revision}.{kind}"


def put(tx: Tx, sop_instance_uid: str, state: DeliveryState, attempts: int = 1, destination: str = "pacs") -> None:
    """Set a state, whatever the table of transitions says."""
    tx.execute(
        delivery.update()
        .where(delivery.c.sop_instance_uid == sop_instance_uid, delivery.c.destination == destination)
        .values(state=state, attempts=attempts, proof_due_at=NOW if state is DeliveryState.STORED else None)
    )


def withdraw(tx: Tx, through: int) -> Withdrawal:
    return withdrawals.withdraw(tx, "1", through, RejectedFor.QUALITY, "wrong", "Rita", NOW)


def states(tx: Tx) -> dict[str, str]:
    return {row.sop_instance_uid: row.state for row in tx.execute(select(delivery))}


@pytest.mark.parametrize("state", DeliveryState)
def test_what_waits_is_cancelled_and_what_is_there_stays(tx: Tx, state: DeliveryState) -> None:
    through = result(tx, 1)
    put(tx, uid(1, "report"), state)
    withdraw(tx, through)
    stays = state in (*THERE, DeliveryState.NOT_ACCEPTED)
    assert states(tx)[uid(1, "report")] == (state if stays else "withdrawn")
    assert deliveries.due(tx, "pacs", NOW + 1e9) == []
    assert proofs.due(tx, "pacs", NOW + 1e9) == []
    assert not deliveries.anything_left(tx, "1")
    assert deliveries.report_arrived(tx, "1", ["pacs"]), "nothing more is awaited of it"
    deliveries.revive(tx, "1", NOW, demonstrations=True)
    assert deliveries.due(tx, "pacs", NOW + 1e9) == []


def test_a_proof_that_was_given_up_asks_for_nobody_any_more(tx: Tx) -> None:
    through = result(tx, 1)
    put(tx, uid(1, "report"), DeliveryState.STORED)
    proofs.give_up(tx, uid(1, "report"), "pacs", NOT_PROVEN)
    assert deliveries.stuck_studies(tx, demonstrations=False) == ["1"]
    withdraw(tx, through)
    assert deliveries.stuck_studies(tx, demonstrations=False) == []


def test_what_a_destination_has_or_may_have_is_what_the_note_has_to_name(tx: Tx) -> None:
    """A request that left and had no answer may have arrived; what never left needs no note."""
    through = result(tx, 1, "1", "pacs", "other", "down")
    put(tx, uid(1, "report"), DeliveryState.COMMITTED)
    put(tx, uid(1, "roi"), DeliveryState.SENT)
    put(tx, uid(1, "pages"), DeliveryState.QUEUED, attempts=0)
    put(tx, uid(1, "report"), DeliveryState.DEAD, destination="other")
    made = withdraw(tx, through)
    assert withdrawals.sent(tx, made) == {
        "other": (SentObject(uid(1, "report"), "sha-1-report"),),
        "pacs": (SentObject(uid(1, "report"), "sha-1-report"), SentObject(uid(1, "roi"), "sha-1-roi")),
    }


def test_retry_keeps_that_a_request_has_left(tx: Tx) -> None:
    through = result(tx, 1)
    put(tx, uid(1, "report"), DeliveryState.DEAD, attempts=30)
    deliveries.revive(tx, "1", NOW, demonstrations=False)
    assert list(withdrawals.sent(tx, withdraw(tx, through))) == ["pacs"]


def test_a_withdrawal_covers_the_revisions_before_and_none_after(tx: Tx) -> None:
    """Else a viewer that hides the rejected report would show the one that it had replaced."""
    first, second = result(tx, 1), result(tx, 2)
    for revision in (1, 2):
        put(tx, uid(revision, "report"), DeliveryState.STORED)
    made = withdraw(tx, second)
    assert [one.sop_instance_uid for one in withdrawals.sent(tx, made)["pacs"]] == [uid(2, "report"), uid(1, "report")]
    third = result(tx, 3)
    assert [withdrawals.of_findings(tx, "1", f) for f in (first, second, third)] == [made, made, None]
    assert states(tx)[uid(3, "report")] == "queued"
    assert withdrawals.standing(tx) == {}, "the newest revision stands"
    assert [withdrawals.is_withdrawn(tx, uid(r, "report")) for r in (1, 2, 3)] == [True, True, False]

    put(tx, uid(3, "report"), DeliveryState.STORED)
    later = withdraw(tx, third)
    assert (made.number, later.number) == (1, 2)
    assert [one.sop_instance_uid for one in withdrawals.sent(tx, later)["pacs"]] == [uid(3, "report")]
    assert withdrawals.sent(tx, made)["pacs"][0].sop_instance_uid == uid(2, "report"), "as it was"
    assert withdrawals.standing(tx) == {"1": NOW}


def test_another_study_is_left_alone(tx: Tx) -> None:
    result(tx, 1, "2")
    withdraw(tx, result(tx, 1))
    assert states(tx)[uid(1, "report", "2")] == "queued"
    assert withdrawals.standing(tx) == {"1": NOW}


def test_the_note_itself_is_sent_and_proven(tx: Tx) -> None:
    through = result(tx, 1)
    made = withdraw(tx, through)
    note = BuiltObject("1.note", "9", "8", "7", withdrawals.NOTE, "sha", NOW)
    results.add_objects(tx, through, "1", [note])
    deliveries.queue(tx, ["1.note"], "pacs", NOW)
    assert [due.sop_instance_uid for due in deliveries.due(tx, "pacs", NOW)] == ["1.note"]
    assert not withdrawals.is_withdrawn(tx, "1.note")
    assert withdrawals.sent(tx, made) == {}
    put(tx, "1.note", DeliveryState.PARKED)
    assert deliveries.stuck_studies(tx, demonstrations=False) == ["1"]


def test_a_later_report_is_told_that_the_one_before_was_withdrawn(tx: Tx) -> None:
    withdraw(tx, result(tx, 1))
    result(tx, 2)
    result(tx, 3)
    (before,) = results.predecessors(tx, "1", "pet_ct_egfr", 2)
    assert (before.sop_instance_uid, before.withdrawn) == (uid(1, "report"), 1)
    (before,) = results.predecessors(tx, "1", "pet_ct_egfr", 3)
    assert (before.sop_instance_uid, before.withdrawn) == (uid(2, "report"), 0)


def test_a_withdrawn_result_is_no_prior_of_a_later_study(tx: Tx) -> None:
    through = result(tx, 1)
    patients.enter(tx, "1", PatientStudy("k", "20250101", ""))
    today = PatientStudy("k", "20250601", "")
    assert [study for study, *_ in patients.earlier(tx, "2", today, "pet_ct_egfr")] == ["1"]
    withdraw(tx, through)
    assert patients.earlier(tx, "2", today, "pet_ct_egfr") == []
    result(tx, 2)
    assert [study for study, *_ in patients.earlier(tx, "2", today, "pet_ct_egfr")] == ["1"]


def test_a_withdrawn_report_that_a_source_gives_back_is_no_prior(tx: Tx) -> None:
    through = result(tx, 1)
    studies.ensure(tx, "2", b"key", NOW)
    asked = DueRetrieval("2", "k", "archive", 1)
    retrievals.keep_reports(tx, asked, {uid(1, "report"): "sha-1-report"}, came=True)
    assert retrievals.reports(tx, "2") == [("archive", "sha-1-report")]
    withdraw(tx, through)
    assert retrievals.reports(tx, "2") == []
