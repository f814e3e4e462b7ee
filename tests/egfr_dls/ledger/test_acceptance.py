"""What a destination accepted is remembered; what waits there can be taken back, and nothing else."""

from __future__ import annotations

from sqlalchemy import select

from egfr_dls.delivery import DeliveryState
from egfr_dls.ledger import Tx, acceptance, deliveries, results, studies
from egfr_dls.ledger.results import BuiltObject
from egfr_dls.ledger.schema import delivery

NOW = 1_700_000_000.0


def built(tx: Tx, study: str, revision: int, *kinds: str) -> int:
    """Enter findings with objects of these kinds, queued for two destinations; return the findings' id."""
    studies.ensure(tx, study, b"key", NOW)
    row = results.add_findings(tx, study, "pet_ct_egfr", f"{study}-{revision}", "{}", "e", NOW)
    assert row is not None
    objects = [BuiltObject(f"{study}.{revision}.{kind}", "9", f"1.{kind}", "7", kind, "sha", NOW) for kind in kinds]
    results.add_objects(tx, row, study, objects)
    for name in ("pacs", "other"):
        deliveries.queue(tx, [made.sop_instance_uid for made in objects], name, NOW)
    return row


def left(tx: Tx, name: str) -> set[str]:
    return set(tx.scalars(select(delivery.c.sop_instance_uid).where(delivery.c.destination == name)))


def test_what_was_accepted_last_is_known_by_destination(tx: Tx) -> None:
    assert acceptance.known(tx, "pacs") is None
    acceptance.record(tx, "pacs", ["1.2", "1.1"], NOW)
    acceptance.record(tx, "pacs", ["1.3"], NOW + 1)
    acceptance.record(tx, "other", [], NOW)
    assert acceptance.known(tx, "pacs") == {"1.3"}
    assert acceptance.known(tx, "other") == frozenset()


def test_what_waits_of_a_report_is_taken_back_where_any_of_it_is_of_these_classes(tx: Tx) -> None:
    first, second = built(tx, "1", 1, "roi", "report"), built(tx, "2", 1, "report", "pages")
    built(tx, "3", 1, "pages")
    built(tx, "4", 1, "report")
    deliveries.begin_attempt(tx, "1.1.roi", "pacs", NOW)
    deliveries.settle(tx, "1.1.roi", "pacs", DeliveryState.STORED)
    deliveries.settle(tx, "4.1.report", "pacs", DeliveryState.PARKED)
    assert acceptance.take_back(tx, "pacs", ["1.report"]) == [(first, "1"), (second, "2")]
    assert left(tx, "pacs") == {"1.1.roi", "3.1.pages", "4.1.report"}
    assert len(left(tx, "other")) == 6
    assert acceptance.take_back(tx, "pacs", ["1.report"]) == []


def test_a_rejection_note_stays_as_it_is(tx: Tx) -> None:
    row = built(tx, "1", 1, "report", "rejection")
    assert acceptance.take_back(tx, "pacs", ["1.report"]) == [(row, "1")]
    assert left(tx, "pacs") == {"1.1.rejection"}
