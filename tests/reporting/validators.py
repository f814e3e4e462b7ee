"""Run independent validators over built objects, and tell their known noise from findings."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from egfr_dls.uids import CODING_SCHEME_UID
from reporting.build import to_bytes
from tests.reporting.report_cases import Case

_EXTENSIBLE: Final = "TID 1411 and 1501 are extensible: items beside theirs are allowed (PS3.16 6.2.4)"
# What a tool says of objects that are right (a part of its line), and why that is noise; anything else fails a test.
NOISE: Final[Mapping[str, Mapping[str, str]]] = {
    "dciodvfy": {
        "Unrecognized defined term <99EGFRDLS>": "a private scheme is allowed (PS3.16 8.2: designators that begin with 99)",
        f"Unrecognized defined term <{CODING_SCHEME_UID}>": "so is its UID (PS3.3 C.12.1)",
        "Attribute is not present in standard DICOM IOD - (0x0018,0x1002) UI Device UID": "in PS3.3 C.7.5.2 since CP 2010",
        "Standard Extended SOP Class": "what follows from that",
        "Unrecognized defined term <QUANTITY>": "of the Image Type of a Parametric Map (PS3.3 C.8.32.2)",
    },
    "dcentvfy": {
        "Different information entities for attribute - Element=<AccessionNumber> IE <": (
            "PS3.3 has it in the study and, of the request, in the series (table 10-9)"
        ),
    },
    "DicomSRValidator": {
        'TEXT (122405,DCM,"Algorithm Manufacturer"): Content Item not in template': "row 2b of TID 4019, newer than the tool",
        **{
            f"{item}): Content Item not in template": _EXTENSIBLE
            for item in (
                'TEXT (111001,DCM,"Algorithm Name"',
                'TEXT (111002,DCM,"Algorithm Parameters"',
                'TEXT (111003,DCM,"Algorithm Version"',
                'CODE (111000,DCM,"Algorithm Family"',
                'CODE (276214006,SCT,"Finding category"',
                'CODE (EGFR-PRED,99EGFRDLS,"Predicted EGFR status (imaging)"',
                'CODE (ROI-SOURCE,99EGFRDLS,"Source of the region of interest"',
                'CODE (PATHWAY,99EGFRDLS,"Suggested treatment pathway (research)"',
                'CODE (SCORING,99EGFRDLS,"Scoring status"',
                'CODE (NOT-SCORED-WHY,99EGFRDLS,"Not scored because"',
            )
        },
        'Code (121232,DCM,"Source Series for Segmentation") has different code meaning': (
            "the meaning is for people, the value decides (PS3.3 8.3)"
        ),
    },
    "dcmqi": {
        '(122405,DCM,"Algorithm Manufacturer")': "row 2b of TID 4019, newer than the tool",
        "Measurement Method modifier is interpreted only at the MeasurementGroup level": "of a number by TID 300 row 2",
        "does not support this Specific Character Set: ISO_IR 192": "UTF-8 (PS3.3 C.12.1.1.2) is not checked, but read",
        "Failed to get CIELab values": "Recommended Display CIELab Value (0062,000D) is of type 3 (PS3.3 C.8.20.2)",
    },
}
ACCEPTED: Final = NOISE["dciodvfy"]
(ACCEPTED_BETWEEN,) = NOISE["dcentvfy"]


def findings(tool: str, lines: list[str]) -> list[str]:
    """Return the lines that are no noise of this tool."""
    return [line for line in lines if not any(known in line for known in NOISE[tool])]


def need(tool: str) -> str:
    """Return where a program is, on the path or beside the interpreter; skip the test by name without it."""
    path = shutil.which(tool) or shutil.which(tool, path=str(Path(sys.executable).parent))
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
