"""Whether what is on the disk is what was promised."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from egfr_dls.content_digest import content_digest
from egfr_dls.spool import DirectorySpool
from egfr_dls.study import ReceivedInstance, SpoolRef
from listener.indexing.intake import data_set_offset

Contents = Mapping[str, frozenset[str]]  # SOP Instance UID -> digest of each data set under it


@dataclass
class Tally:
    """Instances: acknowledged, and what became of them; the rest has to be 0."""

    acknowledged: int = 0
    present: int = 0
    lost: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)  # kept, but not what a sender sent
    unindexed: list[str] = field(default_factory=list)  # kept and not, or not exactly once, in the ledger
    remarks: list[str] = field(default_factory=list)

    @property
    def faults(self) -> int:
        """How much is wrong."""
        return len(self.lost) + len(self.foreign) + len(self.unindexed) + len(self.remarks)


def in_spool(folder: Path) -> Contents:
    """Return what a spool's records hold, each read back and digested."""
    spool = DirectorySpool(folder)
    found: dict[str, frozenset[str]] = {}
    for name in spool.listeners():
        for record in spool.records(name, {}, everything=True):
            if isinstance(record.entry, ReceivedInstance):
                uid = record.entry.sop_instance_uid
                found[uid] = found.get(uid, frozenset()) | {_digest(spool.read(record.ref))}
    return found


def in_ledger(root: Path) -> tuple[Contents, Counter[str]]:
    """Return what lies where the ledger says, read back and digested, and how many rows each UID has."""
    spool = DirectorySpool(root / "spool")
    found, rows = {}, Counter[str]()
    for uid, said, ref in _rows(root / "ledger.sqlite"):
        digest = _digest(spool.read(ref))
        rows[uid] += 1
        found[uid] = found.get(uid, frozenset()) | {digest if digest == said else "not what the ledger says"}
    return found, rows


def uids_in_ledger(root: Path) -> set[str]:
    """Return the SOP Instance UIDs that the ledger has by now."""
    return {uid for uid, *_ in _rows(root / "ledger.sqlite")}


def judge_spool(tally: Tally, kept: Contents, begun: Mapping[str, str], acknowledged: Collection[str]) -> None:
    """Note what was lost, and what nobody sent."""
    tally.lost += [uid for uid in acknowledged if begun[uid] not in kept.get(uid, ())]
    tally.foreign += [uid for uid, digests in kept.items() if digests != {begun.get(uid)}]


def judge_ledger(tally: Tally, kept: Contents, indexed: Contents, rows: Mapping[str, int]) -> None:
    """Note what the ledger does not have exactly once."""
    tally.unindexed += [uid for uid in kept.keys() | indexed.keys() if kept.get(uid) != indexed.get(uid)]
    tally.unindexed += [uid for uid, count in rows.items() if count != 1]


def _rows(ledger: Path) -> Iterator[tuple[str, str, SpoolRef]]:
    with sqlite3.connect(ledger) as db:
        for row in db.execute('SELECT sop_instance_uid, digest, segment, "offset", length FROM instance'):
            if None in row:  # all are NOT NULL: the pages of a ledger whose syncs were lost do not fit each other
                raise sqlite3.DatabaseError(f"the row of instance {row[0]} is damaged")
            uid, digest, *ref = row
            yield uid, digest, SpoolRef(*ref)


def _digest(part10: bytes) -> str:
    return content_digest([memoryview(part10)[data_set_offset(part10) :]])
