"""The running listener that the tests of this package ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pynetdicom.association import Association

from tests.listener.nodes import Node, node_settings, paused, running


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A listener with the default test settings."""
    with running(node_settings(tmp_path / "root")) as started:
        yield started


@pytest.fixture(autouse=True)
def patient_senders(monkeypatch: pytest.MonkeyPatch) -> None:
    """No sender of pynetdicom loses an answer that comes at once (see ``nodes.paused``)."""
    for name in ("send_c_store", "send_c_echo"):
        monkeypatch.setattr(Association, name, patient(getattr(Association, name)))


def patient(send: Callable[..., Dataset]) -> Callable[..., Dataset]:
    def sent(assoc: Association, *what: Any, **how: Any) -> Dataset:
        if assoc.is_established and assoc.is_requestor:  # the other side sends from its reactor (C-GET)
            paused(assoc)
        return send(assoc, *what, **how)

    return sent
