"""Instances, series and associations as rows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from egfr_dls.ledger import Ledger, Tx, arrivals, instances, retention, schema, studies, transfers
from egfr_dls.ledger.arrivals import IndexedInstance
from egfr_dls.spool import AssociationEnded
from egfr_dls.study import ReceivedInstance, SpoolRef, StudyState

AT = datetime(2026, 1, 2, tzinfo=UTC)
STUDY = "1.2"
ENTRY = ReceivedInstance(
    "1.2.840.10008.5.1.4.1.1.2", "1.2.1.1", STUDY, "1.2.1", "CT", "1.2.840.10008.1.2.1", "SCANNER", "EGFR_DLS", "127.0.0.1", "a",
    AT, "1.9",
)  # fmt: skip


def add(tx: Tx, sha256: str = "d1", *, second: int = 0, own: bool = False, **changes: Any) -> None:
    """Enter an instance received at that second."""
    arrivals.enter(tx, [seen(sha256, second=second, own=own, **changes)], b"key", "listener-test")


def seen(sha256: str = "d1", *, second: int = 0, own: bool = False, **changes: Any) -> IndexedInstance:
    """Return an instance received at that second."""
    entry = replace(ENTRY, received_at=AT + timedelta(seconds=second), **changes)
    return IndexedInstance(entry, SpoolRef("s.seg", second * 100, 100), sha256, own)


def end(tx: Tx, association_id: str, *, released: bool) -> None:
    """Enter the end of an association."""
    arrivals.enter_ends(tx, [AssociationEnded(association_id, AT, released)], "listener-test")


def test_a_first_instance_makes_study_series_and_association(tx: Tx) -> None:
    add(tx)
    assert studies.state(tx, STUDY) is StudyState.RECEIVING
    snapshot = studies.snapshot(tx, STUDY)
    assert snapshot.series == (studies.SeriesSnapshot("CT", "1.9"),)
    assert (snapshot.open_associations, snapshot.interrupted) == (1, False)
    assert snapshot.first_seen_at == snapshot.last_instance_at == AT.timestamp()


def test_the_same_content_again_is_nothing_new(tx: Tx) -> None:
    add(tx)
    add(tx, second=5, association_id="b")
    assert instances.count(tx, STUDY) == 1
    assert studies.snapshot(tx, STUDY).last_instance_at == AT.timestamp()
    assert studies.snapshot(tx, STUDY).open_associations == 2
    assert studies.snapshot(tx, STUDY).open_last_record_at == AT.timestamp() + 5


def test_another_content_is_kept_marked_and_flags_the_study(tx: Tx) -> None:
    add(tx)
    add(tx, "d2", second=5)
    assert instances.count(tx, STUDY) == 2
    assert studies.find(tx, STUDY).conflict
    assert instances.locations(tx, STUDY) == {"1.2.1.1": SpoolRef("s.seg", 0, 100)}, "the first content counts"
    assert instances.content_digest_rows(tx, STUDY) == [("1.2.1.1", "d1")]
    assert instances.all_sop_instance_uids(tx) == ["1.2.1.1"]
    add(tx, "d2", second=6)
    assert instances.count(tx, STUDY) == 2


def test_another_content_does_not_reopen_an_ended_study(tx: Tx) -> None:
    add(tx)
    studies.move(tx, STUDY, StudyState.NOT_APPLICABLE, 0.0)
    add(tx, "d2", second=5)
    assert studies.state(tx, STUDY) is StudyState.NOT_APPLICABLE
    assert studies.find(tx, STUDY).conflict


@pytest.mark.parametrize(
    ("modality", "reopens"),
    [("CT", True), ("PT", True), ("SEG", True), ("RTSTRUCT", True), ("OT", False), ("SR", False)],
)
def test_only_what_can_fill_a_role_reopens_a_study(tx: Tx, modality: str, reopens: bool) -> None:
    add(tx)
    studies.move(tx, STUDY, StudyState.NOT_APPLICABLE, 0.0)
    add(tx, second=9, sop_instance_uid="1.2.2.1", series_instance_uid="1.2.2", modality=modality)
    assert (studies.state(tx, STUDY) is StudyState.RECEIVING) is reopens
    assert (studies.snapshot(tx, STUDY).last_instance_at == AT.timestamp() + 9) is reopens
    assert (("1.2.2.1", "d1") in instances.content_digest_rows(tx, STUDY)) is reopens
    assert instances.count(tx, STUDY) == 2


def test_our_own_object_makes_no_study(tx: Tx) -> None:
    add(tx, own=True)
    assert studies.listed(tx) == []
    assert instances.all_sop_instance_uids(tx) == []


def test_one_sop_instance_uid_in_two_studies_is_an_instance_of_each_and_a_conflict(tx: Tx) -> None:
    """A SOP Instance UID is unique in the world (PS3.5 9); the second study is flagged, the first is left alone."""
    add(tx)
    add(tx, "d2", study_instance_uid="1.3", series_instance_uid="1.3.1", second=1)
    assert studies.find(tx, "1.3").conflict
    assert not studies.find(tx, STUDY).conflict
    assert instances.locations(tx, "1.3") == {"1.2.1.1": SpoolRef("s.seg", 100, 100)}, "its bytes serve its own study"
    assert instances.locations(tx, STUDY) == {"1.2.1.1": SpoolRef("s.seg", 0, 100)}
    assert instances.content_digest_rows(tx, "1.3") == [("1.2.1.1", "d2")]
    add(tx, "d3", study_instance_uid="1.3", series_instance_uid="1.3.1", second=2)
    assert instances.content_digest_rows(tx, "1.3") == [("1.2.1.1", "d2")], "in a study the first content counts"


def test_images_that_come_under_anothers_uids_reopen_their_study(tx: Tx) -> None:
    """They are all that it has: a study that was moved is received as any other."""
    add(tx)
    moved = {"study_instance_uid": "1.3", "series_instance_uid": "1.3.1"}
    add(tx, "d2", second=1, **moved)
    studies.move(tx, "1.3", StudyState.NOT_APPLICABLE, 0.0)
    add(tx, "d3", second=9, sop_instance_uid="1.2.1.2")
    add(tx, "d4", second=10, sop_instance_uid="1.2.1.2", **moved)
    assert studies.state(tx, "1.3") is StudyState.RECEIVING
    assert studies.snapshot(tx, "1.3").last_instance_at == AT.timestamp() + 10


def test_who_had_the_uids_of_a_study_first(tx: Tx) -> None:
    """Of images only: a region under another's UID is judged by what it says."""
    roi = {"series_instance_uid": "1.5.9", "modality": "SEG"}
    add(tx)
    add(tx, sop_instance_uid="1.2.1.2", second=1, study_instance_uid="1.4", series_instance_uid="1.4.1")
    add(tx, sop_instance_uid="1.2.1.3", second=2, study_instance_uid="1.4", series_instance_uid="1.4.1")
    add(tx, sop_instance_uid="1.2.9.1", second=3, study_instance_uid="1.4", **roi)
    for second, uid in enumerate(("1.2.1.1", "1.2.1.2", "1.2.1.3", "1.2.1.4"), start=4):
        add(tx, "moved", second=second, sop_instance_uid=uid, study_instance_uid="1.5", series_instance_uid="1.5.1")
    add(tx, "moved", second=9, sop_instance_uid="1.2.9.1", study_instance_uid="1.5", **roi)
    assert instances.held_elsewhere(tx, "1.5") == {STUDY: ["1.2.1.1"], "1.4": ["1.2.1.2", "1.2.1.3"]}
    assert instances.held_elsewhere(tx, STUDY) == instances.held_elsewhere(tx, "1.4") == {}
    retention.release(tx, "1.4", 0.0)
    assert instances.held_elsewhere(tx, "1.5") == {STUDY: ["1.2.1.1"]}


