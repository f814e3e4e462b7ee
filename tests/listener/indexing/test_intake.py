"""The indexer behind the spool, stepped by hand."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from pydicom import Dataset
from sqlalchemy import select

from egfr_dls.errors import TemporaryFailureError
from egfr_dls.ledger import Ledger, arrivals, instances, retention, schema, studies
from egfr_dls.spool import AssociationEnded, DirectorySpool, SpoolReadError
from egfr_dls.spool.directory import SEGMENT_BYTES
from egfr_dls.study import ReceivedInstance, SpoolRef, StudyState
from egfr_dls.uids import series_uid
from listener.indexing.intake import BATCH, Intake, Pass, data_set_offset
from tests.builders import STUDY_UID, ct_slices, petct_study, secondary_capture, to_part10

AT = datetime(2026, 1, 2, tzinfo=UTC)
TABLES = [schema.study, schema.series, schema.instance, schema.segment, schema.association, schema.association_study]


@dataclass
class Bench:
    """A spool, a ledger and an indexer between them."""

    root: Path
    spool: DirectorySpool
    ledger: Ledger
    intake: Intake
    seconds: int = 0

    def receive(self, ds: Dataset, association: str = "a", **changes: Any) -> SpoolRef:
        """Append an instance as the receiver does."""
        self.seconds += 1
        facts: dict[str, Any] = {
            "sop_class_uid": str(ds.SOPClassUID), "sop_instance_uid": str(ds.SOPInstanceUID),
            "study_instance_uid": str(ds.StudyInstanceUID), "series_instance_uid": str(ds.SeriesInstanceUID),
            "modality": str(ds.Modality), "transfer_syntax_uid": str(ds.file_meta.TransferSyntaxUID),
            "calling_ae_title": "SCANNER", "called_ae_title": "EGFR_DLS", "peer_address": "127.0.0.1",
            "association_id": association, "received_at": AT + timedelta(seconds=self.seconds),
            "frame_of_reference_uid": str(ds.get("FrameOfReferenceUID", "")),
        }  # fmt: skip
        return self.spool.append(ReceivedInstance(**{**facts, **changes}), [to_part10(ds)])

    def release(self, association: str = "a", *, released: bool = True) -> None:
        """Append the end of an association."""
        self.spool.append(AssociationEnded(association, AT + timedelta(seconds=self.seconds), released))

    def snapshot(self, study: str = STUDY_UID) -> studies.StudySnapshot:
        """Return what completeness would see."""
        with self.ledger.read() as tx:
            return studies.snapshot(tx, study)

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return the tables that the indexer fills."""
        with self.ledger.read() as tx:
            return {
                t.name: [tuple(row) for row in tx.execute(select(t).order_by(*t.primary_key.columns))] for t in TABLES
            }


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """An empty bench."""
    made = made_at(tmp_path)
    yield made
    made.spool.close()
    made.ledger.close()


def made_at(root: Path, name: str = "listener-test", segment_bytes: int = SEGMENT_BYTES) -> Bench:
    """Return a bench on a storage root."""
    spool = DirectorySpool(root / "spool", name, segment_bytes=segment_bytes)
    ledger = Ledger(f"sqlite:///{root / 'ledger.sqlite'}")
    return Bench(root, spool, ledger, Intake(ledger, spool, b"key", name))


def test_a_lost_ledger_is_rebuilt_from_the_spool_alone(bench: Bench) -> None:
    for ds in (*petct_study(), secondary_capture()):
        bench.receive(ds)
    bench.release()
    bench.receive(ct_slices(PatientName="OTHER")[0], "b")  # another content under a known UID
    bench.intake.index()
    before = bench.rows()
    bench.ledger.close()
    for path in bench.root.glob("ledger.sqlite*"):
        path.unlink()
    again = made_at(bench.root)
    again.intake.index(everything=True)
    assert again.rows() == before
    assert len(before["instance"]) == 18
    again.ledger.close()
    again.spool.close()


