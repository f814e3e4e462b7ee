"""Keeps of many inputs the few that together reach all that they reach, the shortest first, each named by its content.

    python -m tests.fuzz.minimise TARGET FOLDER [--coarse]

They replace ``corpus/TARGET``, whose inputs take part. What is reached: each step from one line of ours to another, and roughly
how often (as libFuzzer counts: once, twice, thrice, up to 7, 15, 31, 127 times, more often); with ``--coarse``, for what takes
long, the steps alone.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import sys
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import Any

import structlog

from tests.conftest import REPOSITORY
from tests.fuzz.__main__ import CORPUS

OURS = (f"{REPOSITORY}/listener/", f"{REPOSITORY}/egfr_dls/spool/", f"{REPOSITORY}/egfr_dls/ledger/")
OFTEN = (1, 2, 3, 4, 8, 16, 32, 128)
Step = tuple[str, int, int]


def main() -> None:
    """Choose and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--coarse", action="store_true")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    check = importlib.import_module(f"tests.fuzz.fuzz_{options.target}").check
    corpus = CORPUS / options.target
    corpus.mkdir(parents=True, exist_ok=True)
    inputs = {path.read_bytes() for folder in (options.folder, corpus) for path in folder.iterdir()}
    chosen = minimised(inputs, check, () if options.coarse else OFTEN)
    for path in corpus.iterdir():
        path.unlink()
    for encoded in chosen:
        (corpus / hashlib.sha1(encoded).hexdigest()).write_bytes(encoded)
    sys.stdout.write(f"{options.target}: {len(chosen)} of {len(inputs)} inputs, {sum(map(len, chosen))} bytes\n")


def minimised(inputs: set[bytes], check: Callable[[bytes], None], often: Sequence[int]) -> list[bytes]:
    """Return the inputs that reach what no shorter one does."""
    known: set[tuple[Step, int]] = set()
    chosen = []
    for encoded in sorted(inputs, key=lambda one: (len(one), one)):
        new = {(step, bisect(often, times)) for step, times in reached(encoded, check).items()} - known
        if new:
            known |= new
            chosen.append(encoded)
    return chosen


def reached(encoded: bytes, check: Callable[[bytes], None]) -> Counter[Step]:
    """Return the steps that an input takes, each with how often."""
    steps: Counter[Step] = Counter()
    at: dict[FrameType, int] = {}

    def step(frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "line":
            steps[frame.f_code.co_filename, at.get(frame, 0), frame.f_lineno] += 1
            at[frame] = frame.f_lineno
        elif event == "return":
            at.pop(frame, None)
        return step

    sys.settrace(lambda frame, _event, _argument: step if _is_ours(frame.f_code.co_filename) else None)
    try:
        check(encoded)
    finally:
        sys.settrace(None)
    return steps


@lru_cache(maxsize=4096)
def _is_ours(file: str) -> bool:
    return file.startswith(OURS)


if __name__ == "__main__":
    main()
