"""A ledger for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from egfr_dls.ledger import Ledger, Tx


@pytest.fixture
def tx(tmp_path: Path) -> Iterator[Tx]:
    """An open transaction on an empty ledger."""
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    with ledger.begin() as opened:
        yield opened
    ledger.close()
