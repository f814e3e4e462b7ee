"""What happens to one received instance, whatever took it off the wire: check, make durable, answer."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

from egfr_dls.spool import AssociationEnded, RecordWriter, SpoolWriteError, SpoolWriter
from egfr_dls.study import ReceivedInstance
from egfr_dls.telemetry import error_fields, get_logger
from listener.admission import Accepted
from listener.status import FAULTS, SUCCESS, Answer, Fault, InstanceRefusedError
from listener.storage.facts import FactsReader, InstanceFacts, StoreCommand
from listener.storage.part10 import file_head

T = TypeVar("T")
UNRECORDED = 4096  # ends that wait for the spool, at most: of the oldest then only the force time knows
FLOOR_SECONDS = 0.1  # how long an answer about the disk's free space is good for


def utc_now() -> datetime:
    """Return the clock's time, UTC."""
    return datetime.now(UTC)


class Reception:
    """Turns received bytes into durable records of the spool. Every method may be called from any thread.

    ``ring`` is called when an association has ended: there is something whole to index.
    """

    def __init__(
        self,
        spool: SpoolWriter,
        min_free_bytes: int,
        now: Callable[[], datetime] = utc_now,
        ring: Callable[[], None] = lambda: None,
    ) -> None:
        self._spool = spool
        self._floor = _DiskFloor(spool.free_bytes, min_free_bytes)
        self._now = now
        self._ring = ring
        self._unrecorded: deque[AssociationEnded] = deque(maxlen=UNRECORDED)

    def begin(self, accepted: Accepted, command: StoreCommand) -> Incoming:
        """Begin an instance; whatever is wrong with it by now is what ``Incoming.finish`` answers."""
        return Incoming(self._spool, self._floor.check, self._now, accepted, command)

    def store(self, accepted: Accepted, command: StoreCommand, data: bytes) -> Answer:
        """Make an instance durable that is in memory as a whole."""
        return self.begin(accepted, command).finish(memoryview(data))

    def released(self, association_id: str) -> None:
        """Record that the sender ended an association in order (A-RELEASE, PS3.8 7.2), before it hears so.

        A disk that is full by now only costs the record, which ``try_again`` makes later.
        """
        self._end(AssociationEnded(association_id, self._now(), released=True))

    def lost(self, association_id: str) -> None:
        """Record that an association was aborted or lost (PS3.8 7.3, 7.4)."""
        self._end(AssociationEnded(association_id, self._now(), released=False))

    def try_again(self) -> None:
        """Record the ends that the spool did not take, in their order, until it fails again; for one thread.

        What is left when the process ends counts as broken off: the next one of this name says so of all that is open.
        """
        while self._unrecorded:
            entry = self._unrecorded.popleft()
            try:
                self._spool.append(entry, sync=entry.released)
            except SpoolWriteError:
                self._unrecorded.appendleft(entry)
                return
            self._ring()

    def _end(self, entry: AssociationEnded) -> None:
        try:
            self._spool.append(entry, sync=entry.released)
        except SpoolWriteError as error:
            self._unrecorded.append(entry)
            event = "release_not_recorded" if entry.released else "loss_not_recorded"
            get_logger().warning(event, association=entry.association_id, **error_fields(error))
        self._ring()


