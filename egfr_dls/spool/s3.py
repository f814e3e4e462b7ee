"""The spool in object storage: one object a record, stored before the sender hears 0000H.

::

    <prefix>/installation                                           whose listeners write here
             <listener>/<time>-<generation>.seg/<number>            payload, then the record's head (record.py)
                        states/<time>-<generation>.seg.closed       nothing follows in this segment
                                                      .sealed       and all of it is indexed

A segment is a sequence of objects, written by one process, one after the other; several are written at a time. So its numbers
are watermarks: below an acknowledged one nothing new appears that is acknowledged. The head stands behind the payload, since
an object is sent from its front and the head is known last.

What a failure may leave, and why it does no harm:

* A request without an answer may have stored its object, or may store it later. Its number is never used again, so it neither
  takes the place of an acknowledged object nor is there twice. It may be indexed or not: nobody was promised anything.
* A process that is killed leaves segments that nobody closed. A writer begins no record in a segment that is an hour old, and
  finishes none after twelve; readers take a segment for closed a day after it was made (``lanes.py``). So it is indexed to its
  end, with clocks that differ by hours.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from io import RawIOBase
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final

from zlib_ng.zlib_ng import crc32

from egfr_dls.errors import ConfigurationError
from egfr_dls.spool import layout, record
from egfr_dls.spool.bucket import Bucket, BucketError, BucketRefusedError
from egfr_dls.spool.contract import (
    Bytes,
    Entry,
    RecordWriter,
    SegmentFull,
    SpooledRecord,
    SpoolState,
    SpoolWriteError,
)
from egfr_dls.spool.lanes import CLOSED_SECONDS, Lanes
from egfr_dls.spool.objects import (
    CLOSED,
    SEALED,
    STATES,
    age_seconds,
    number_of,
    open_payload,
    open_payloads,
    read_payload,
    record_key,
    state_key,
    told,
)
from egfr_dls.spool.upload import StreamedObject
from egfr_dls.study import SpoolRef

SEGMENT_RECORDS: Final = 1000  # what one request lists, and one deletes
STATE_SECONDS: Final = 300.0  # how long a state is good: it takes a request for each thousand objects
_HEADS_AT_ONCE = 16
_OWNER = "installation"  # the object that says whose this part of the bucket is
_HERE = "here"  # the object that shows a listener before its first record


class S3Spool:
    """A spool in one bucket, written in the name of one listener and read for all.

    Making it requests nothing, so that a process may fork between that and its first use.

    Parameters
    ----------
    listener
        in whose name to write; None to read only
    """

    def __init__(self, bucket: Bucket, listener: str | None = None, *, segment_records: int = SEGMENT_RECORDS) -> None:
        self._bucket = bucket
        self._listener = _folder(listener) if listener else None
        self._lanes = Lanes(bucket, self._listener, segment_records) if self._listener else None
        self._state: tuple[float, SpoolState] | None = None

    def check(self, installation: str) -> None:
        """Look whether the bucket is there and for us, and show our listener in it.

        Parameters
        ----------
        installation
            whose listeners write here; a second one would index what is not its own, and close what is still written

        Raises
        ------
        ConfigurationError
            the bucket is not there, not for us, or this part of it is another installation's
        SpoolReadError
            nobody answers
        """
        with told():
            try:
                self._require_own(installation)
                if self._listener:
                    self._bucket.put(f"{self._listener}/{STATES}/{_HERE}", b"")
            except BucketRefusedError as error:
                raise ConfigurationError(f"storage.s3: {error}") from error

    def append(
        self,
        entry: Entry,
        parts: Sequence[Bytes] = (),
        *,
        sync: bool = True,  # noqa: ARG002  # an object is durable, or it is not there
    ) -> SpoolRef:
        """Write one whole record; durable on return.

        Raises
        ------
        SpoolWriteError
            the storage refuses or does not answer
        """
        length = crc = 0
        for part in parts:
            length += len(part)
            crc = crc32(part, crc)
        with self._writing().one() as lane:
            head = record.head(entry, lane.generation, length, crc)
            number = lane.next_number()
            try:
                self._bucket.put(lane.key(number), b"".join([*parts, head]))
            except BucketError as error:
                raise SpoolWriteError(f"spool write failed: {error}") from error
        return SpoolRef(lane.segment, number, length)

    def begin(self) -> RecordWriter:
        """Begin a record whose length is not known yet, or that does not fit into memory."""
        return StreamedObject(self._bucket, self._writing())

    def free_bytes(self) -> int:
        """Return a number that is never too small: storage has no known end."""
        return sys.maxsize

    def preparing(self, floor_bytes: int) -> AbstractContextManager[None]:  # noqa: ARG002  # the contract's
        """Nothing makes writing an object faster."""
        return nullcontext()

    def open(self, ref: SpoolRef) -> BinaryIO:
        """Return an instance's Part 10 file (preamble, file meta, data set), to be closed; only what is read is fetched."""
        return open_payload(self._bucket, ref)

    def read(self, ref: SpoolRef) -> bytes:
        """Return the payload of a record."""
        return read_payload(self._bucket, ref)

    def payloads(self, refs: Iterable[SpoolRef]) -> Iterator[RawIOBase]:
        """Yield the payload of each record, to be read before the next; some of them are fetched at a time."""
        return open_payloads(self._bucket, refs)

    def records(self, listener: str, since: Mapping[str, int], *, everything: bool = False) -> Iterator[SpooledRecord]:
        """Yield every record of a listener past the given watermark of each segment, oldest segment first.

        A full segment ends with ``SegmentFull``: at each call until it is archived, with ``everything`` also after that.
        """
        folder = _folder(listener)
        with told():
            states = self._states(folder)  # before the last record of any segment is looked for
            segments = self._segments(folder)
        for segment in segments:
            if SEALED in states.get(segment, "") and not everything:
                continue
            end = since.get(segment, 0)
            for spooled in self._records_of(segment, end):
                end = spooled.end
                yield spooled
            if _is_closed(segment, states) or SEALED in states.get(segment, ""):
                yield SpooledRecord(SegmentFull(), SpoolRef(segment, end, 0), end)

    def waiting(self, listener: str, since: Mapping[str, int]) -> Iterator[Entry]:
        """Yield the entries past the given watermark of each segment: no payload is fetched for them anyway."""
        return (spooled.entry for spooled in self.records(listener, since))

    def segments(self, listener: str) -> frozenset[str]:
        """Return the segments of a listener."""
        with told():
            return frozenset(self._segments(_folder(listener)))

    def sync(self, segment: str) -> None:
        """Do nothing: what ``records`` shows is durable."""

    def archive(self, segment: str) -> None:
        """Note that a segment is full and wholly indexed; a second call does nothing.

        Raises
        ------
        ValueError
            it is not closed for good: what is still appended to it would never be indexed
        """
        with told():
            states = self._states(segment.partition("/")[0])
            if SEALED in states.get(segment, "") or segment not in self._segments(segment.partition("/")[0]):
                return
            if not _is_closed(segment, states):
                raise ValueError(f"spool segment {segment} is not full")
            self._bucket.put(state_key(segment, SEALED), b"")

    def adopt(self, listener: str) -> None:
        """Close for good what a listener that is gone left unfilled, so that ``records`` ends with ``SegmentFull``."""
        folder = _folder(listener)
        with told():
            states = self._states(folder)
            for segment in self._segments(folder):
                if not _is_closed(segment, states):
                    self._bucket.put(state_key(segment, CLOSED), b"")

    def release(self, segment: str) -> None:
        """Delete an archived segment's objects: nothing in it is referred to any more; a second call does nothing."""
        with told():
            if SEALED not in self._states(segment.partition("/")[0]).get(segment, ""):
                return
            self._bucket.delete([key for key, _ in self._bucket.objects(segment)])
            self._bucket.delete(
                [state_key(segment, state) for state in (CLOSED, SEALED)]
            )  # last: what is left is found

    def listeners(self) -> frozenset[str]:
        """Return the names of all listeners that have written here."""
        with told():
            return frozenset(name for name in self._bucket.folders() if layout.is_listener(name))

    def state(self) -> SpoolState:
        """Return how full the spool is, over all listeners, as of ``STATE_SECONDS`` ago at most."""
        if self._state is None or time.monotonic() > self._state[0] + STATE_SECONDS:
            self._state = time.monotonic(), self._counted()
        return self._state[1]

    def close(self) -> None:
        """Close our segments for good: the next process makes its own."""
        if self._lanes:
            self._lanes.close()

    def _require_own(self, installation: str) -> None:
        owner = self._bucket.get(_OWNER, 0, len(installation))
        if owner is None:
            self._bucket.put(_OWNER, installation.encode())
        elif bytes(owner) != installation.encode():
            raise ConfigurationError(
                f"storage.s3: the prefix in {self._bucket.title} is another installation's; needed: a prefix of its own "
                f"(or, where this one takes its place: remove the object {_OWNER} there)"
            )

    def _writing(self) -> Lanes:
        if self._lanes is None:
            raise ValueError("this spool was opened for reading; name a listener to write")
        return self._lanes

    def _segments(self, folder: str) -> list[str]:
        """Return the segments of a listener, oldest first."""
        return sorted(f"{folder}/{name}" for name in self._bucket.folders(folder) if layout.is_segment(name))

    def _states(self, folder: str) -> dict[str, str]:
        """Return what the empty objects say of the segments: the states of each, in one string."""
        states: dict[str, str] = {}
        for key, _ in self._bucket.objects(f"{folder}/{STATES}"):
            name, _, state = key.rpartition("/")[2].rpartition(".")
            states[f"{folder}/{name}"] = f"{states.get(f'{folder}/{name}', '')}.{state}"
        return states

    def _records_of(self, segment: str, start: int) -> Iterator[SpooledRecord]:
        after = record_key(segment, start - 1) if start else ""
        with told():
            found = list(self._bucket.objects(segment, after))
        if not found:
            return
        read = partial(self._record, segment)
        with ThreadPoolExecutor(min(_HEADS_AT_ONCE, len(found)), "spool-heads") as readers:
            left = iter(found)
            while some := list(islice(left, _HEADS_AT_ONCE)):
                yield from (spooled for spooled in readers.map(read, some) if spooled)

    def _record(self, segment: str, found: tuple[str, int]) -> SpooledRecord | None:
        """Return a record by its head; None for an object that is none of ours, or no longer there."""
        key, size = found
        length = size - record.HEAD_BYTES
        if length < 0:
            return None
        with told():
            head = bytes(self._bucket.get(key, length, size) or b"")
        if not record.is_head(head, layout.generation_of(Path(segment)), length):
            return None
        number = number_of(key)
        return SpooledRecord(record.decode(record.header_in(head)), SpoolRef(segment, number, length), number + 1)

    def _counted(self) -> SpoolState:
        active = sealed = used = 0
        for listener in self.listeners():
            with told():
                states, segments = self._states(listener), self._segments(listener)
                used += sum(size for _, size in self._bucket.objects(listener))
            count = sum(SEALED in states.get(segment, "") for segment in segments)
            sealed += count
            active += len(segments) - count
        return SpoolState(ready=0, active=active, sealed=sealed, bytes_used=used, free_bytes=None)


def _folder(listener: str) -> str:
    """Return the folder of a listener's segments, which has its name; ConfigurationError where it cannot be one."""
    return layout.listener_folder(Path(), listener).as_posix()


def _is_closed(segment: str, states: Mapping[str, str]) -> bool:
    return CLOSED in states.get(segment, "") or age_seconds(segment) > CLOSED_SECONDS
