"""`egfr-dls demo`, as a newcomer runs it first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydicom import dcmread

pytestmark = pytest.mark.system


def test_the_demo_prints_the_report_that_came_back_and_where_it_lies(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "egfr_dls", "demo", "--out", "out"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "EGFR-DLS" in ended.stdout
    assert "DEMONSTRATION" in ended.stdout
    assert "warning" not in ended.stderr
    out = tmp_path / "out"
    modalities = {p.stem: dcmread(p, stop_before_pixels=True).Modality for p in (out / "objects").glob("*.dcm")}
    assert modalities == {"report": "SR", "roi": "SEG", "pages": "OT"}
    assert "DEMONSTRATION" in (out / "report.html").read_text(encoding="utf-8")
    for line in ended.stdout.splitlines():
        if line.startswith(("study ", "report ", "roi ", "pages ", "as a page ")):
            assert (tmp_path / line.split()[-1]).exists()
