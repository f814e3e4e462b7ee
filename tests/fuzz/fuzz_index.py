"""Any order of what a spool may hold, against the indexer and its duties: nothing stops it, and nothing that is kept is lost.

An input is a script: pairs of a step and its argument.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import select

from egfr_dls import settings
from egfr_dls.content_digest import content_digest
from egfr_dls.ledger import Ledger, schema, studies
from egfr_dls.spool import AssociationEnded, CommitmentRequested, DirectorySpool
from egfr_dls.study import ReceivedInstance, SpoolRef, StudyState
from listener.commitment.settlement import Settlement
from listener.indexing.completion import Completion
from listener.indexing.intake import Intake, data_set_offset
from listener.indexing.retention import DAY_SECONDS, Retention
from listener.storage.part10 import file_head
from tests.fuzz.fuzz_commitment import request_bytes
from tests.fuzz.fuzz_data_set import CT, EXPLICIT
from tests.fuzz.fuzz_own import SEG

LISTENER, SEGMENT_BYTES, STEPS = "fuzz", 4096, 60
MODALITIES = ("CT", "PT", "SEG", "")
RETENTION_DAYS = 1.0
ENDED = (StudyState.DELIVERED, StudyState.NOT_APPLICABLE)


def check(script: bytes) -> None:
    """Run a script; raises AssertionError, and whatever the indexer raises."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        node = _Node(Path(folder))
        try:
            node.run(script[: 2 * STEPS])
        finally:
            node.close()


class _Node:
    """A spool, a ledger, and what stands between them, under a clock of their own."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._settings = settings.load(
            None, {"storage": {"root": root}, "study": {"quiet_seconds": 10, "force_seconds": 100}}
        )
        self._now = datetime(2026, 1, 2, tzinfo=UTC).timestamp()
        self._kept: set[tuple[str, str]] = set()  # SOP Instance UID and digest of what the spool took
        self._open()

    def run(self, script: bytes) -> None:
        steps = (
            *(self._receive, self._receive, self._end, self._ask, self._index),
            *(self._decide, self._wait, self._deliver, self._forget, self._restart, self._lose_the_ledger),
        )
        for step, argument in zip(script[::2], script[1::2], strict=False):
            steps[step % len(steps)](argument)
            self._now += 1
        self._index(0)
        self._look()

    def close(self) -> None:
        self._ledger.close()
        self._spool.close()

    def _open(self) -> None:
        self._spool = DirectorySpool(self._root / "spool", LISTENER, segment_bytes=SEGMENT_BYTES)
        self._ledger = Ledger(f"sqlite:///{self._root / 'ledger.sqlite'}")
        self._intake = Intake(self._ledger, self._spool, b"key", LISTENER, lambda: self._now)
        self._settlement = Settlement(self._ledger, self._spool)
        self._completion = Completion(self._ledger, self._settings)
        self._retention = Retention(self._ledger, self._spool, LISTENER, RETENTION_DAYS)

    def _at(self) -> datetime:
        return datetime.fromtimestamp(self._now, UTC)

    def _receive(self, argument: int) -> None:
        """Take an instance: one of few UIDs, so that they come again, with the same content or another one."""
        uid, study, series = f"1.2.{argument % 4}", f"1.{argument // 4 % 2}", f"1.3.{argument // 8 % 3}"
        sop_class = SEG if argument % 5 == 0 else CT
        data = bytes([argument % 4, argument // 16]) * 300
        self._spool.append(
            ReceivedInstance(
                sop_class, uid, study, series, MODALITIES[argument // 8 % 4], EXPLICIT, "SCANNER", "EGFR_DLS", "127.0.0.1",
                f"a{argument // 64}", self._at(),
            ),
            [file_head(sop_class, uid, EXPLICIT), data],
        )  # fmt: skip
        self._kept.add((uid, content_digest([data])))

    def _end(self, argument: int) -> None:
        self._spool.append(AssociationEnded(f"a{argument % 4}", self._at(), released=argument % 8 < 6))

    def _ask(self, argument: int) -> None:
        entry = CommitmentRequested(
            f"1.9.{argument % 3}", EXPLICIT, "SCANNER", "EGFR_DLS", "127.0.0.1", f"a{argument % 4}", self._at()
        )
        self._spool.append(entry, [request_bytes()])

    def _index(self, _argument: int) -> None:
        self._intake.index()

    def _decide(self, _argument: int) -> None:
        self._intake.index()
        self._settlement.apply(self._now)
        self._completion.apply(self._now)
        self._give_up()

    def _wait(self, argument: int) -> None:
        self._now += (1, 11, 101, 2 * DAY_SECONDS)[argument % 4]

    def _deliver(self, _argument: int) -> None:
        """Take a study to its end, as the other stages would."""
        with self._ledger.begin() as tx:
            complete = [row.study_instance_uid for row in studies.listed(tx, StudyState.COMPLETE)]
            tx.execute(schema.job.update().values(state="done"))
            for study in complete[:1]:
                for state in (StudyState.SCORED, StudyState.DELIVERED):
                    studies.move(tx, study, state, self._now)

    def _forget(self, _argument: int) -> None:
        """Let the time of retention go by."""
        self._now += 2 * DAY_SECONDS
        self._intake.index()
        self._give_up()

    def _give_up(self) -> None:
        """Apply retention: only studies that are over lose anything, and then all of it."""
        before = self._rows()
        with self._ledger.read() as tx:
            over = {r.study_instance_uid for r in studies.listed(tx) if StudyState(r.state) in ENDED}
        self._retention.apply(self._now)
        gone = before.keys() - self._rows().keys()
        assert {before[one][0] for one in gone} <= over
        for one in gone:
            self._kept.discard(one)

    def _restart(self, argument: int) -> None:
        self.close()
        self._open()
        self._intake.recover(self._now)

    def _lose_the_ledger(self, argument: int) -> None:
        if argument % 4 == 0:
            self.close()
            for path in self._root.glob("ledger.sqlite*"):
                path.unlink()
            self._open()
            self._intake.recover(self._now)

    def _look(self) -> None:
        """What was taken and not given up has a row, and every row leads to its bytes."""
        rows = self._rows()
        assert self._kept <= rows.keys()
        for (_uid, digest), (_study, ref) in rows.items():
            part10 = self._spool.read(ref)
            assert content_digest([part10[data_set_offset(part10) :]]) == digest

    def _rows(self) -> dict[tuple[str, str], tuple[str, SpoolRef]]:
        """Return study and place of each instance that the ledger has, by SOP Instance UID and digest."""
        with self._ledger.read() as tx:
            return {
                (row.sop_instance_uid, row.digest): (
                    row.study_instance_uid,
                    SpoolRef(row.segment, row.offset, row.length),
                )
                for row in tx.execute(select(schema.instance))
            }


def seeds() -> Iterator[bytes]:
    """Yield the ways of a study: received, complete, delivered, given up, and sent again."""
    study = bytes((0, 0, 0, 9, 0, 18, 2, 0))
    yield study + bytes((4, 0, 5, 0, 6, 1, 5, 0, 7, 0, 8, 0)) + study + bytes((5, 0, 9, 0))
    yield study + bytes((3, 0, 5, 0, 10, 0, 5, 0)) + study
    yield bytes((0, 0, 0, 64, 0, 128, 2, 1, 6, 2, 5, 0, 8, 0, 10, 0))
