"""A source is asked about a study once, again after failures, one source at a time, and only while it would help."""

from __future__ import annotations

import pytest

from egfr_dls.ledger import Tx, retrievals, studies
from egfr_dls.ledger.retrievals import ATTEMPTS, DueRetrieval, FetchedSeries
from egfr_dls.study import StudyState

STUDY = "1.2.3"
NOW = 1_000_000.0
SOURCES = (("pacs", 660.0), ("archive", 70.0))
CT = FetchedSeries("1.2.3.1", "CT", "pacs", 7)


@pytest.fixture
def tx(tx: Tx) -> Tx:
    """A transaction over a ledger with one study that two sources are to be asked about."""
    studies.ensure(tx, STUDY, b"k" * 32, NOW)
    retrievals.ask(tx, STUDY, SOURCES, NOW)
    return tx


def claimed(tx: Tx, now: float = NOW) -> DueRetrieval:
    due = retrievals.claim(tx, "listener-1", now, 600.0)
    assert due is not None
    return due


def test_a_study_that_was_never_asked_about_waits_for_nothing(tx: Tx) -> None:
    studies.ensure(tx, "9.9", b"k" * 32, NOW)
    assert retrievals.waits_until(tx, "9.9") is None


def test_a_study_waits_for_the_first_round_of_all_sources(tx: Tx) -> None:
    assert retrievals.waits_until(tx, STUDY) == NOW + 730
    first = claimed(tx)
    assert retrievals.waits_until(tx, STUDY) == NOW + 730
    retrievals.conclude(tx, first, [], NOW)
    second = claimed(tx)
    assert retrievals.waits_until(tx, STUDY) == NOW + 730
    retrievals.put_off(tx, second, "UNREACHABLE", [], NOW, again=True)
    assert retrievals.waits_until(tx, STUDY) == 0


def test_sources_are_asked_in_their_order_and_one_at_a_time(tx: Tx) -> None:
    first = claimed(tx)
    assert first.source == "pacs"
    assert retrievals.claim(tx, "listener-2", NOW, 600.0) is None
    assert not retrievals.is_due(tx, NOW)
    retrievals.conclude(tx, first, [], NOW)
    assert claimed(tx).source == "archive"


def test_asking_anew_changes_nothing(tx: Tx) -> None:
    retrievals.conclude(tx, claimed(tx), [CT], NOW)
    retrievals.conclude(tx, claimed(tx), [], NOW)
    retrievals.ask(tx, STUDY, SOURCES, NOW + 1e6)
    assert retrievals.waits_until(tx, STUDY) == 0
    assert retrievals.claim(tx, "listener-1", NOW + 1e7, 600.0) is None


def test_a_failure_is_tried_again_ever_later_and_not_for_ever(tx: Tx) -> None:
    retrievals.conclude(tx, claimed(tx), [], NOW)
    now, waits = NOW, []
    for attempt in range(1, ATTEMPTS + 1):
        due = claimed(tx, now)
        assert due.attempts == attempt
        retrievals.put_off(tx, due, "UNREACHABLE", [], now, again=True)
        later = next((s for s in (60, 240, 960, 3840) if retrievals.is_due(tx, now + s)), None)
        if later is not None:
            assert not retrievals.is_due(tx, now + later - 1)
            waits.append(later)
            now += later
    assert waits == [60, 240, 960, 3840]
    assert not retrievals.is_due(tx, NOW + 1e9)


def test_what_would_be_no_use_is_not_tried_again(tx: Tx) -> None:
    retrievals.conclude(tx, claimed(tx), [], NOW)
    retrievals.put_off(tx, claimed(tx), "SIZE_LIMIT", [], NOW, again=False)
    assert not retrievals.is_due(tx, NOW + 1e9)


@pytest.mark.parametrize("state", [StudyState.COMPLETE, StudyState.NOT_APPLICABLE])
def test_a_study_that_no_longer_receives_is_asked_about_no_more(tx: Tx, state: StudyState) -> None:
    studies.move(tx, STUDY, state, NOW)
    assert retrievals.claim(tx, "listener-1", NOW, 600.0) is None


def test_nor_one_that_is_held(tx: Tx) -> None:
    studies.hold(tx, STUDY, held=True)
    assert retrievals.claim(tx, "listener-1", NOW, 600.0) is None


def test_a_listener_that_died_gives_back_what_it_held_and_the_attempt_counts(tx: Tx) -> None:
    claimed(tx)
    retrievals.free(tx, "another")
    assert not retrievals.is_due(tx, NOW)
    retrievals.free(tx, "listener-1")
    assert claimed(tx).attempts in (1, 2)  # of either source
    assert retrievals.waits_until(tx, STUDY) == NOW + 730


def test_a_lease_that_ran_out_frees_it_too(tx: Tx) -> None:
    claimed(tx)
    assert claimed(tx, NOW + 601).source == "pacs"


def test_a_stop_costs_no_attempt(tx: Tx) -> None:
    retrievals.give_back(tx, claimed(tx))
    assert claimed(tx).attempts == 1


def test_what_was_fetched_in_two_attempts_is_one_series(tx: Tx) -> None:
    retrievals.put_off(tx, claimed(tx), "INCOMPLETE", [CT], NOW, again=True)
    retrievals.conclude(tx, claimed(tx), [], NOW)
    retrievals.conclude(tx, claimed(tx, NOW + 60), [CT], NOW + 60)
    assert retrievals.fetched(tx, STUDY) == [FetchedSeries("1.2.3.1", "CT", "pacs", 14)]


def test_what_has_been_due_for_longest_comes_first_whatever_its_place_among_the_sources(tx: Tx) -> None:
    retrievals.put_off(tx, claimed(tx), "UNREACHABLE", [], NOW, again=True)  # due at NOW + 60
    studies.ensure(tx, "1.2.4", b"k" * 32, NOW)
    retrievals.ask(tx, "1.2.4", (("pacs", 60.0),), NOW + 30)
    retrievals.conclude(tx, claimed(tx), [], NOW)  # the second source of the first study
    assert [(due.study_instance_uid, due.source) for due in (claimed(tx, NOW + 100), claimed(tx, NOW + 100))] == [
        ("1.2.4", "pacs"), (STUDY, "pacs"),
    ]  # fmt: skip


def test_nor_the_place_of_its_source(tx: Tx) -> None:
    retrievals.conclude(tx, claimed(tx), [], NOW)
    retrievals.put_off(tx, claimed(tx), "UNREACHABLE", [], NOW, again=True)  # the second source: due at NOW + 60
    studies.ensure(tx, "1.2.4", b"k" * 32, NOW)
    retrievals.ask(tx, "1.2.4", (("pacs", 60.0),), NOW + 70)
    assert [claimed(tx, NOW + 100).source, claimed(tx, NOW + 100).source] == ["archive", "pacs"]
