"""What each tick of the indexer does, also while associations end one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from egfr_dls.ledger import schema, studies
from egfr_dls.ledger.instances import AssociationState
from egfr_dls.store import open_store
from egfr_dls.study import StudyState
from listener.indexing.completion import Completion
from listener.indexing.indexer import PASSES, Indexer
from listener.indexing.intake import Pass
from tests.listener.nodes import node_settings

NOW = 1_700_000_000.0


class Traffic:
    """An intake that sees an association end in each of its first passes."""

    def __init__(self, busy: int) -> None:
        self.busy, self.passes = busy, 0

    def index(self) -> Pass:
        self.passes += 1
        return Pass(1, frozenset({f"a{self.passes}"} if self.passes <= self.busy else ()))


class Asked:
    """A completion and a duty that note when they are called, and for what."""

    def __init__(self) -> None:
        self.unsettled: list[frozenset[str]] = []
        self.duties = 0

    def apply(self, _now: float, unsettled: frozenset[str]) -> float:
        self.unsettled.append(unsettled)
        return NOW + 60

    def duty(self, _now: float) -> float:
        self.duties += 1
        return NOW + 30


@pytest.mark.parametrize(
    ("busy", "passes", "unsettled", "ask_at"),
    [
        (0, 1, set(), NOW + 30),
        (2, 3, set(), NOW + 30),
        (PASSES + 5, PASSES, {f"a{PASSES}"}, NOW),
    ],
)
def test_steady_traffic_keeps_nothing_from_its_turn(busy: int, passes: int, unsettled: set[str], ask_at: float) -> None:
    intake, asked = Traffic(busy), Asked()
    what: Any = intake, asked
    indexer = Indexer(*what, (asked.duty,), clock=lambda: NOW)
    indexer.tick()
    assert (intake.passes, asked.unsettled, asked.duties) == (passes, [unsettled], 1)
    assert indexer._ask_at == ask_at


def test_only_the_studies_of_associations_that_have_just_ended_are_left(tmp_path: Path) -> None:
    settings = node_settings(tmp_path / "root")
    with open_store(settings, "listener-test") as store:
        with store.ledger.begin() as tx:
            for uid in ("1.2.3", "1.2.4"):
                studies.ensure(tx, uid, b"k" * 32, NOW)
                at = {"association_id": uid, "last_record_at": NOW}
                tx.execute(schema.association_study.insert().values(study_instance_uid=uid, **at))
                tx.execute(
                    schema.association.insert().values(
                        listener="l", calling_ae_title="", state=AssociationState.RELEASED, **at
                    )
                )
        completion = Completion(store.ledger, settings)

        def states() -> list[StudyState]:
            with store.ledger.read() as tx:
                return [studies.state(tx, uid) for uid in ("1.2.3", "1.2.4")]

        completion.apply(NOW + 1, unsettled={"1.2.4", "of nothing"})
        assert states() == [StudyState.NOT_APPLICABLE, StudyState.RECEIVING]
        completion.apply(NOW + 1)
        assert states() == [StudyState.NOT_APPLICABLE] * 2