def test_a_ledger_older_than_the_spool_is_filled_up(tmp_path: Path) -> None:
    """A backup that was put back: sealed segments that it does not know, and known ones that have grown since."""
    bench = made_at(tmp_path, segment_bytes=1)  # every instance fills a segment
    backup = tmp_path / "backup.sqlite"
    for ds in ct_slices()[:2]:
        bench.receive(ds)
    bench.intake.index()
    with bench.ledger.begin() as tx:
        tx.connection.execute("COMMIT")
        tx.connection.execute(f"VACUUM INTO '{backup}'")
        tx.connection.execute("BEGIN")
    for ds in ct_slices()[2:5]:
        bench.receive(ds)
    bench.intake.index()
    before = bench.rows()
    bench.ledger.close()
    for path in tmp_path.glob("ledger.sqlite*"):
        path.unlink()
    backup.rename(tmp_path / "ledger.sqlite")
    again = made_at(tmp_path)
    assert again.intake.index().records == 0, "all of it lies in sealed segments"
    again.intake.recover(0.0)
    assert again.rows() == before
    again.ledger.close()
    for made in (bench, again):
        made.spool.close()


def test_a_sealed_segment_is_not_entered_again_at_each_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = made_at(tmp_path, segment_bytes=1)
    bench.receive(ct_slices()[0])
    bench.intake.index()
    monkeypatch.setattr(instances, "advance", lambda *_: pytest.fail("nothing is new"))
    assert bench.intake.index(everything=True) == Pass(0, frozenset())
    bench.spool.close()
    bench.ledger.close()


def test_every_record_is_entered_once_whatever_the_batches(bench: Bench) -> None:
    ds = ct_slices()[0]
    ds.PixelData = b""
    for n in range(BATCH + 3):
        ds.SOPInstanceUID = f"1.2.3.{n}"
        bench.receive(ds)
    assert bench.intake.index() == Pass(BATCH + 3, frozenset())
    assert bench.intake.index() == Pass(0, frozenset())
    assert len(bench.rows()["instance"]) == BATCH + 3


