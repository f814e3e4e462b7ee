"""Studies: states, snapshots, and how an operator finds one."""

from __future__ import annotations

import pytest

from egfr_dls.errors import UsageError
from egfr_dls.ledger import Tx, studies
from egfr_dls.study import TRANSITIONS, StudyState

STUDY = "1.2"


@pytest.fixture
def tx(tx: Tx) -> Tx:
    """An open transaction on a ledger that knows one study, first seen at 10 s."""
    studies.ensure(tx, STUDY, b"key", 10.0)
    return tx


def put(tx: Tx, state: StudyState) -> None:
    """Lead the study to a state by allowed steps."""
    paths = {
        StudyState.RECEIVING: [],
        StudyState.COMPLETE: [StudyState.COMPLETE],
        StudyState.SCORED: [StudyState.COMPLETE, StudyState.SCORED],
        StudyState.REFUSED: [StudyState.COMPLETE, StudyState.REFUSED],
        StudyState.NOT_APPLICABLE: [StudyState.NOT_APPLICABLE],
        StudyState.FAILED: [StudyState.COMPLETE, StudyState.FAILED],
        StudyState.DELIVERED: [StudyState.COMPLETE, StudyState.SCORED, StudyState.DELIVERED],
    }
    for step in paths[state]:
        assert studies.move(tx, STUDY, step, 20.0)


def test_a_study_is_entered_once(tx: Tx) -> None:
    studies.ensure(tx, STUDY, b"key", 99.0)
    (row,) = studies.listed(tx)
    assert (row.first_seen_at, row.state, row.instances) == (10.0, StudyState.RECEIVING, 0)


@pytest.mark.parametrize("start", StudyState)
@pytest.mark.parametrize("end", StudyState)
def test_only_transitions_of_the_table_happen(tx: Tx, start: StudyState, end: StudyState) -> None:
    put(tx, start)
    allowed = end in TRANSITIONS[start]
    assert studies.move(tx, STUDY, end, 30.0) is allowed
    assert studies.state(tx, STUDY) is (end if allowed else start)


@pytest.mark.parametrize("start", StudyState)
def test_an_input_reopens_every_end_state(tx: Tx, start: StudyState) -> None:
    """And the force time counts from then, so that a late slice is not refused at once."""
    put(tx, start)
    studies.received_input(tx, STUDY, 500.0, 500.0)
    snapshot = studies.snapshot(tx, STUDY)
    assert studies.state(tx, STUDY) is StudyState.RECEIVING
    assert snapshot.last_instance_at == 500.0
    assert snapshot.first_seen_at == (10.0 if start is StudyState.RECEIVING else 500.0)


def test_the_quiet_time_never_runs_backwards(tx: Tx) -> None:
    studies.received_input(tx, STUDY, 500.0, 500.0)
    studies.received_input(tx, STUDY, 400.0, 400.0)
    assert studies.snapshot(tx, STUDY).last_instance_at == 500.0


def test_a_held_study_is_not_decided_on(tx: Tx) -> None:
    assert [s.study_instance_uid for s in studies.receiving(tx)] == [STUDY]
    studies.hold(tx, STUDY, held=True)
    assert studies.receiving(tx) == []
    studies.hold(tx, STUDY, held=False)
    put(tx, StudyState.COMPLETE)
    assert studies.receiving(tx) == []


def test_a_study_is_found_by_its_key_or_its_uid(tx: Tx) -> None:
    key = studies.study_key(b"key", STUDY)
    assert len(key) == 16
    assert studies.find(tx, key).study_instance_uid == studies.find(tx, STUDY).study_instance_uid == STUDY
    assert studies.study_key(b"another", STUDY) != key, "useless without the site's key"
    with pytest.raises(UsageError, match=r"no study 9\.9"):
        studies.find(tx, "9.9")


def test_the_list_can_be_of_one_state(tx: Tx) -> None:
    studies.ensure(tx, "1.3", b"key", 20.0)
    studies.move(tx, "1.3", StudyState.NOT_APPLICABLE, 30.0)
    assert [row.study_instance_uid for row in studies.listed(tx)] == ["1.3", STUDY]
    assert [row.study_instance_uid for row in studies.listed(tx, StudyState.RECEIVING)] == [STUDY]
