"""A spool with small segments, and entries for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from egfr_dls.spool import DirectorySpool
from tests.egfr_dls.spool.entries import LISTENER, SEGMENT_BYTES
from tests.egfr_dls.spool.object_storage import S3Server, server_with_credentials


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


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server for all tests, each with keys of its own."""
    with server_with_credentials(tmp_path_factory.mktemp("s3")) as server:
        yield server
