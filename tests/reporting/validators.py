"""Run independent validators over built objects, and tell their known noise from findings."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from egfr_dls.uids import CODING_SCHEME_UID
from reporting.build import to_bytes
from tests.reporting.report_cases import Case

ACCEPTED = (  # the 2022 tool does not know private code schemes, nor Device UID (CP 2010)
    "Unrecognized defined term <99EGFRDLS>",
    f"Unrecognized defined term <{CODING_SCHEME_UID}>",
    "Attribute is not present in standard DICOM IOD - (0x0018,0x1002) UI Device UID",
    "Standard Extended SOP Class",
    "Unrecognized defined term <QUANTITY>",  # in the Image Type of a Parametric Map
)
ACCEPTED_BETWEEN = "Different information entities for attribute - Element=<AccessionNumber> IE <"


def need(tool: str) -> str:
    path = shutil.which(tool)
    if path is None:
        pytest.skip(f"{tool} is not installed")
    return path


def written(case: Case, folder: Path, prefix: str = "") -> list[Path]:
    paths = []
    for number, made in enumerate(case.build_all()):
        paths.append(folder / f"{prefix}{number}-{made.kind}.dcm")
        paths[-1].write_bytes(to_bytes(made))
    return paths


def remarks(*command: str | Path) -> list[str]:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    return [line for line in (done.stdout + done.stderr).splitlines() if re.match(r"(Error|Warning)", line)]
