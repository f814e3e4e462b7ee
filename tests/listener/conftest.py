"""The running listener that the tests of this package ask for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.listener.nodes import Node, node_settings, running


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A listener with the default test settings."""
    with running(node_settings(tmp_path / "root")) as started:
        yield started
