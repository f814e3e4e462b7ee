"""A spool with small segments, and entries for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from egfr_dls.spool import DirectorySpool
from tests.egfr_dls.spool.entries import LISTENER, SEGMENT_BYTES


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The spool's folder."""
    return tmp_path / "spool"


@pytest.fixture
def spool(root: Path) -> Iterator[DirectorySpool]:
    """A spool with small segments, written as one listener."""
    made = DirectorySpool(root, LISTENER, segment_bytes=SEGMENT_BYTES)
    yield made
    made.close()
