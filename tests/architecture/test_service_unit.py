"""The unit of systemd is one that systemd takes, and gives the service the time that it needs to drain."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from egfr_dls import cli
from egfr_dls.errors import ExitCode
from egfr_dls.settings_sections import Listener
from egfr_dls.supervisor import STOP_MARGIN_SECONDS

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "egfr-dls.service"
PROGRAM = "/opt/egfr-dls/venv/bin/egfr-dls"
TEXT = UNIT.read_text(encoding="utf-8")


def values(key: str) -> list[str]:
    """Return what the unit gives for a key."""
    return re.findall(rf"^{key}=(.*)$", TEXT, re.M)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing (package systemd)")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    copy.write_text(TEXT.replace(PROGRAM, sys.executable), encoding="utf-8")  # verify wants a program that is there
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, [line for line in done.stderr.splitlines() if UNIT.name in line]) == (0, [])


def test_it_waits_until_the_supervisor_has_stopped_every_stage() -> None:
    (limit,) = values("TimeoutStopSec")
    assert float(limit) > Listener().drain_seconds + STOP_MARGIN_SECONDS
    assert values("KillMode") == ["mixed"]  # SIGTERM to the supervisor alone


def test_it_calls_what_there_is_and_does_not_restart_in_vain() -> None:
    assert {line.split()[1] for line in values("ExecStart(?:Pre)?")} <= set(cli.COMMANDS)
    assert values("RestartPreventExitStatus") == [str(int(ExitCode.CONFIGURATION))]


def test_it_can_write_its_root_and_little_else() -> None:
    assert values("ProtectSystem") == ["strict"]
    assert values("ReadWritePaths") == ["/var/lib/egfr-dls"]
    assert values("NoNewPrivileges") == ["yes"]
    assert 'root = "/var/lib/egfr-dls"' in (UNIT.parents[2] / "README.md").read_text(encoding="utf-8")
