"""DCMTK's senders, as a second opinion on the protocol."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from egfr_dls.study import StudyState
from tests.builders import STUDY_UID, petct_study, to_part10
from tests.listener.nodes import Node, until

pytestmark = pytest.mark.dcmtk


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "/usr/bin:/bin", "TCP_NODELAY": "1"},
    )


def test_echoscu(node: Node) -> None:
    assert run("echoscu", "-aet", "SCANNER", "-aec", "EGFR_DLS", "127.0.0.1", str(node.port)).returncode == 0
    refused = run("echoscu", "-aet", "STRANGER", "-aec", "EGFR_DLS", "127.0.0.1", str(node.port))
    assert refused.returncode != 0
    assert "Calling AE Title Not Recognized" in refused.stderr + refused.stdout


def test_storescu(node: Node, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    for number, ds in enumerate(petct_study()):
        (folder / f"{number}.dcm").write_bytes(to_part10(ds))
    sent = run("storescu", "-aet", "SCANNER", "-aec", "EGFR_DLS", "+sd", "127.0.0.1", str(node.port), str(folder))
    assert sent.returncode == 0, sent.stderr
    until(lambda: node.state(STUDY_UID) is StudyState.COMPLETE, "complete")
    assert len(node.indexed()) == 16
