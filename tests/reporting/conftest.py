"""What tests of delivery work on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reporting.deliveries import (
    Desk,
    ScriptedPacs,
    desk,
    scripted_pacs,
)


@pytest.fixture
def pacs() -> Iterator[ScriptedPacs]:
    """A PACS that takes everything."""
    with scripted_pacs() as running:
        yield running


@pytest.fixture
def work(tmp_path: Path, pacs: ScriptedPacs) -> Iterator[Desk]:
    """A store with one study's objects due at that PACS."""
    with desk(tmp_path / "store", pacs.port) as opened:
        opened.keep()
        yield opened