def test_locations_by_uid(tx: Tx) -> None:
    add(tx)
    add(tx, second=1, sop_instance_uid="1.2.1.2")
    assert instances.location(tx, STUDY, ["1.2.1.2", "9.9"]) == {"1.2.1.2": SpoolRef("s.seg", 100, 100)}
    assert instances.location(tx, "1.3", ["1.2.1.2"]) == {}


def test_watermarks_move_forward(tx: Tx) -> None:
    instances.advance(tx, {"a.seg": 10, "b.seg": 20})
    instances.advance(tx, {"a.seg": 30})
    assert instances.watermarks(tx) == {"a.seg": 30, "b.seg": 20}


def test_an_association_is_released_or_aborted_once(tx: Tx) -> None:
    add(tx)
    end(tx, "a", released=True)
    end(tx, "a", released=False)
    assert not studies.snapshot(tx, STUDY).interrupted
    add(tx, second=1, sop_instance_uid="1.2.1.2", association_id="b")
    end(tx, "b", released=False)
    assert studies.snapshot(tx, STUDY).interrupted


Sent = tuple[str, str, bool]  # association, what it brought, whether it ended in order
WHAT: dict[str, dict[str, str]] = {
    "PT": {"sop_instance_uid": "1.2.2.1", "series_instance_uid": "1.2.2", "modality": "PT"},
    "CT": {},
    "CT, the next": {"sop_instance_uid": "1.2.1.2"},
    "SEG": {"sop_instance_uid": "1.2.3.1", "series_instance_uid": "1.2.3", "modality": "SEG"},
    "SR": {"sop_instance_uid": "1.2.4.1", "series_instance_uid": "1.2.4", "modality": "SR"},
}


