"""Independent judges of our objects."""

from __future__ import annotations

import subprocess
from pathlib import Path


def dciodvfy_errors(path: Path) -> list[str]:
    """Return the error lines of dciodvfy on a file; it must have read it as an object of a known class."""
    done = subprocess.run(
        ["dciodvfy", str(path)], capture_output=True, text=True, errors="replace", check=False, timeout=120
    )
    lines = (done.stdout + done.stderr).splitlines()
    assert lines, f"dciodvfy says nothing of {path.name}"
    return [line for line in lines if line.startswith("Error")]


def dcentvfy_faults(paths: list[Path]) -> list[str]:
    """Return what dcentvfy finds to differ among objects that share patient, study and series."""
    done = subprocess.run(
        ["dcentvfy", *map(str, paths)], capture_output=True, text=True, errors="replace", check=False, timeout=120
    )
    lines = (done.stdout + done.stderr).splitlines()
    accepted = "Different information entities for attribute - AccessionNumber IE <Series> versus <Study>"
    return [line for line in lines if line.startswith("Error") and accepted not in line]
