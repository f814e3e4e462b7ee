"""A record whose payload arrives in parts, sent to object storage while it does."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from zlib_ng.zlib_ng import crc32

from egfr_dls.spool import record
from egfr_dls.spool.bucket import PART_BYTES, Bucket, BucketError
from egfr_dls.spool.contract import Bytes, Entry, SpoolWriteError
from egfr_dls.spool.lanes import Lane, Lanes
from egfr_dls.study import SpoolRef

_LOOK_SECONDS = 0.2  # between two looks whether the upload has failed


class StreamedObject:
    """Gathers a payload into parts; used by one thread. What fits one part is stored by one request."""

    def __init__(self, bucket: Bucket, lanes: Lanes) -> None:
        self._bucket = bucket
        self._lanes = lanes
        self._lane: Lane | None = lanes.take()
        self._number = self._lane.next_number()
        self._upload: _Upload | None = None
        self._gathered = bytearray()
        self._length = self._crc = 0

    def write(self, parts: Sequence[Bytes]) -> None:
        """Append to the payload; not yet durable. The parts may be overwritten after the return."""
        lane = self._open()
        for part in parts:
            self._gathered += part
            self._length += len(part)
            self._crc = crc32(part, self._crc)
        if len(self._gathered) >= PART_BYTES:
            try:
                self._send(lane)
            except BucketError as error:
                raise self._failed(error) from error

    def commit(self, entry: Entry) -> SpoolRef:
        """Send the rest and the head; durable on return."""
        lane = self._open()
        lane.require_open()
        self._gathered += record.head(entry, lane.generation, self._length, self._crc)
        try:
            if self._upload:
                self._upload.finish(self._gathered)
            else:
                self._bucket.put(lane.key(self._number), self._gathered)
        except BucketError as error:
            raise self._failed(error) from error
        self._over()
        return SpoolRef(lane.segment, self._number, self._length)

    def discard(self) -> None:
        """Give up the record; after ``commit`` or a failure there is nothing to give up."""
        if self._upload and self._lane:
            self._upload.abandon()
        self._over()

    def _send(self, lane: Lane) -> None:
        if not self._upload:
            self._upload = _Upload(partial(self._bucket.put_parts, lane.key(self._number)))
        self._upload.send(self._gathered)
        self._gathered = bytearray()

    def _open(self) -> Lane:
        if self._lane is None:
            raise SpoolWriteError("spool write failed: the record is over")
        return self._lane

    def _over(self) -> None:
        lane, self._lane = self._lane, None
        if lane:
            self._lanes.put_back(lane)

    def _failed(self, error: BucketError) -> SpoolWriteError:
        self._over()
        return SpoolWriteError(f"spool write failed: {error}")


class _Upload:
    """Stores parts in a thread of its own, one of them waiting while another is on its way."""

    def __init__(self, store: Callable[[Iterator[Bytes]], None]) -> None:
        self._waiting: queue.Queue[Bytes | None] = queue.Queue(maxsize=1)
        self._abandoned = threading.Event()
        self._failure: Exception | None = None
        self._is_stored = False
        self._thread = threading.Thread(target=self._run, args=(store,), name="spool-upload", daemon=True)
        self._thread.start()

    def send(self, part: Bytes | None) -> None:
        """Have a part stored when the one before it is; None: that was the last one.

        Raises
        ------
        BucketError
            storing has failed
        """
        while self._thread.is_alive():
            try:
                self._waiting.put(part, timeout=_LOOK_SECONDS)
            except queue.Full:
                continue
            return
        raise self._failure or BucketError("the upload ended before the object was stored")

    def finish(self, last: Bytes) -> None:
        """Store the last part; the object is durable on return, which takes the storage's word: no failure seen is not enough."""
        self.send(last)
        self.send(None)
        self._thread.join()
        if not self._is_stored:
            raise self._failure or BucketError("the upload ended before the object was stored")

    def abandon(self) -> None:
        """Have the storage forget the parts that it has."""
        self._abandoned.set()
        try:
            self.send(None)
        except BucketError:
            return
        self._thread.join()

    def _run(self, store: Callable[[Iterator[Bytes]], None]) -> None:
        try:
            store(self._parts())
            self._is_stored = True
        except (BucketError, _AbandonedError) as error:
            self._failure = error

    def _parts(self) -> Iterator[Bytes]:
        while (part := self._waiting.get()) is not None:
            yield part
        if self._abandoned.is_set():
            raise _AbandonedError


class _AbandonedError(Exception):
    """The record was given up: the library ends the upload, and the storage forgets its parts."""
