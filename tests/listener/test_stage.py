"""When the indexer works: at a release, and when a quiet time ends; not only at a tick. How a listener ends that fails."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from egfr_dls.errors import TemporaryFailureError
from egfr_dls.ledger import Ledger, studies
from egfr_dls.spool import DirectorySpool, Entry, SpoolWriteError
from egfr_dls.study import SpoolRef, StudyState
from listener import stage
from listener.bell import Bell
from listener.indexing import indexer
from listener.indexing.completion import Completion
from listener.upper_layer.server import Server
from tests.builders import STUDY_UID, ct_slices, petct_study
from tests.listener.nodes import LIMIT_SECONDS, Threads, node_settings, running, until

NOW = 1_700_000_000.0


@pytest.mark.parametrize("quiet_seconds", [0, 0.3])
def test_study_is_complete_without_a_tick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quiet_seconds: float
) -> None:
    """At its release; with a quiet time, when that has passed."""
    monkeypatch.setattr(indexer, "TICK_SECONDS", 3600.0)
    with running(node_settings(tmp_path / "root", study={"quiet_seconds": quiet_seconds})) as node:
        assert set(node.send(petct_study())) == {0x0000}
        until(lambda: node.state(STUDY_UID) is StudyState.COMPLETE, "complete")


@pytest.mark.parametrize("end", ["release", "abort"])
def test_a_disk_that_fails_at_the_end_of_an_association_blocks_no_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """The end is recorded when the disk takes it, though nobody sends any more."""
    append, fails = DirectorySpool.append, threading.Event()

    def failing(spool: DirectorySpool, entry: Entry, *how: Any, **more: Any) -> SpoolRef:
        if fails.is_set():
            raise SpoolWriteError("full")
        return append(spool, entry, *how, **more)

    monkeypatch.setattr(DirectorySpool, "append", failing)
    with running(node_settings(tmp_path / "root")) as node:
        ct = ct_slices()[:1]
        assoc = node.associate(ct)
        assert assoc.send_c_store(ct[0]).Status == 0
        fails.set()
        getattr(assoc, end)()
        until(lambda: node.logged("release_not_recorded") or node.logged("loss_not_recorded"), "not recorded")
        fails.clear()
        until(lambda: node.state(STUDY_UID) is StudyState.NOT_APPLICABLE, "decided")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger."""
    opened = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    yield opened
    opened.close()


def test_completion_says_when_to_ask_again(ledger: Ledger, tmp_path: Path) -> None:
    completion = Completion(ledger, node_settings(tmp_path, study={"quiet_seconds": 60}))
    assert completion.apply(NOW) == math.inf
    for uid, seen_at in (("1.2.3", NOW), ("1.2.4", NOW + 10)):
        with ledger.begin() as tx:
            studies.ensure(tx, uid, b"k" * 32, seen_at)
    assert completion.apply(NOW + 20) == NOW + 60
    assert completion.apply(NOW + 60) == NOW + 70  # the first one, which holds no PET, has left
    assert completion.apply(NOW + 70) == math.inf
    with ledger.read() as tx:
        assert {row.state for row in studies.listed(tx)} == {StudyState.NOT_APPLICABLE}


def test_receivers_end_before_the_indexer_where_the_start_fails(tmp_path: Path) -> None:
    """Each of them holds the bell, and the indexer works while anybody does."""

    class Failing(Threads):
        joined: list[str]

        def start(self, name: str, work: Callable[[], None], hears: Sequence[Bell]) -> None:
            if name == "receiver" and any(member.name == name for member in self._members):
                raise MemoryError
            super().start(name, work, hears)

        def join(self, name: str) -> None:
            self.joined.append(name)
            super().join(name)

    crew = Failing()
    crew.joined = []
    settings = node_settings(tmp_path / "root", listener={"workers": 3})
    with pytest.raises(MemoryError):
        stage.main(settings, "listener-test", threading.Event(), crew)
    assert crew.joined == ["receiver", "indexer"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_receiver_that_accepts_no_longer_ends_the_listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "_await_callers", lambda _: 1 / 0)
    stop = threading.Event()
    late = threading.Timer(LIMIT_SECONDS, stop.set)
    late.start()
    with pytest.raises(TemporaryFailureError, match="accepts"):
        stage.main(node_settings(tmp_path / "root"), "listener-test", stop, Threads())
    late.cancel()
