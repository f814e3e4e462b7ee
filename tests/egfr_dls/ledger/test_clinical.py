"""Facts under keyed hashes: the later statement counts, whatever the order in which they are entered."""

from __future__ import annotations

from itertools import permutations

import pytest

from egfr_dls.ledger import Tx, clinical, studies
from egfr_dls.ledger.clinical import ConcludedStudy, Statement, subject_key

KEY = b"k" * 32
PATIENT, EXAMINATION = subject_key(KEY, "42", "", ""), subject_key(KEY, "", "", "A1")


def _of(tx: Tx, subject: str = PATIENT) -> dict[str, str]:
    (facts,) = clinical.stated(tx, [subject])
    return facts


def test_a_subject_is_named_by_all_that_is_given_and_by_the_key() -> None:
    """No two ways of naming share a hash, and no identifier is in it."""
    ways = [("42", "", ""), ("42", "HIS", ""), ("", "", "42"), ("42", "", "A1"), ("42", "A1", ""), ("4", "2", "")]
    assert len({subject_key(KEY, *way) for way in ways}) == len(ways)
    assert subject_key(b"l" * 32, "42", "", "") != PATIENT
    assert "42424242" not in subject_key(KEY, "42424242", "", "")


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_latest_statement_counts_in_whatever_order_they_are_read(tx: Tx, order: tuple[int, ...]) -> None:
    """A folder that is read again after a restart changes nothing."""
    said = [
        Statement(PATIENT, "histology", value, at) for value, at in (('"other"', 1.0), ("null", 2.0), ("true", 3.0))
    ]
    for i in order:
        clinical.state(tx, [said[i]])
    assert _of(tx) == {"histology": "true"}
    assert clinical.last_stated_at(tx, [PATIENT, EXAMINATION]) == 3.0
    assert clinical.state(tx, said) == frozenset()


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_two_statements_of_one_moment_end_the_same_in_any_order(tx: Tx, order: tuple[int, ...]) -> None:
    """Copies that lost their times must not change a report at each restart."""
    said = [Statement(PATIENT, "histology", value, 1.0) for value in ('"adenocarcinoma"', "null", '"other"')]
    for i in (*order, *reversed(order)):
        clinical.state(tx, [said[i]])
    assert _of(tx) == {"histology": "null"}


def test_only_what_changes_something_is_told(tx: Tx) -> None:
    """The same value again, an older one, and taking back what was never stated change nothing."""
    assert clinical.state(tx, [Statement(PATIENT, "histology", "null", 1.0)]) == frozenset()
    assert clinical.state(tx, [Statement(PATIENT, "histology", '"other"', 2.0)]) == {PATIENT}
    assert clinical.state(tx, [Statement(PATIENT, "histology", '"other"', 3.0)]) == frozenset()
    assert clinical.state(tx, [Statement(PATIENT, "histology", "null", 2.5)]) == frozenset()
    both = [Statement(s, "histology", "null", 4.0) for s in (PATIENT, EXAMINATION)]
    assert clinical.state(tx, both) == {PATIENT}


def test_thousands_of_subjects_at_once(tx: Tx) -> None:
    """More than one question to the database may hold."""
    many = [Statement(subject_key(KEY, str(i), "", ""), "histology", '"other"', 1.0) for i in range(2500)]
    assert len(clinical.state(tx, many)) == 2500
    assert clinical.state(tx, many) == frozenset()


def test_studies_are_found_by_whose_facts_count_for_them(tx: Tx) -> None:
    """Subjects keep their order; a later conclusion replaces the former."""
    studies.ensure(tx, "1.2", KEY, 0.0)
    clinical.conclude(tx, ConcludedStudy("1.2", "b", (PATIENT,), "20250131", "{}"))
    again = ConcludedStudy("1.2", "b", (EXAMINATION, PATIENT), "20250131", '{"a": 1}')
    clinical.conclude(tx, again)
    assert clinical.concluded(tx, {PATIENT}) == [again]
    assert clinical.concluded(tx, {EXAMINATION, PATIENT}) == [again]
    assert clinical.concluded(tx, {subject_key(KEY, "43", "", "")}) == []
    clinical.conclude(tx, ConcludedStudy("1.2", "b", (), "", "{}"))
    assert clinical.concluded(tx, {PATIENT}) == []
