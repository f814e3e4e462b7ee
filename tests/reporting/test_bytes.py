"""The same findings give the same bytes, in another process too."""

from __future__ import annotations

import hashlib
import subprocess
import sys

from reporting.build import to_bytes
from reporting.rejection_note import build_rejection_note
from reporting.variants import SR_CLASSES, Variant
from tests.reporting.report_cases import NOW, refused, rtstruct_case, scored

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


VARIANTS = (Variant(), Variant(SR_CLASSES[2], segmentation=False, single_pages=True))


def digests() -> list[str]:
    everything = scored().wanting(pages=True, maps=True, pdf=True, variants=VARIANTS)
    built = [case.build_all() for case in (everything, refused().with_pages(), rtstruct_case("AUTOMATIC"))]
    rejected = [made.dataset for made in built[1]]
    built.append([build_rejection_note(refused().findings, rejected, reason="wrong", by="Rita", at=NOW)])
    return [hashlib.sha256(to_bytes(made)).hexdigest() for objects in built for made in objects]


def test_two_processes_build_the_same_bytes() -> None:
    other = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    here = digests()
    assert len(here) == len(set(here)) == 16
    assert other.stdout.split() == here


def test_the_first_study_waits_for_nothing_that_could_be_loaded_before() -> None:
    subprocess.run([sys.executable, "-c", FIRST_REPORT], check=True)
