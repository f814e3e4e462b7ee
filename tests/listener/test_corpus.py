"""Every input that coverage-guided fuzzing kept, replayed: each reaches something that no other one does."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import REPOSITORY
from tests.fuzz import fuzz_commitment, fuzz_data_set, fuzz_index, fuzz_own, fuzz_pdu, fuzz_spool

TARGETS = {
    "pdu": fuzz_pdu,
    "data_set": fuzz_data_set,
    "commitment": fuzz_commitment,
    "spool": fuzz_spool,
    "own": fuzz_own,
    "index": fuzz_index,
}
CORPUS = REPOSITORY / "tests" / "fuzz" / "corpus"
MAX_CORPUS_BYTES = 300_000


def inputs(name: str) -> list[Path]:
    return sorted((CORPUS / name).iterdir())


@pytest.mark.parametrize(("name", "target"), TARGETS.items(), ids=TARGETS.keys())
def test_every_input_of_the_corpus_passes(name: str, target: ModuleType) -> None:
    assert inputs(name)
    for path in inputs(name):
        try:
            target.check(path.read_bytes())
        except BaseException as error:
            error.add_note(f"corpus/{name}/{path.name}")
            raise


@pytest.mark.parametrize(("name", "target"), TARGETS.items(), ids=TARGETS.keys())
def test_every_seed_passes(name: str, target: ModuleType) -> None:
    for seed in target.seeds():
        target.check(seed)


def test_the_corpus_is_small_and_named_by_its_content() -> None:
    files = [path for name in TARGETS for path in inputs(name)]
    assert sum(path.stat().st_size for path in files) <= MAX_CORPUS_BYTES
    assert [path.name for path in files] == [hashlib.sha1(path.read_bytes()).hexdigest() for path in files]
