"""Senders that know what was promised: the digest of all that they began to send, and the UIDs that were acknowledged."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from egfr_dls.content_digest import content_digest
from listener.upper_layer.pdu import message
from tests.builders import STUDY_UID, ct_slices, to_part10
from tests.listener.wire import Peer, store_command

KIB, MIB = 1 << 10, 1 << 20
SMALL, LARGE = (
    (10 * KIB, MIB),
    (4 * MIB + 64 * KIB, 7 * MIB),
)  # the receive buffer holds 4 MiB: larger ones are streamed
LARGE_SHARE = 0.02
PDU_BYTES = 131072
SUCCESS = 0x0000
AGAIN_SECONDS, REST_SECONDS = 0.01, 1.0  # between two attempts to connect; between two questions whether to rest
ABORT_SHARE, AGAIN_SHARE = 0.2, 0.5  # associations that end without a release; unanswered objects that are sent again
_NOISE = np.random.default_rng(1).bytes(2 * LARGE[1])
_INSTANCE, _STUDY = "1.2.826.0.1.3680043.10.2.777777777777", "1.2.826.0.1.3680043.10.3.888888888888"


@dataclass(frozen=True)
class Instance:
    """One object on its way."""

    sop_instance_uid: str
    study_instance_uid: str
    data_set: bytes

    def digest(self) -> str:
        """Return what the ledger should say of it."""
        return content_digest([self.data_set])


@dataclass
class Promises:
    """What senders know, by SOP Instance UID: before the first byte what is sent, after 0000H was read that it was."""

    begun: dict[str, str] = field(default_factory=dict)  # -> digest of the data set
    studies: dict[str, str] = field(default_factory=dict)  # -> Study Instance UID
    acknowledged: set[str] = field(default_factory=set)
    refused: dict[int, int] = field(default_factory=dict)  # status -> how many times


class Sender:
    """Sends one object after the other, over many associations, whatever happens at the other end."""

    def __init__(self, port: int, number: int, seed: int, promises: Promises) -> None:
        self._port = port
        self._random = random.Random(seed * 1000 + number)
        first = 10**11 + seed % 8000 * 10**8 + number * 10**6  # no two senders of one root have numbers in common
        self._numbers = iter(range(first, first + 10**6))
        self._study = 0
        self._unanswered: Instance | None = None
        self._promises = promises

    def run(self, over: threading.Event, rest: Callable[[], bool]) -> None:
        """Send until told to stop."""
        while not over.is_set():
            if rest():
                over.wait(REST_SECONDS)
                continue
            try:
                with Peer(self._port) as peer:
                    self._associate(peer, over)
            except (OSError, AssertionError):  # nobody listens, or the connection broke
                over.wait(AGAIN_SECONDS)

    def _associate(self, peer: Peer, over: threading.Event) -> None:
        peer.associate()
        self._study = next(self._numbers)
        for _ in range(self._random.randrange(1, 30)):
            if over.is_set():
                break
            self._store(peer)
        if self._random.random() > ABORT_SHARE:
            peer.release()

    def _store(self, peer: Peer) -> None:
        instance = self._unanswered if self._unanswered and self._random.random() < AGAIN_SHARE else self._next()
        self._unanswered = instance
        self._promises.begun[instance.sop_instance_uid] = instance.digest()
        self._promises.studies[instance.sop_instance_uid] = instance.study_instance_uid
        command = store_command(instance=instance.sop_instance_uid)
        peer.send(message(1, command, instance.data_set, PDU_BYTES))
        status = peer.status()
        self._unanswered = None
        if status == SUCCESS:
            self._promises.acknowledged.add(instance.sop_instance_uid)
        else:
            self._promises.refused[status] = self._promises.refused.get(status, 0) + 1

    def _next(self) -> Instance:
        chosen = self._random
        low, high = LARGE if chosen.random() < LARGE_SHARE else SMALL
        n_bytes = int(low * (high / low) ** chosen.random()) & ~1
        return instance_of(next(self._numbers), self._study, n_bytes, chosen.randrange(LARGE[1]))


def never() -> bool:
    """Return that there is no rest."""
    return False


@contextmanager
def sending(port: int, senders: int, seed: int, rest: Callable[[], bool] = never) -> Iterator[Promises]:
    """Run senders until the block ends; they open no association while ``rest`` says so."""
    promises, over = Promises(), threading.Event()
    runs = [Sender(port, n, seed, promises).run for n in range(senders)]
    threads = [threading.Thread(target=run, args=(over, rest), daemon=True) for run in runs]
    for thread in threads:
        thread.start()
    try:
        yield promises
    finally:
        over.set()
        for thread in threads:
            thread.join()


def instance_of(number: int, study: int, n_bytes: int, noise_at: int) -> Instance:
    """Return a CT image with this many bytes of noise for pixels."""
    uid, study_uid = (
        _INSTANCE.replace("777777777777", f"{number:012d}"),
        _STUDY.replace("888888888888", f"{study:012d}"),
    )
    front = _front().replace(_INSTANCE.encode(), uid.encode()).replace(_STUDY.encode(), study_uid.encode())
    pixels = _NOISE[noise_at : noise_at + n_bytes]
    return Instance(uid, study_uid, b"".join((front, len(pixels).to_bytes(4, "little"), pixels)))


@cache
def _front() -> bytes:
    """Return a data set up to the length of Pixel Data (7FE0,0010), its last element."""
    ds = ct_slices(np.zeros((1, 2, 2)))[0]
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = _INSTANCE
    ds.StudyInstanceUID, ds.PixelData = _STUDY, bytes(8)
    part10 = to_part10(ds)
    assert STUDY_UID.encode() not in part10
    (meta_bytes,) = (int.from_bytes(part10[140:144], "little"),)
    return part10[144 + meta_bytes : -12]
