"""One instance from its first byte to its answer: whole or in pieces, with every fault and every failure of the spool."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog

from egfr_dls.spool import AssociationEnded, DirectorySpool, Entry, SpoolWriteError
from egfr_dls.spool.contract import Bytes
from egfr_dls.study import ReceivedInstance, SpoolRef
from listener.admission import Accepted, AssociationRequest
from listener.status import FAULTS, SUCCESS, Answer, Fault, InstanceRefusedError
from listener.storage.facts import StoreCommand
from listener.storage.part10 import file_head
from listener.storage.reception import FLOOR_SECONDS, Reception, _DiskFloor
from listener.upper_layer.pdu import message
from tests.builders import CT_SERIES_UID, FRAME_OF_REFERENCE_UID, STUDY_UID, ct_slices
from tests.listener.nodes import raw_data_set
from tests.listener.wire import Peer, receiving, store_command

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DS = ct_slices()[0]
UID = str(DS.SOPInstanceUID)
DATA = raw_data_set(DS)
COMMAND = StoreCommand(CT, UID, CT, EXPLICIT)
ACCEPTED = Accepted("a1", AssociationRequest("SCANNER", "EGFR_DLS", "127.0.0.1"))
NOW = datetime(2025, 1, 2, 11, 0, tzinfo=UTC)
ENTRY = ReceivedInstance(
    CT, UID, STUDY_UID, CT_SERIES_UID, "CT", EXPLICIT, "SCANNER", "EGFR_DLS", "127.0.0.1", "a1", NOW, FRAME_OF_REFERENCE_UID
)  # fmt: skip
FILE = file_head(CT, UID, EXPLICIT) + DATA


@dataclass
class RecordingSpool:
    """Notes what is asked of it, as its own ``RecordWriter`` too; fails at the calls that it is told to."""

    failures: dict[str, Exception] = field(default_factory=dict)
    free: int = 1000
    calls: list[str] = field(default_factory=list)
    kept: list[tuple[Entry, bytes, bool]] = field(default_factory=list)
    _payload: bytes = b""

    def append(self, entry: Entry, parts: Sequence[Bytes] = (), *, sync: bool = True) -> SpoolRef:
        self._note("append")
        self.kept.append((entry, b"".join(parts), sync))
        return SpoolRef("s", 0, 0)

    def begin(self) -> RecordingSpool:
        self._note("begin")
        self._payload = b""
        return self

    def write(self, parts: Sequence[Bytes]) -> None:
        self._note("write")
        self._payload += b"".join(parts)

    def commit(self, entry: Entry) -> SpoolRef:
        self._note("commit")
        self.kept.append((entry, self._payload, True))
        return SpoolRef("s", 0, 0)

    def discard(self) -> None:
        self._note("discard")

    def free_bytes(self) -> int:
        if "free_bytes" in self.failures:
            raise self.failures["free_bytes"]
        return self.free

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if call in self.failures:
            raise self.failures[call]


@pytest.fixture
def events() -> Iterator[list[Any]]:
    """The log events of the test."""
    with structlog.testing.capture_logs() as captured:
        yield captured


def reception(spool: Any, **how: Any) -> Reception:
    return Reception(spool, min_free_bytes=100, now=lambda: NOW, **how)


def received(spool: Any, data: bytes = DATA, command: StoreCommand = COMMAND, piece: int | None = None) -> Answer:
    """Hand over a data set whole, or in pieces from a buffer that is overwritten between them."""
    incoming, at = reception(spool).begin(ACCEPTED, command), 0
    while piece is not None and len(data) - at > piece:
        buffer = bytearray(data[at : at + piece])
        incoming.write(memoryview(buffer))
        buffer[:] = bytes(len(buffer))
        at += piece
    return incoming.finish(memoryview(data)[at:])


def test_an_object_that_came_whole_is_one_append() -> None:
    spool = RecordingSpool()
    assert received(spool) is SUCCESS
    assert spool.kept == [(ENTRY, FILE, True)]
    assert spool.calls == ["append"]


@pytest.mark.parametrize("piece", [1, 7, 1000, len(DATA) - 1])
def test_an_object_in_pieces_is_the_same_record(piece: int) -> None:
    spool = RecordingSpool()
    assert received(spool, piece=piece) is SUCCESS
    assert spool.kept == [(ENTRY, FILE, True)]
    assert spool.calls[0] == "begin"
    assert spool.calls[-2:] == ["write", "commit"]


def test_the_spool_in_a_folder_gives_back_what_came(tmp_path: Path) -> None:
    """Also an entry of the longest values there are, and after a record that was given up."""
    longest = "1.2." + "3" * 60
    data = DATA
    for old in (UID, STUDY_UID, CT_SERIES_UID, FRAME_OF_REFERENCE_UID):
        length = len(old) + len(old) % 2
        written = b"UI" + length.to_bytes(2, "little") + old.encode().ljust(length, b"\0")
        assert written in data
        data = data.replace(written, b"UI" + (64).to_bytes(2, "little") + longest.encode())
    command = StoreCommand(CT, longest, CT, EXPLICIT)
    writer = DirectorySpool(tmp_path, "listener-1")
    incoming = reception(writer).begin(ACCEPTED, COMMAND)
    incoming.write(memoryview(DATA))
    incoming.discard()
    assert received(writer) is received(writer, piece=500) is received(writer, data, command) is SUCCESS
    records = list(writer.records("listener-1", {}))
    assert [record.entry.sop_instance_uid for record in records] == [UID, UID, longest]
    assert [records[0].entry, records[1].entry] == [ENTRY, ENTRY]
    assert [writer.read(record.ref) for record in records[:2]] == [FILE, FILE]


UNKEPT: dict[str, tuple[bytes, StoreCommand, Fault]] = {
    "another context": (DATA, StoreCommand(CT, UID, CT + ".1", EXPLICIT), Fault.CONTEXT_MISMATCH),
    "a path as UID": (DATA, StoreCommand(CT, "../../x", CT, EXPLICIT), Fault.UID_FORM),
    "a UID that fits no element": (DATA, StoreCommand(CT, "1" * 70_000, CT, EXPLICIT), Fault.UID_FORM),
    "another instance": (DATA, StoreCommand(CT, UID + "1", CT, EXPLICIT), Fault.INSTANCE_MISMATCH),
    "cut": (DATA[:-1], COMMAND, Fault.CUT_SHORT),
    "another encoding": (DATA, StoreCommand(CT, UID, CT, "1.2.840.10008.1.2"), Fault.CUT_SHORT),
    "not deflated": (DATA, StoreCommand(CT, UID, CT, "1.2.840.10008.1.2.1.99"), Fault.MALFORMED),
    "nothing": (b"", COMMAND, Fault.NO_SOP_UID),
}


@pytest.mark.parametrize("piece", [None, 100])
@pytest.mark.parametrize(("data", "command", "fault"), UNKEPT.values(), ids=UNKEPT.keys())
def test_a_fault_is_answered_logged_once_and_leaves_nothing(
    data: bytes, command: StoreCommand, fault: Fault, piece: int | None, events: list[Any]
) -> None:
    spool = RecordingSpool()
    assert received(spool, data, command, piece) is FAULTS[fault]
    assert spool.kept == []
    assert spool.calls.count("begin") == spool.calls.count("discard")
    assert events == [
        {
            "event": "instance_refused",
            "log_level": "info",
            "association": "a1",
            "status": f"{FAULTS[fault].status:04X}",
            "reason": fault,
        }
    ]


def test_after_a_fault_the_rest_is_swallowed() -> None:
    """The record is given up at once, and nothing of what comes later is looked at."""
    spool = RecordingSpool()
    incoming = reception(spool).begin(ACCEPTED, COMMAND)
    incoming.write(memoryview(DATA[:100]))
    incoming.write(memoryview(bytes(100_000)))
    assert spool.calls == ["begin", "write", "discard"]
    incoming.write(memoryview(DATA))
    assert incoming.finish(memoryview(DATA)) is FAULTS[Fault.MALFORMED]
    incoming.discard()
    assert spool.calls == ["begin", "write", "discard"]


@pytest.mark.parametrize("call", ["free_bytes", "append", "begin", "write", "commit"])
@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (SpoolWriteError("full"), Fault.DISK_FULL),
        (OSError(5, "Input/output error"), Fault.DISK_FULL),
        (ZeroDivisionError(), Fault.DEFECT),
    ],
)
def test_a_failure_of_the_spool_costs_one_instance(
    call: str, error: Exception, fault: Fault, events: list[Any]
) -> None:
    spool = RecordingSpool(failures={call: error})
    assert received(spool, piece=None if call == "append" else 1000) is FAULTS[fault]
    assert spool.kept == []
    (event,) = events
    assert (event["log_level"], event["reason"], event["error_class"]) == ("error", fault, type(error).__name__)


def test_an_instance_that_broke_off_is_given_up() -> None:
    spool = RecordingSpool()
    incoming = reception(spool).begin(ACCEPTED, COMMAND)
    incoming.discard()
    assert spool.calls == []
    incoming.write(memoryview(DATA))
    incoming.discard()
    incoming.discard()
    assert spool.calls == ["begin", "write", "discard"]


def test_below_the_disk_floor_nothing_is_taken(events: list[Any]) -> None:
    spool = RecordingSpool(free=99)
    assert received(spool, piece=1000) is FAULTS[Fault.DISK_FLOOR]
    assert spool.calls == []
    assert [event["reason"] for event in events] == ["disk_floor"]


def test_the_disk_is_asked_at_most_ten_times_a_second() -> None:
    asked, times, free = (
        [],
        iter([0.0, FLOOR_SECONDS / 2, FLOOR_SECONDS, FLOOR_SECONDS * 1.5, FLOOR_SECONDS * 2]),
        [5, 1, 5],
    )

    def free_bytes() -> int:
        asked.append(True)
        return free[len(asked) - 1]

    floor = _DiskFloor(free_bytes, 2, clock=lambda: next(times))
    floor.check()
    floor.check()
    assert len(asked) == 1
    for _ in range(2):
        with pytest.raises(InstanceRefusedError) as refused:
            floor.check()
        assert refused.value.fault is Fault.DISK_FLOOR
    assert len(asked) == 2
    floor.check()
    assert len(asked) == 3


ENDS: dict[str, Callable[[Reception], None]] = {
    "release_not_recorded": lambda reception: reception.released("a1"),
    "loss_not_recorded": lambda reception: reception.lost("a1"),
}


@pytest.mark.parametrize(("event", "end"), ENDS.items(), ids=ENDS.keys())
def test_the_end_of_an_association_is_a_record_and_a_ring(
    event: str, end: Callable[[Reception], None], events: list[Any]
) -> None:
    """Synced only when the sender is about to hear that it was released; a failing spool is logged."""
    spool, rung = RecordingSpool(), []
    end(reception(spool, ring=lambda: rung.append(True)))
    released = event == "release_not_recorded"
    assert spool.kept == [(AssociationEnded("a1", NOW, released), b"", released)]
    assert events == []
    spool.failures["append"] = SpoolWriteError("full")
    end(reception(spool, ring=lambda: rung.append(True)))
    assert [(e["event"], e["log_level"], e["association"]) for e in events] == [(event, "warning", "a1")]
    assert len(rung) == 2


def test_an_end_that_was_not_recorded_is_recorded_later(events: list[Any]) -> None:
    """In their order, as soon as the spool takes them; each is told once."""
    spool, rung = RecordingSpool(failures={"append": SpoolWriteError("full")}), []
    taking = reception(spool, ring=lambda: rung.append(True))
    taking.released("a1")
    taking.lost("a2")
    taking.try_again()
    assert (spool.kept, spool.calls, len(rung)) == ([], ["append"] * 3, 2)
    del spool.failures["append"]
    taking.try_again()
    taking.try_again()
    ends = [AssociationEnded("a1", NOW, released=True), AssociationEnded("a2", NOW, released=False)]
    assert [(entry, sync) for entry, _, sync in spool.kept] == [(end, end.released) for end in ends]
    assert len(rung) == 4
    assert [e["event"] for e in events] == ["release_not_recorded", "loss_not_recorded"]


@pytest.mark.parametrize("piece", [None, 100])
def test_an_instance_whose_sync_failed_may_be_in_the_spool(piece: int | None) -> None:
    """Its association's end is recorded too, else its study would wait for it; one that was refused leaves nothing."""
    for failures, data, brought in (
        ({}, DATA, True),
        ({"append": SpoolWriteError("bad"), "commit": SpoolWriteError("bad")}, DATA, True),
        ({"begin": SpoolWriteError("full"), "append": SpoolWriteError("full")}, DATA, piece is None),
        ({}, DATA[:-1], False),
    ):
        spool = RecordingSpool(failures=dict(failures))
        incoming = reception(spool).begin(ACCEPTED, COMMAND)
        if piece:
            incoming.write(memoryview(data)[:piece])
        incoming.finish(memoryview(data)[piece or 0 :])
        assert incoming.brought is brought


def test_the_end_is_recorded_of_an_association_that_failed_to_store() -> None:
    spool = RecordingSpool(failures={"append": SpoolWriteError("bad")})
    taking = Reception(spool, 0)  # type: ignore[arg-type]
    with receiving(taking) as server, Peer(server.ports[0]) as peer:
        peer.associate()
        peer.send(message(1, store_command(instance=UID), DATA, 1 << 17))
        assert peer.status() == FAULTS[Fault.DISK_FULL].status
        del spool.failures["append"]
        peer.release()
        assert [type(entry) for entry, _, _ in spool.kept] == [AssociationEnded]
