"""A scored study is analysed again for a change beside its instances, and only a scored one."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select

from egfr_dls import settings
from egfr_dls.ledger import Tx, completion, studies
from egfr_dls.ledger.schema import job
from egfr_dls.study import StudyState

STUDY, NOW = "1.2.3", 1_700_000_000.0
WAYS = {
    StudyState.RECEIVING: (),
    StudyState.COMPLETE: (StudyState.COMPLETE,),
    StudyState.SCORED: (StudyState.COMPLETE, StudyState.SCORED),
    StudyState.REFUSED: (StudyState.COMPLETE, StudyState.REFUSED),
    StudyState.NOT_APPLICABLE: (StudyState.NOT_APPLICABLE,),
    StudyState.FAILED: (StudyState.COMPLETE, StudyState.FAILED),
    StudyState.DELIVERED: (StudyState.COMPLETE, StudyState.SCORED, StudyState.DELIVERED),
}


@pytest.fixture
def loaded(tmp_path: Path) -> settings.Settings:
    """The defaults."""
    return settings.load(None, {"storage": {"root": str(tmp_path)}})


def _stand(tx: Tx, state: StudyState) -> None:
    studies.ensure(tx, STUDY, b"k" * 32, NOW)
    for step in WAYS[state]:
        assert studies.move(tx, STUDY, step, NOW)


@pytest.mark.parametrize("state", StudyState)
def test_only_a_study_with_a_score_goes_again(tx: Tx, loaded: settings.Settings, state: StudyState) -> None:
    """One that receives or waits will be analysed anyway; a refusal, a failure and a foreign study do not depend on it."""
    _stand(tx, state)
    again = state in (StudyState.SCORED, StudyState.DELIVERED)
    assert completion.analyse_again(tx, STUDY, "pet_ct_egfr", "a", loaded, NOW) == again
    assert studies.state(tx, STUDY) == (StudyState.COMPLETE if again else state)
    assert len(tx.execute(select(job)).all()) == again


def test_one_change_is_worked_on_once(tx: Tx, loaded: settings.Settings) -> None:
    """Whoever finds it; another change is another job."""
    _stand(tx, StudyState.SCORED)
    for because, again in (("a", True), ("a", False), ("b", True)):
        assert completion.analyse_again(tx, STUDY, "pet_ct_egfr", because, loaded, NOW) == again
        studies.move(tx, STUDY, StudyState.SCORED, NOW)
    assert [row.kind for row in tx.execute(select(job))] == ["infer", "infer"]
