"""Payloads are files for their readers; what cannot be read is said by a named error."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread

from egfr_dls.spool import DirectorySpool, SpoolReadError, layout
from egfr_dls.study import SpoolRef
from tests.builders import ct_slices, to_part10
from tests.egfr_dls.spool.entries import ENTRY, LISTENER, SEGMENT_BYTES, files, fill, numbered


def test_a_payload_is_read_as_a_dicom_file(spool: DirectorySpool) -> None:
    ds = ct_slices()[0]
    spool.append(numbered(1), [b"before"])
    ref = spool.append(ENTRY, [to_part10(ds)])
    spool.append(numbered(2), [b"behind"])
    with spool.open(ref) as file:
        assert dcmread(file).PixelData == ds.PixelData
    with spool.open(ref) as file:
        assert dcmread(file, defer_size=64).SOPInstanceUID == ds.SOPInstanceUID


def test_only_what_is_read_is_fetched(spool: DirectorySpool, monkeypatch: pytest.MonkeyPatch) -> None:
    ds = ct_slices()[0]
    ds.PixelData = bytes(8 << 20)
    ref = spool.append(ENTRY, [to_part10(ds)])
    fetched: list[int] = []
    preadv = os.preadv
    monkeypatch.setattr(os, "preadv", lambda *a: (fetched.append(preadv(*a)), fetched[-1])[1])
    with spool.open(ref) as file:
        assert dcmread(file, stop_before_pixels=True).SOPInstanceUID == ds.SOPInstanceUID
    assert sum(fetched) < 64 * 1024


@given(body=st.binary(max_size=200), moves=st.lists(st.tuples(st.integers(0, 2), st.integers(-50, 250)), max_size=8))
def test_it_behaves_as_a_file_of_its_own(
    tmp_path_factory: pytest.TempPathFactory, body: bytes, moves: list[tuple[int, int]]
) -> None:
    spool = DirectorySpool(tmp_path_factory.mktemp("spool"), LISTENER)
    ref = spool.append(ENTRY, [body])
    spool.append(numbered(1), [b"behind"])
    with spool.open(ref) as file, io.BytesIO(body) as like:
        for whence, offset in moves:
            start = (0, like.tell(), len(body))[whence]
            if start + offset >= 0:
                assert file.seek(offset, whence) == like.seek(offset, whence)
            assert file.read(7) == like.read(7)
            assert file.tell() == like.tell()
        assert file.read() == like.read()
    spool.close()


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_a_closed_file_lets_go_of_its_descriptor(spool: DirectorySpool) -> None:
    ref = spool.append(ENTRY, [b"x"])
    before = descriptors()
    for _ in range(5):
        with spool.open(ref) as file:
            file.read()
        spool.read(ref)
        with pytest.raises(SpoolReadError):
            spool.open(SpoolRef(ref.segment, ref.offset, 2))
    assert descriptors() == before


def test_a_segment_may_be_archived_while_it_is_looked_for(
    spool: DirectorySpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = fill(spool)
    ref = next(iter(spool.records(LISTENER, {}))).ref
    candidates = layout.candidates

    def meanwhile(root: Path, segment: str) -> object:
        for n, path in enumerate(candidates(root, segment)):
            if n == 1:
                spool.archive(name)
            yield path

    monkeypatch.setattr(layout, "candidates", meanwhile)
    assert spool.read(ref) == bytes(SEGMENT_BYTES)


@pytest.mark.parametrize(
    "change", [{"offset": 2000}, {"offset": 0}, {"length": 7}, {"segment": "listener-a/none.seg"}, {"segment": ""}]
)
def test_a_reference_to_nothing_is_refused(spool: DirectorySpool, change: dict[str, object]) -> None:
    ref = spool.append(ENTRY, [b"payload!"])
    facts = {"segment": ref.segment, "offset": ref.offset, "length": ref.length, **change}
    with pytest.raises(SpoolReadError, match="does not hold an instance"):
        spool.read(SpoolRef(**facts))  # type: ignore[arg-type]


def test_a_file_that_was_cut_and_a_disk_that_fails_are_named_errors(
    spool: DirectorySpool, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = spool.append(ENTRY, [bytes(5000)])
    os.truncate(files(root, "active")[0], 3000)
    with pytest.raises(SpoolReadError, match="ends within"):
        spool.read(ref)

    def fail(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with spool.open(ref) as file:
        monkeypatch.setattr(os, "preadv", fail)
        with pytest.raises(SpoolReadError, match="cannot be read: Input/output error"):
            file.read()
