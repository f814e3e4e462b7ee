"""What is not a whole record of this generation is never shown, wherever the disk cut or changed it."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egfr_dls.spool import DirectorySpool, Entry, record
from tests.egfr_dls.spool.entries import AT, ENDED, ENTRY, LISTENER, REQUESTED, entries, files, numbered, records


@pytest.mark.parametrize("entry", [ENTRY, ENDED, replace(ENDED, released=False), REQUESTED])
def test_every_kind_of_entry_is_read_back_as_it_was_written(spool: DirectorySpool, entry: Entry) -> None:
    ref = spool.append(entry, [b"preamble", b"", bytearray(b"data "), memoryview(b"set")])
    assert spool.read(ref) == b"preambledata set"
    assert [(r.entry, r.ref, r.end) for r in records(spool)] == [(entry, ref, ref.offset + ref.length)]


def test_an_entry_needs_no_payload(spool: DirectorySpool) -> None:
    ref = spool.append(ENDED)
    assert (spool.read(ref), spool.open(ref).read()) == (b"", b"")
    assert entries(spool) == [ENDED]


@given(parts=st.lists(st.binary(max_size=300), max_size=6), streamed=st.lists(st.binary(max_size=300), max_size=6))
def test_any_payload_survives(parts: list[bytes], streamed: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        spool = DirectorySpool(Path(folder), LISTENER)
        whole, writer = spool.append(numbered(1), parts), spool.begin()
        for part in streamed:
            writer.write([part])
        in_parts = writer.commit(numbered(2))
        assert (spool.read(whole), spool.read(in_parts)) == (b"".join(parts), b"".join(streamed))
        assert entries(spool) == [numbered(1), numbered(2)]
        spool.close()


def test_more_parts_than_one_call_takes_are_written(spool: DirectorySpool) -> None:
    parts = [bytes([n % 251]) for n in range(3000)]
    assert spool.read(spool.append(ENTRY, parts)) == b"".join(parts)
    assert entries(spool) == [ENTRY]


def test_the_longest_fields_that_dicom_allows_fit() -> None:
    """UI 64, AE and CS 16 characters; an AE title of characters that JSON writes with six."""
    longest = {f.name: "1." + "2" * 62 for f in fields(ENTRY) if f.name.endswith("_uid")}
    entry = replace(
        ENTRY, **longest, modality="M" * 16, calling_ae_title="\x01" * 16, called_ae_title="\x01" * 16,
        peer_address="1234:" * 9, association_id="a" * 36, received_at=AT.replace(microsecond=999999),
    )  # fmt: skip
    assert record.decode(record.head(entry, 1, 0, 0)[32:].rstrip(b"\0")) == entry


def test_an_entry_that_does_not_fit_is_refused_and_leaves_nothing(spool: DirectorySpool) -> None:
    with pytest.raises(ValueError, match="needed: 992 at most"):
        spool.append(replace(ENTRY, modality="M" * 1000), [b"x"])
    spool.append(numbered(1), [b"x"])
    assert entries(spool) == [numbered(1)]


def test_the_tail_may_be_cut_at_every_byte(spool: DirectorySpool, root: Path) -> None:
    """A power loss leaves a torn tail; every record before it stays intact and nothing else is shown."""
    bodies = written(spool, [50, 0, 50])
    (path,) = files(root, "active")
    whole, ends = path.read_bytes(), [r.end for r in records(spool)]
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        found = records(spool)
        assert [r.entry for r in found] == [numbered(n) for n in range(3) if ends[n] <= size]
        assert [spool.read(r.ref) for r in found] == bodies[: len(found)]


def test_a_page_that_never_reached_the_disk_ends_the_records(spool: DirectorySpool, root: Path) -> None:
    """Of a record that was not synced, any page may be missing: it reads as zeros."""
    bodies = written(spool, [9000, 9000])
    (path,) = files(root, "active")
    whole, first_end = path.read_bytes(), records(spool)[0].end
    for page in range(first_end // 4096 + 1, len(whole) // 4096 + 1):
        path.write_bytes(whole[: page * 4096] + bytes(4096) + whole[(page + 1) * 4096 :])
        assert [spool.read(r.ref) for r in records(spool)] == bodies[:1]


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, 10**6), mask=st.integers(1, 255))
def test_a_damaged_byte_is_never_shown(at: int, mask: int) -> None:
    """Every byte of a record is covered, also the zeros behind its header."""
    with tempfile.TemporaryDirectory() as folder:
        spool = DirectorySpool(Path(folder), LISTENER)
        written(spool, [200, 200, 200])
        spool.close()
        (path,) = files(Path(folder), "active")
        ends = [r.end for r in records(spool)]
        damaged = bytearray(path.read_bytes())
        at %= len(damaged)
        damaged[at] ^= mask
        path.write_bytes(damaged)
        assert entries(spool) == [numbered(n) for n in range(3) if ends[n] <= at]


def test_whole_records_of_another_generation_are_not_shown(spool: DirectorySpool, root: Path) -> None:
    """What lies behind the tail of a recycled segment: records of its earlier life, aligned as it may happen."""
    written(spool, [100, 100])
    spool.close()
    (path,) = files(root, "active")
    old = path.read_bytes()
    again = DirectorySpool(root, "other")
    again.append(numbered(7), [bytes(100)])
    (target,) = files(root, "active", "other")
    size = target.stat().st_size
    with target.open("ab") as file:
        file.write(old[size:])
    assert entries(again, "other") == [numbered(7)]
    again.append(numbered(8), [b"y"])
    assert entries(again, "other") == [numbered(7), numbered(8)]
    again.close()


def test_a_record_inside_a_payload_that_was_given_up_is_not_shown(spool: DirectorySpool) -> None:
    """A sender may make a payload look like a record and break off; it cannot know the generation."""
    forged = record.head(numbered(666), 1, 0, 0)
    writer = spool.begin()
    writer.write([forged * 8])
    writer.discard()
    spool.append(numbered(1), [])
    assert entries(spool) == [numbered(1)]


def test_a_given_up_payload_behind_a_shorter_record_is_not_shown(spool: DirectorySpool) -> None:
    writer = spool.begin()
    writer.write([b"long" * 1000])
    writer.discard()
    ref = spool.append(numbered(1), [b"short"])
    assert (entries(spool), spool.read(ref)) == ([numbered(1)], b"short")
    spool.append(numbered(2), [b"next"])
    assert entries(spool) == [numbered(1), numbered(2)]


def written(spool: DirectorySpool, lengths: Sequence[int]) -> list[bytes]:
    """Append one numbered record of random bytes for each length; return their payloads."""
    bodies = [random.Random(n).randbytes(length) for n, length in enumerate(lengths)]
    for n, body in enumerate(bodies):
        spool.append(numbered(n), [body])
    return bodies
