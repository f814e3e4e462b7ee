"""The rows of deliveries: what a person's hand changes, and that a forbidden step writes nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import literal, select, text

from egfr_dls.delivery import DEMONSTRATION, TRANSITIONS, WAITING, DeliveryState
from egfr_dls.ledger import Tx, deliveries, destinations, results, studies
from egfr_dls.ledger.results import BuiltObject
from egfr_dls.ledger.schema import built_object, delivery
from egfr_dls.study import Priority

NOW, DAY = 1_700_000_000.0, 86_400.0
OPERATE = Path(__file__).parents[3] / "docs" / "how-to" / "operate.md"


@pytest.fixture
def tx(tx: Tx) -> Tx:
    """A transaction on a ledger with two studies, "1" and "2", whose SEG, pages and report are queued for one PACS."""
    for study in ("1", "2"):
        studies.ensure(tx, study, b"key", NOW)
        findings = results.add_findings(tx, study, "pet_ct_egfr", study, "{}", "e", NOW)
        assert findings is not None
        built = [BuiltObject(f"{study}.{k}", "9", "8", "7", k, f"sha-{study}-{k}", NOW) for k in KINDS]
        results.add_objects(tx, findings, study, built)
        deliveries.queue(tx, [b.sop_instance_uid for b in built], "pacs", NOW)
    destinations.claim(tx, "pacs", "w", NOW, 1.0)
    return tx


KINDS = ("roi", "pages", "report")
# pages of a service without destinations: a copy of "1.pages" for which no delivery is kept
UNSENT = select(*(literal("unsent") if c.name in ("sop_instance_uid", "sha256") else c for c in built_object.c)).where(
    built_object.c.sop_instance_uid == "1.pages"
)


def rows(tx: Tx, study: str) -> list[Any]:
    """Return a study's delivery rows."""
    return deliveries.of_study(tx, study)


def put(tx: Tx, uid: str, state: DeliveryState) -> None:
    """Set a state, whatever the table says."""
    tx.execute(delivery.update().where(delivery.c.sop_instance_uid == uid).values(state=state, attempts=4))


@pytest.mark.parametrize("start", DeliveryState)
@pytest.mark.parametrize("to", DeliveryState)
def test_only_what_the_table_allows_is_written_and_the_caller_is_told(
    tx: Tx, start: DeliveryState, to: DeliveryState
) -> None:
    put(tx, "1.roi", start)
    attempts = deliveries.settle(tx, "1.roi", "pacs", to)
    allowed = start in WAITING and to in TRANSITIONS[start]  # what is stored leads on by its proof only
    assert attempts == (4 if allowed else None)
    assert tx.scalar(select(delivery.c.state).where(delivery.c.sop_instance_uid == "1.roi")) == (
        to if allowed else start
    )


def test_an_attempt_is_counted_only_where_it_may_begin(tx: Tx) -> None:
    assert deliveries.begin_attempt(tx, "1.roi", "pacs", NOW) == 1
    assert deliveries.begin_attempt(tx, "1.roi", "pacs", NOW) == 2
    deliveries.settle(tx, "1.roi", "pacs", DeliveryState.STORED)
    assert deliveries.begin_attempt(tx, "1.roi", "pacs", NOW) is None


def test_retry_of_one_study_begins_the_day_of_all_that_waited_at_its_parked_destination(tx: Tx) -> None:
    """Else everything that waited longer than a day would be dead at the first failure after it opens."""
    for study in ("1", "2"):
        for kind in KINDS:
            deliveries.note_try(tx, f"{study}.{kind}", "pacs", NOW, "CALLED_AE_TITLE_NOT_RECOGNISED")
    destinations.park(tx, "pacs", "CALLED_AE_TITLE_NOT_RECOGNISED")
    deliveries.revive(tx, "1", NOW + 2 * DAY, demonstrations=False)
    assert destinations.parked_reasons(tx) == {"pacs": None}
    assert {r.first_try_at for study in ("1", "2") for r in rows(tx, study)} == {None}


def test_retry_leaves_the_day_of_other_studies_at_an_open_destination(tx: Tx) -> None:
    for study in ("1", "2"):
        deliveries.note_try(tx, f"{study}.report", "pacs", NOW, "UNREACHABLE")
    deliveries.revive(tx, "1", NOW + 60, demonstrations=False)
    assert [r.first_try_at for r in rows(tx, "1") if r.kind == "report"] == [None]
    assert [r.first_try_at for r in rows(tx, "2") if r.kind == "report"] == [NOW]


@pytest.mark.parametrize(
    ("state", "stuck"), [(s, s in (DeliveryState.PARKED, DeliveryState.DEAD)) for s in DeliveryState]
)
def test_stuck_studies(tx: Tx, state: DeliveryState, stuck: bool) -> None:
    put(tx, "2.pages", state)
    assert deliveries.stuck_studies(tx, demonstrations=False) == (["2"] if stuck else [])


def test_whatever_waits_at_a_parked_destination_is_stuck(tx: Tx) -> None:
    for kind in KINDS:
        put(tx, f"1.{kind}", DeliveryState.STORED)
    destinations.park(tx, "pacs", "REJECTED_WITHOUT_REASON")
    assert deliveries.stuck_studies(tx, demonstrations=False) == ["2"]
    assert destinations.parked_reasons(tx, "2") == {"pacs": "REJECTED_WITHOUT_REASON"}


def test_demonstrations_are_stuck_only_where_they_may_go(tx: Tx) -> None:
    deliveries.settle(tx, "1.report", "pacs", DeliveryState.PARKED, reason=DEMONSTRATION)
    assert deliveries.stuck_studies(tx, demonstrations=False) == []
    assert deliveries.stuck_studies(tx, demonstrations=True) == ["1"]


def test_only_a_seg_holds_a_report_back(tx: Tx) -> None:
    assert deliveries.report_waits(tx, "1.roi", "pacs")
    assert not deliveries.report_waits(tx, "1.pages", "pacs")
    put(tx, "1.report", DeliveryState.STORED)
    assert not deliveries.report_waits(tx, "1.roi", "pacs")


def test_an_urgent_study_goes_before_an_older_one(tx: Tx) -> None:
    studies.set_priority(tx, "2", Priority.STAT)
    assert [d.study_instance_uid for d in deliveries.due(tx, "pacs", NOW)] == ["2"] * 3 + ["1"] * 3
    studies.set_priority(tx, "2", Priority.BACKFILL)
    assert [d.study_instance_uid for d in deliveries.due(tx, "pacs", NOW)] == ["1"] * 3 + ["2"] * 3


def test_the_documented_list_of_pages_names_only_those_that_are_everywhere(tx: Tx) -> None:
    """`operate.md` lets an operator delete these files: never one that is still to be sent, or was never to be sent."""
    put(tx, "1.pages", DeliveryState.STORED)
    deliveries.queue(tx, ["1.pages"], "second", NOW)
    put(tx, "2.pages", DeliveryState.STORED)
    tx.execute(built_object.insert().from_select(list(built_object.c.keys()), UNSENT))
    (statement,) = re.findall(r'ledger\.sqlite "(SELECT sha256.+?)"', OPERATE.read_text(encoding="utf-8"), re.S)
    assert tx.execute(text(statement)).scalars().all() == ["sha-2-pages"]