class Incoming:
    """One C-STORE data set on its way in: ``write`` any number of times, then ``finish`` or ``discard``. For one thread.

    The first fault decides the answer; what comes after it is swallowed.

    ``brought``: something of it may be in the spool. Also where that failed: a record whose sync failed can be readable.
    """

    def __init__(
        self,
        spool: SpoolWriter,
        check_floor: Callable[[], None],
        now: Callable[[], datetime],
        accepted: Accepted,
        command: StoreCommand,
    ) -> None:
        self._spool = spool
        self._now = now
        self._accepted = accepted
        self._command = command
        self._facts = FactsReader(command)
        self._writer: RecordWriter | None = None
        self._answer = SUCCESS
        self.brought = False
        self._attempt(self._begin, check_floor)

    def write(self, data: memoryview) -> None:
        """Take bytes of the data set, to its record and not yet durable; the caller may overwrite them afterwards."""
        self._attempt(self._take, data)

    def finish(self, data: memoryview) -> Answer:
        """Take the last bytes, make the instance durable and return what the sender hears."""
        self._attempt(self._keep, data)
        return self._answer

    def discard(self) -> None:
        """Give up what was written: the association broke off."""
        if self._writer is not None:
            self._writer.discard()
            self._writer = None

    def _begin(self, check_floor: Callable[[], None]) -> None:
        self._command.check()
        check_floor()

    def _take(self, data: memoryview) -> None:
        self._facts.feed(data)
        if self._writer is None:
            head = self._head()
            self._writer = self._spool.begin()
            self._writer.write([head, data])
        else:
            self._writer.write([data])

    def _keep(self, data: memoryview) -> None:
        self._facts.feed(data)
        entry = _entry(self._accepted, self._command, self._facts.finish(), self._now())
        if self._writer is None:
            self.brought = True
            self._spool.append(entry, [self._head(), data])
            return
        self._writer.write([data])
        self.brought = True
        self._writer.commit(entry)
        self._writer = None

    def _head(self) -> bytes:
        command = self._command
        return file_head(command.sop_class_uid, command.sop_instance_uid, command.transfer_syntax_uid)

    def _attempt(self, step: Callable[[T], None], argument: T) -> None:
        if self._answer is not SUCCESS:
            return
        try:
            step(argument)
        except InstanceRefusedError as error:
            self._refuse(error.fault)
        except (SpoolWriteError, OSError) as error:
            self._refuse(Fault.DISK_FULL, error)
        except Exception as error:  # noqa: BLE001  # the handler's border: a defect costs one instance, not the service
            self._refuse(Fault.DEFECT, error)

    def _refuse(self, fault: Fault, error: Exception | None = None) -> None:
        self._answer = FAULTS[fault]
        log = get_logger().info if error is None else get_logger().error
        log(
            "instance_refused",
            association=self._accepted.association_id,
            status=f"{self._answer.status:04X}",
            reason=fault,
            **(error_fields(error) if error else {}),
        )
        self.discard()


class _DiskFloor:
    """Whether the spool's disk has the space that must stay free; asks it at most once in ``FLOOR_SECONDS``."""

    def __init__(
        self, free_bytes: Callable[[], int], min_free_bytes: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._free_bytes = free_bytes
        self._min_free_bytes = min_free_bytes
        self._clock = clock
        self._good_until = 0.0
        self._enough = True

    def check(self) -> None:
        """Raise InstanceRefusedError (DISK_FLOOR) where the space is less; two threads may both ask the disk."""
        at = self._clock()
        if at >= self._good_until:
            self._enough = self._free_bytes() >= self._min_free_bytes
            self._good_until = at + FLOOR_SECONDS
        if not self._enough:
            raise InstanceRefusedError(Fault.DISK_FLOOR)


def _entry(accepted: Accepted, command: StoreCommand, facts: InstanceFacts, now: datetime) -> ReceivedInstance:
    return ReceivedInstance(
        sop_class_uid=facts.sop_class_uid,
        sop_instance_uid=facts.sop_instance_uid,
        study_instance_uid=facts.study_instance_uid,
        series_instance_uid=facts.series_instance_uid,
        modality=facts.modality,
        transfer_syntax_uid=command.transfer_syntax_uid,
        calling_ae_title=accepted.request.calling_ae_title,
        called_ae_title=accepted.request.called_ae_title,
        peer_address=accepted.request.peer_address,
        association_id=accepted.association_id,
        received_at=now,
        frame_of_reference_uid=facts.frame_of_reference_uid,
    )
