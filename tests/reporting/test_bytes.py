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

FIRST_REPORT = """
import sys
from highdicom._standard_utils import get_module_attribute_map
from tests.reporting.report_cases import scored
from reporting.build import prepare, to_bytes
assert get_module_attribute_map.cache_info().currsize == 0
prepare()
assert get_module_attribute_map.cache_info().currsize == 1
before = set(sys.modules)
for made in scored().with_pages().build().values():
    to_bytes(made)
assert set(sys.modules) == before, set(sys.modules) - before
assert "matplotlib" not in sys.modules
"""


def digests() -> list[str]:
    cases = (scored().with_pages(), refused().with_pages(), rtstruct_case("AUTOMATIC"))
    return [hashlib.sha256(to_bytes(made)).hexdigest() for case in cases for made in case.build().values()]


def test_two_processes_build_the_same_bytes() -> None:
    other = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    here = digests()
    assert len(here) == 7
    assert other.stdout.split() == here


def test_the_first_study_waits_for_nothing_that_could_be_loaded_before() -> None:
    subprocess.run([sys.executable, "-c", FIRST_REPORT], check=True)
