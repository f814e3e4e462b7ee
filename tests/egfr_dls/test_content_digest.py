"""The content digest is BLAKE3, whatever the parts that a data set comes in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from egfr_dls.content_digest import content_digest

# From the test vectors of BLAKE3's authors: the input of one byte, 0.
ONE_ZERO_BYTE = "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"


def test_known_answer() -> None:
    assert content_digest([b"\0"]) == ONE_ZERO_BYTE


@given(st.binary(max_size=3000), st.integers(0, 3000))
def test_parts_are_joined(data: bytes, cut: int) -> None:
    assert content_digest([data[:cut], memoryview(data)[cut:]]) == content_digest([data])
