"""A multipart body is cut at its boundary, however it arrives."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listener.retrieve.multipart import HEADER_BYTES, Multipart
from listener.retrieve.source import SourceError
from tests.listener.web_archive import BOUNDARY, related


def reading(body: bytes, step: int = 1 << 20) -> Callable[[int], bytes]:
    stream = io.BytesIO(body)
    return lambda size: stream.read(min(size, step))


def contents(body: bytes, step: int = 1 << 20, boundary: str = BOUNDARY) -> list[bytes]:
    return [b"".join(content) for _header, content in Multipart(reading(body, step), boundary).parts()]


PIECE = st.one_of(st.binary(max_size=60), st.sampled_from([b"\r\n", b"--", b"\r\n--part-of-archiv", b"\r\n\r\n"]))


@given(st.lists(st.lists(PIECE, max_size=4).map(b"".join), max_size=4), st.integers(1, 200))
def test_every_part_comes_as_it_was_whatever_the_pieces(parts: list[bytes], step: int) -> None:
    assert contents(related(*parts), step) == parts


def test_preamble_epilogue_padding_and_missing_headers_are_taken() -> None:
    body = b"for old readers\r\n--b \t\r\n\r\none\r\n--b\r\nContent-Type: a/b\r\n\r\ntwo\r\n--b--\r\nand more"
    assert contents(body, boundary="b") == [b"one", b"two"]


def test_the_header_of_each_part_is_read() -> None:
    parts = Multipart(reading(related(b"x")), BOUNDARY).parts()
    assert [header.get_content_type() for header, _content in parts] == ["application/dicom"]


def test_what_is_not_taken_of_a_part_is_skipped() -> None:
    parts = Multipart(reading(related(b"x" * 9, b"y"), 4), BOUNDARY).parts()
    taken = [next(content) for _header, content in parts]
    assert len(taken) == 2
    assert taken[1] == b"y"


def test_a_large_part_is_never_in_memory_as_a_whole() -> None:
    parts = Multipart(reading(related(bytes(4_000_000)), 4096), BOUNDARY).parts()
    assert [max(len(piece) for piece in content) for _header, content in parts] == [4096]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nothing here",
        related(b"x", boundary="another"),
        related(b"x")[:-6],  # no closing delimiter
        related(b"x")[: -len(BOUNDARY) - 8],  # cut within a part
        f"--{BOUNDARY}junk\r\n\r\nx\r\n--{BOUNDARY}--".encode(),
        f"--{BOUNDARY}\r\nX: ".encode() + b"y" * 3 * HEADER_BYTES,
    ],
)
def test_a_body_without_its_boundary_or_its_end_is_broken(body: bytes) -> None:
    with pytest.raises(SourceError, match="MULTIPART_BROKEN"):
        contents(body, 4096)


@pytest.mark.parametrize("boundary", ["", "x" * 71, "ends with ", "a\r\nb", "Ä"])
def test_a_boundary_that_is_none_is_refused(boundary: str) -> None:
    with pytest.raises(SourceError, match="MULTIPART_BROKEN"):
        contents(b"", boundary=boundary)
