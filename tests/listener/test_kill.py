"""kill -9 while receiving: every acknowledged instance is in the spool, and indexed after the restart."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from egfr_dls.ledger import Ledger, instances, studies
from egfr_dls.spool import DirectorySpool
from egfr_dls.study import ReceivedInstance, StudyState
from tests.builders import STUDY_UID
from tests.listener.nodes import until

CONFIG = """
[listener]
port = 0
peers = [{{ ae_title = "SCANNER", host = "127.0.0.1" }}]
[storage]
root = "{root}"
min_free_bytes = 0
[study]
quiet_seconds = 0
"""


@pytest.mark.system
@pytest.mark.parametrize("seed", range(2))
def test_no_acknowledged_instance_is_lost(tmp_path: Path, seed: int) -> None:
    config = tmp_path / "config.toml"
    config.write_text(CONFIG.format(root=tmp_path / "root"))
    moments = random.Random(seed)  # which moment it dies in differs by seed
    acknowledged: list[str] = []
    for n in range(2):
        with process(config) as (listener, port):
            acknowledged += killed_while_sending(listener, port, f"1.2.3.{n + 1}", moments.randrange(1, 60))
    with process(config) as (listener, _port):
        listener.send_signal(signal.SIGTERM)
        assert listener.wait(20) == 0, "a stage that drained ends with 0"
    spool = DirectorySpool(tmp_path / "root" / "spool")
    records = (r.entry for name in spool.listeners() for r in spool.records(name, {}, everything=True))
    kept = {entry.sop_instance_uid for entry in records if isinstance(entry, ReceivedInstance)}
    ledger = Ledger(f"sqlite:///{tmp_path / 'root' / 'ledger.sqlite'}")
    with ledger.read() as tx:
        indexed = set(instances.all_sop_instance_uids(tx))
        snapshot = studies.snapshot(tx, STUDY_UID)
        state = studies.state(tx, STUDY_UID)
    ledger.close()
    assert set(acknowledged) <= kept == indexed
    assert (snapshot.open_associations, snapshot.interrupted) == (0, True)
    assert state in (StudyState.RECEIVING, StudyState.NOT_APPLICABLE), "no result of a part"


def killed_while_sending(listener: subprocess.Popen[bytes], port: int, uid_root: str, after: int) -> list[str]:
    """Kill the listener once that many instances were acknowledged; return all that were."""
    command = [sys.executable, "-m", "tests.listener.sender", str(port), uid_root]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as sender:
        assert sender.stdout is not None
        first = [next(sender.stdout).strip() for _ in range(after)]
        listener.kill()
        return first + sender.stdout.read().split()


@contextmanager
def process(config: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run ``egfr-dls listener`` as a process of its own."""
    log = config.with_suffix(".log")
    command = [sys.executable, "-m", "egfr_dls", "listener", "--config", str(config)]
    with log.open("wb") as err, subprocess.Popen(command, stderr=err) as running:
        try:
            yield running, until(lambda: listening_port(log), "listening")
        finally:
            running.kill()


def listening_port(log: Path) -> Any:
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]
    return next((line["port"] for line in lines if line["event"] == "listening"), None)
