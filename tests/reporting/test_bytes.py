"""The same findings give the same bytes, in another process too."""

from __future__ import annotations

import hashlib
import subprocess
import sys

from reporting.build import to_bytes
from tests.reporting.report_cases import refused, rtstruct_case, scored

PROGRAM = """
from tests.reporting.test_bytes import digests
print("\\n".join(digests()))
"""


def digests() -> list[str]:
    cases = (scored().with_pages(), refused().with_pages(), rtstruct_case("AUTOMATIC"))
    return [hashlib.sha256(to_bytes(made)).hexdigest() for case in cases for made in case.build().values()]


def test_two_processes_build_the_same_bytes() -> None:
    other = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    here = digests()
    assert len(here) == 7
    assert other.stdout.split() == here