def test_a_batch_that_the_ledger_refused_is_entered_by_the_next_call(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.receive(ct_slices()[0])

    def refuse(*_: object) -> None:
        raise TemporaryFailureError("locked")

    with monkeypatch.context() as broken:
        broken.setattr(instances, "advance", refuse)
        with pytest.raises(TemporaryFailureError):
            bench.intake.index()
    assert bench.rows()["instance"] == []
    bench.intake.index()
    assert len(bench.rows()["instance"]) == 1


def test_the_ledger_never_runs_ahead_of_the_disk(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record can be seen before its writer has synced it."""
    ref = bench.receive(ct_slices()[0])
    order: list[str] = []
    monkeypatch.setattr(bench.spool, "sync", lambda name: order.append(name))
    advance = instances.advance
    monkeypatch.setattr(instances, "advance", lambda *args: (order.append("advance"), advance(*args)))
    bench.intake.index()
    assert order == [ref.segment, "advance"]


def test_the_digest_is_of_the_data_set_without_file_meta(bench: Bench) -> None:
    """The same data set from a sender with another implementation name is nothing new."""
    ds = ct_slices()[0]
    bench.receive(ds)
    ds.file_meta.ImplementationVersionName = "ANOTHER"
    bench.receive(ds)
    bench.intake.index()
    assert len(bench.rows()["instance"]) == 1
    body = to_part10(ds)
    assert body[data_set_offset(body) :][:4] == b"\x08\x00\x08\x00"


def test_a_record_that_cannot_be_entered_costs_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, found again by the ledger, and its segment is kept; the others and the watermark go on."""
    bench = made_at(tmp_path, segment_bytes=1)  # every instance fills a segment
    ct = ct_slices()[:3]
    refs = [bench.receive(ds) for ds in ct]
    bench.release()
    enter = arrivals.enter

    def poisoned(tx: Any, found: Any, *rest: Any) -> None:
        if any(one.ref == refs[1] for one in found):
            raise ValueError("DOE^JOHN")
        enter(tx, found, *rest)

    monkeypatch.setattr(arrivals, "enter", poisoned)
    with structlog.testing.capture_logs() as events:
        bench.intake.index()
        assert bench.intake.index() == Pass(0, frozenset())
    assert [(e["event"], e["log_level"], e["association"], e["error_class"]) for e in events] == [
        ("record_not_indexed", "error", "a", "ValueError")
    ]
    with bench.ledger.begin() as tx:
        assert instances.all_sop_instance_uids(tx) == sorted(str(ct[n].SOPInstanceUID) for n in (0, 2))
        skipped = tx.execute(select(schema.skipped_record)).one()
        assert SpoolRef(skipped.segment, skipped.offset, skipped.length) == refs[1]
        tx.execute(schema.instance.delete())
        free = retention.empty_segments(tx, {"listener-test"})
        assert refs[0].segment in free
        assert refs[1].segment not in free
    assert bench.snapshot().open_associations == 0
    bench.ledger.close()
    bench.spool.close()


def test_an_instance_that_is_read_short_is_not_entered(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk gave less than the record says: tried again, and never known by the digest of a part."""
    ref = bench.receive(ct_slices()[0])
    with monkeypatch.context() as short:
        short.setattr(bench.spool, "payloads", lambda refs: (io.BytesIO(bench.spool.read(r)[:-1]) for r in refs))
        with pytest.raises(SpoolReadError, match=f"within an instance at {ref.offset}"):
            bench.intake.index()
    assert bench.rows()["instance"] == []
    assert bench.intake.index().records == 1


def test_an_association_is_open_until_its_release(bench: Bench) -> None:
    bench.receive(ct_slices()[0])
    bench.intake.index()
    assert bench.snapshot().open_associations == 1
    bench.release()
    assert bench.intake.index() == Pass(1, frozenset({"a"}))
    assert (bench.snapshot().open_associations, bench.snapshot().interrupted) == (0, False)


def test_an_association_that_ended_without_release_is_an_interruption(bench: Bench) -> None:
    bench.receive(ct_slices()[0])
    bench.release(released=False)
    bench.intake.index()
    assert (bench.snapshot().open_associations, bench.snapshot().interrupted) == (0, True)


def test_one_that_was_released_and_then_ended_is_none(bench: Bench) -> None:
    bench.receive(ct_slices()[0])
    bench.release()
    bench.release(released=False)
    bench.release("of-no-instance", released=False)
    bench.intake.index()
    assert not bench.snapshot().interrupted


@pytest.mark.parametrize("released", [True, False])
def test_an_end_that_is_met_before_the_last_instance_holds(bench: Bench, *, released: bool) -> None:
    """They may stand in different segments, and the pass may have gone by the instance's before it was there."""
    bench.release("a", released=released)
    bench.intake.index()
    bench.receive(ct_slices()[0], "a")
    bench.intake.index()
    assert (bench.snapshot().open_associations, bench.snapshot().interrupted) == (0, not released)


def test_a_later_association_in_order_mends_an_interruption(bench: Bench) -> None:
    ct = ct_slices()
    bench.receive(ct[0], "a")
    bench.release("a", released=False)
    bench.receive(ct[0], "b")
    bench.release("b")
    bench.intake.index()
    assert not bench.snapshot().interrupted


def test_recovery_ends_what_a_dead_listener_left_open(bench: Bench) -> None:
    bench.receive(ct_slices()[0], "dead")
    assert bench.intake.recover(AT.timestamp()) == 0, "this one came since"
    assert bench.intake.recover(AT.timestamp() + 60) == 1
    assert bench.snapshot().interrupted
    assert bench.intake.recover(AT.timestamp() + 60) == 0


def test_our_own_objects_are_counted_and_start_nothing(bench: Bench) -> None:
    ours = secondary_capture(series_uid(STUDY_UID, "pet_ct_egfr", "pages", demonstration=False))
    for _ in range(3):
        bench.receive(ours)
    bench.intake.index()
    assert bench.rows()["instance"] == bench.rows()["study"] == []
    with bench.ledger.read() as tx:
        row = tx.execute(select(schema.own_object_returned)).one()
    assert (row.sop_instance_uid, row.times) == (ours.SOPInstanceUID, 3)


def test_an_object_of_ours_in_another_series_is_known_by_its_uid(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    ds = secondary_capture("1.2.3.4")
    monkeypatch.setattr(arrivals, "ours_among", lambda _tx, uids: frozenset(uids) & {ds.SOPInstanceUID})
    bench.receive(ds)
    bench.intake.index()
    assert bench.rows()["instance"] == []


def test_an_instance_that_fills_no_role_restarts_no_timer_and_reopens_nothing(bench: Bench) -> None:
    bench.receive(ct_slices()[0])
    bench.intake.index()
    before = bench.snapshot()
    with bench.ledger.begin() as tx:
        studies.move(tx, STUDY_UID, StudyState.NOT_APPLICABLE, 0.0)
    bench.receive(secondary_capture())
    bench.intake.index()
    assert bench.snapshot().last_instance_at == before.last_instance_at
    with bench.ledger.read() as tx:
        assert studies.state(tx, STUDY_UID) is StudyState.NOT_APPLICABLE
        assert instances.count(tx, STUDY_UID) == 2
