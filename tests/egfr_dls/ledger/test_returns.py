"""What of a study that retention gave up has come again: images by series, regions by their contents."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import delete, select

from egfr_dls.ledger import Tx, arrivals, results, retention, returns, schema, studies
from egfr_dls.ledger.arrivals import IndexedInstance
from egfr_dls.ledger.returns import Came
from egfr_dls.study import ReceivedInstance, SpoolRef

STUDY = "1.2"
AT = datetime(2026, 1, 2, tzinfo=UTC)
WHOLE = ("CT 1", "CT 2", "PT 1", "PT 2", "SEG 1")


@pytest.fixture
def tx(tx: Tx) -> Tx:
    """A ledger that knows a study with a result, whose instances were given up."""
    receive(tx, *WHOLE)
    results.add_findings(tx, STUDY, "pet_ct_egfr", "d", "{}", "e", 0.0)
    retention.release(tx, STUDY, 100.0)
    return tx


def receive(tx: Tx, *names: str) -> None:
    """Receive instances, each named by modality and number; "SEG 1b" is another content than "SEG 1" under its UID."""
    for name in names:
        modality, number = name.split()
        uid = f"1.2.{sum(map(ord, modality))}"
        entry = ReceivedInstance(
            "1.2.840.10008.5.1.4.1.1.2", f"{uid}.{number.rstrip('b')}", STUDY, uid, modality, "1.2.840.10008.1.2.1",
            "SCANNER", "EGFR_DLS", "127.0.0.1", "a", AT,
        )  # fmt: skip
        arrivals.enter(tx, [IndexedInstance(entry, SpoolRef("s", 0, 1), name, own=False)], b"key", "listener-1")


def is_released(tx: Tx) -> bool:
    return studies.released_at(tx, STUDY) is not None


@pytest.mark.parametrize(
    ("came", "what"),
    [
        ((), Came.NOTHING),
        (("CT 1",), Came.PART),
        (("CT 3",), Came.PART),  # of a series that went
        (("PT 1", "SEG 2"), Came.PART),
        (("SEG 2",), Came.REGION),
        (("SEG 1b",), Came.REGION),  # corrected, under its old UID
        (("RTSTRUCT 1",), Came.REGION),
        (("SEG 1",), Came.NOTHING),  # it was scored
        (("SEG 1", "SEG 2"), Came.REGION),
        (("MR 1",), Came.NOTHING),
        (("SR 1",), Came.NOTHING),
    ],
)
def test_what_is_here(tx: Tx, came: tuple[str, ...], what: Came) -> None:
    receive(tx, *came)
    assert returns.came(tx, STUDY) is what
    assert studies.snapshot(tx, STUDY).released is what


@pytest.mark.parametrize(
    ("came", "whole"),
    [
        (WHOLE, True),
        (WHOLE[1:], False),
        (("CT 1", "CT 2", "PT 1", "SEG 1", "SEG 2"), False),  # as many as went, and no whole PET
        (("CT 1", "CT 2", "CT 3", "PT 1", "SEG 1"), False),
        (("CT 1", "CT 3", "PT 1", "PT 2", "SEG 1"), True),  # a slice was replaced by another
        (("CT 1", "CT 2", "PT 1", "PT 2"), False),  # the region that was scored is still to come
        (("CT 1", "CT 2", "PT 1", "PT 2", "SEG 2"), True),  # or a newer one in its place
        (("CT 1", "CT 2", "PT 1", "PT 2", "SEG 1b"), True),
        ((*WHOLE, "SEG 2", "MR 1"), True),
    ],
)
def test_when_it_has_come_again(tx: Tx, came: tuple[str, ...], whole: bool) -> None:
    receive(tx, *came)
    assert is_released(tx) is not whole
    assert (returns.came(tx, STUDY) is None) is whole
    left = tx.execute(select(schema.released_series)).all()
    assert (left == []) is whole


def test_a_part_that_goes_again_takes_nothing_from_the_whole(tx: Tx) -> None:
    receive(tx, "CT 1", "SEG 2")
    retention.release(tx, STUDY, 200.0)
    assert studies.released_at(tx, STUDY) == 200.0
    receive(tx, "CT 1", "PT 1", "PT 2", "SEG 1", "SEG 2")
    assert returns.came(tx, STUDY) is Came.PART
    receive(tx, "CT 2")
    assert returns.came(tx, STUDY) is None


def test_a_region_that_came_late_and_went_again_is_known_when_it_comes_again(tx: Tx) -> None:
    receive(tx, "SEG 2")
    retention.release(tx, STUDY, 200.0)
    receive(tx, "SEG 2", "SEG 1")
    assert returns.came(tx, STUDY) is Came.NOTHING, "neither of the two is new"


def test_a_study_without_a_result_has_nothing_that_stands(tx: Tx) -> None:
    """A CT alone, say: what comes later is decided as ever."""
    tx.execute(delete(schema.findings))
    receive(tx, "CT 1")
    assert returns.came(tx, STUDY) is None
    assert is_released(tx)


def test_of_what_an_older_version_gave_up_only_the_number_is_known(tx: Tx) -> None:
    tx.execute(delete(schema.released_series))
    receive(tx, "SEG 2")
    assert returns.came(tx, STUDY) is Came.REGION
    receive(tx, "CT 1", "CT 2", "PT 1")
    assert returns.came(tx, STUDY) is Came.PART
    receive(tx, "PT 2")
    assert returns.came(tx, STUDY) is None
    assert not is_released(tx)