@pytest.mark.parametrize(
    ("sent", "interrupted"),
    [
        ([("a", "CT", False)], True),
        # what is not of its series ends no interruption
        ([("a", "CT", False), ("b", "SR", True)], True),
        ([("a", "CT", False), ("b", "SEG", True)], True),
        ([("a", "CT", False), ("b", "PT", True)], True),
        # what fills no role makes none
        ([("a", "CT", True), ("b", "SR", False)], False),
        ([("a", "SR", False)], False),
        # the same images again, and the rest of them
        ([("a", "CT", False), ("b", "CT", True)], False),
        ([("a", "CT", False), ("b", "CT, the next", True)], False),
        ([("a", "CT", False), ("b", "CT, the next", True), ("c", "SR", False)], False),
        # and broken off again
        ([("a", "CT", False), ("b", "CT", False)], True),
        ([("a", "CT", True), ("b", "CT", False)], True),
        ([("a", "CT", False), ("b", "CT, the next", False), ("c", "SEG", True)], True),
        ([("a", "CT", False), ("b", "PT", False), ("c", "CT", True)], True),
        ([("a", "CT", False), ("b", "PT", False), ("c", "CT", True), ("c", "PT", True)], False),
        # an earlier one says nothing of a later one
        ([("b", "CT, the next", True), ("a", "CT", False)], True),
    ],
)  # fmt: skip
def test_an_interruption_ends_when_images_of_its_series_come_again_in_order(
    tx: Tx, sent: list[Sent], interrupted: bool
) -> None:
    for second, (association_id, what, released) in enumerate(sent):
        add(tx, second=second, association_id=association_id, **WHAT[what])
        end(tx, association_id, released=released)
    assert studies.snapshot(tx, STUDY).interrupted is interrupted


@pytest.mark.parametrize(
    ("sent", "doubted"),
    [
        ([("a", "CT", True), ("a", "PT", True)], []),
        # whole series too: nobody knows that they are, unless they come again
        ([("a", "CT", False), ("b", "PT", True)], [("CT", "1.2.1")]),
        ([("a", "CT", False), ("a", "PT", False)], [("CT", "1.2.1"), ("PT", "1.2.2")]),
        ([("a", "CT", False), ("b", "CT, the next", True), ("c", "PT", False)], [("PT", "1.2.2")]),
        ([("a", "CT", False), ("b", "SR", False)], [("CT", "1.2.1")]),
    ],
)
def test_the_series_in_doubt_are_named(tx: Tx, sent: list[Sent], doubted: list[tuple[str, str]]) -> None:
    for second, (association_id, what, released) in enumerate(sent):
        add(tx, second=second, association_id=association_id, **WHAT[what])
        end(tx, association_id, released=released)
    assert transfers.series_in_doubt(tx, STUDY) == doubted


def test_so_are_those_of_an_association_that_has_not_ended(tx: Tx) -> None:
    """Nothing has come of it until the force time."""
    add(tx)
    assert transfers.series_in_doubt(tx, STUDY) == [("CT", "1.2.1")]
    assert not studies.snapshot(tx, STUDY).interrupted


def test_an_aborted_object_of_ours_is_no_interruption(tx: Tx) -> None:
    add(tx)
    end(tx, "a", released=True)
    add(tx, second=1, sop_instance_uid="1.2.9.1", association_id="b", own=True)
    end(tx, "b", released=False)
    assert not studies.snapshot(tx, STUDY).interrupted


def test_open_associations_of_a_dead_listener_are_aborted(tx: Tx) -> None:
    add(tx)
    end(tx, "a", released=True)
    add(tx, second=1, sop_instance_uid="1.2.1.2", association_id="b")
    since = (AT + timedelta(seconds=1)).timestamp()
    assert arrivals.abort_open_associations(tx, "listener-other", since + 1) == 0
    assert arrivals.abort_open_associations(tx, "listener-test", since) == 0, "it may be its successor's"
    assert arrivals.abort_open_associations(tx, "listener-test", since + 1) == 1
    assert studies.snapshot(tx, STUDY).open_associations == 0


def test_a_batch_is_entered_as_its_instances_one_by_one(tmp_path: Path) -> None:
    """Duplicates, conflicts, own objects and studies that had ended among them."""
    batch = [
        seen(), seen(second=1), seen("d2", second=2), seen(second=3, sop_instance_uid="1.2.1.2", association_id="b"),
        seen(second=4, sop_instance_uid="9.1", own=True), seen(second=5, sop_instance_uid="9.1", own=True),
        seen(second=6, sop_instance_uid="1.3.1", study_instance_uid="1.3", series_instance_uid="1.3.0", modality="SR"),
    ]  # fmt: skip
    assert filled(tmp_path / "one", [[one] for one in batch]) == filled(tmp_path / "all", [batch])


def filled(root: Path, batches: list[list[IndexedInstance]]) -> dict[str, list[tuple[Any, ...]]]:
    """Return every table after these batches."""
    ledger = Ledger(f"sqlite:///{root / 'ledger.sqlite'}")
    with ledger.begin() as tx:
        for batch in batches:
            arrivals.enter(tx, batch, b"key", "listener-test")
    with ledger.read() as tx:
        found = {t.name: [tuple(row) for row in tx.execute(select(t))] for t in schema.metadata.sorted_tables}
    ledger.close()
    return found


def test_our_own_objects_are_known_by_uid(tx: Tx) -> None:
    assert arrivals.ours_among(tx, ["1.2.3"] * 1201) == frozenset()
