"""The decision table of completeness."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from egfr_dls.ledger.returns import Came
from egfr_dls.ledger.studies import SeriesSnapshot, StudySnapshot
from egfr_dls.settings_sections import Study
from listener.indexing.completeness import (
    Complete,
    Decision,
    Fetch,
    KeepResult,
    NotApplicable,
    Wait,
    WaitReason,
    decide,
)

FRAME, OTHER = "1.2.3", "1.2.4"
CT, PT = SeriesSnapshot("CT", FRAME), SeriesSnapshot("PT", FRAME)
SETTINGS = Study(quiet_seconds=60, force_seconds=5400, force_action="refuse")
WHOLE = StudySnapshot(
    "1.2", (CT, PT), open_associations=0, interrupted=False, first_seen_at=0.0, last_instance_at=1000.0
)
QUIET, FORCE = 1060.0, 5400.0


def series(*pairs: tuple[str, str]) -> tuple[SeriesSnapshot, ...]:
    return tuple(SeriesSnapshot(modality, frame) for modality, frame in pairs)


@pytest.mark.parametrize(
    ("change", "now", "decision"),
    [
        # the pair, in order, and quiet
        ({}, QUIET, Complete("pet_ct_egfr")),
        ({}, QUIET - 0.1, Wait(WaitReason.QUIET_TIME, QUIET)),
        ({}, 0.0, Wait(WaitReason.QUIET_TIME, QUIET)),  # the clock was set back
        ({"open_associations": 1}, QUIET, Wait(WaitReason.OPEN_ASSOCIATION)),
        ({"open_associations": 1}, FORCE, Wait(WaitReason.OPEN_ASSOCIATION)),  # never while it is being sent
        # of an association nothing comes any more, and its end was not recorded: the force time decides
        ({"open_associations": 1, "open_last_record_at": 1000.0}, FORCE - 1, Wait(WaitReason.OPEN_ASSOCIATION, FORCE)),
        ({"open_associations": 1, "open_last_record_at": 1000.0}, FORCE, Complete("pet_ct_egfr", "refuse")),
        ({"open_associations": 1, "open_last_record_at": FORCE}, FORCE + 89, Wait(WaitReason.OPEN_ASSOCIATION, FORCE + 90)),
        ({"open_associations": 1, "open_last_record_at": FORCE}, FORCE + 90, Complete("pet_ct_egfr", "refuse")),
        ({"series": series(("CT", OTHER), ("CT", FRAME), ("PT", FRAME))}, QUIET, Complete("pet_ct_egfr")),
        ({"series": (CT, PT, SeriesSnapshot("SEG", ""))}, QUIET, Complete("pet_ct_egfr")),
        # the sender went away
        ({"interrupted": True}, QUIET, Wait(WaitReason.INTERRUPTED, FORCE)),
        ({"interrupted": True}, FORCE - 0.1, Wait(WaitReason.INTERRUPTED, FORCE)),
        ({"interrupted": True}, FORCE, Complete("pet_ct_egfr", "refuse")),
        # no pair
        ({"series": (PT,)}, QUIET, Wait(WaitReason.PAIR_MISSING, FORCE)),
        ({"series": (PT,)}, FORCE, Complete("pet_ct_egfr", "refuse")),
        ({"series": series(("CT", OTHER), ("PT", FRAME))}, QUIET, Wait(WaitReason.PAIR_MISSING, FORCE)),
        ({"series": series(("CT", ""), ("PT", ""))}, QUIET, Wait(WaitReason.PAIR_MISSING, FORCE)),  # no frame in common
        # at the force time no CT of the PET's frame has come, and registration serves
        ({"series": series(("CT", OTHER), ("PT", FRAME))}, FORCE, Complete("pet_ct_egfr")),
        ({"series": series(("CT", ""), ("PT", ""))}, FORCE, Complete("pet_ct_egfr")),
        ({"series": series(("CT", OTHER), ("PT", FRAME)), "interrupted": True}, FORCE, Complete("pet_ct_egfr", "refuse")),
        # at the force time, but still arriving one association at a time
        ({"series": (PT,), "last_instance_at": FORCE - 1}, FORCE, Wait(WaitReason.QUIET_TIME, FORCE + 59)),
        # retention gave it up, and its result stands: a part of it waits for the rest, however long
        ({"released": Came.PART}, FORCE, Wait(WaitReason.RELEASED)),
        ({"released": Came.PART, "series": (CT,)}, FORCE, Wait(WaitReason.RELEASED)),
        # what comes late says nothing without the images, and a region is told of
        ({"released": Came.REGION, "series": series(("SEG", FRAME))}, QUIET, KeepResult(too_late=True)),
        ({"released": Came.REGION, "series": series(("RTSTRUCT", ""))}, QUIET - 1, Wait(WaitReason.QUIET_TIME, QUIET)),
        ({"released": Came.REGION, "series": series(("SEG", FRAME)), "interrupted": True}, QUIET, KeepResult(too_late=True)),
        ({"released": Came.NOTHING, "series": series(("MR", FRAME))}, QUIET, KeepResult()),
        ({"released": Came.NOTHING, "series": ()}, QUIET, KeepResult()),
        ({"released": Came.NOTHING, "series": (PT,)}, FORCE, KeepResult()),  # another one, without CT
        ({"released": Came.REGION, "series": series(("CT", OTHER), ("PT", FRAME))}, FORCE, KeepResult(too_late=True)),
        # but other images, whole, are a study by themselves
        ({"released": Came.NOTHING}, QUIET, Complete("pet_ct_egfr")),
        ({"released": Came.REGION}, QUIET, Complete("pet_ct_egfr")),
        # nothing asks for it
        ({"series": (CT,)}, QUIET, NotApplicable()),
        ({"series": (CT,), "interrupted": True}, QUIET, NotApplicable()),
        ({"series": (CT,)}, QUIET - 1, Wait(WaitReason.QUIET_TIME, QUIET)),
        ({"series": (CT,), "open_associations": 1}, QUIET, Wait(WaitReason.OPEN_ASSOCIATION)),
        ({"series": series(("OT", ""))}, QUIET, NotApplicable()),
        ({"series": ()}, QUIET, NotApplicable()),
    ],
)  # fmt: skip
def test_the_table(change: dict[str, Any], now: float, decision: Decision) -> None:
    assert decide(replace(WHOLE, **change), now, SETTINGS, idle_seconds=30) == decision


@pytest.mark.parametrize(
    ("action", "decision"),
    [
        ("refuse", Complete("pet_ct_egfr", "refuse")),
        ("score", Complete("pet_ct_egfr", "score")),
        ("wait", Wait(WaitReason.OPERATOR)),
    ],
)
def test_what_happens_at_the_force_time_is_a_setting(action: Any, decision: Decision) -> None:
    assert (
        decide(replace(WHOLE, interrupted=True), FORCE, SETTINGS.model_copy(update={"force_action": action}))
        == decision
    )


@pytest.mark.parametrize("action", ["refuse", "score", "wait"])
def test_a_pair_in_two_frames_is_no_half_study_at_the_force_time(action: Any) -> None:
    study = replace(WHOLE, series=series(("CT", OTHER), ("PT", FRAME)))
    assert decide(study, FORCE, SETTINGS.model_copy(update={"force_action": action})) == Complete("pet_ct_egfr")


def test_a_biomarker_that_is_not_enabled_asks_for_nothing() -> None:
    assert decide(WHOLE, QUIET, SETTINGS, rules=()) == NotApplicable()


SEG = SeriesSnapshot("SEG", FRAME)


@pytest.mark.parametrize(
    ("change", "now", "decision"),
    [
        ({"series": (PT,)}, QUIET, Fetch()),
        ({"interrupted": True}, QUIET, Fetch()),
        ({}, QUIET, Fetch()),  # no region of interest
        ({"series": (CT, PT, SEG)}, QUIET, Fetch()),  # it may have a history
        ({"series": (CT, PT, SEG), "fetching_until": 0.0}, QUIET, Complete("pet_ct_egfr")),
        ({"series": (CT, PT, SEG), "interrupted": True}, QUIET, Fetch()),
        ({"series": (PT, SeriesSnapshot("RTSTRUCT", ""))}, QUIET, Fetch()),
        ({"series": (PT,)}, FORCE, Fetch()),  # before it is forced, too
        # never while something comes, nor for what asks for nothing, nor for a part of what was analysed before
        ({"series": (PT,)}, QUIET - 1, Wait(WaitReason.QUIET_TIME, QUIET)),
        ({"series": (PT,), "open_associations": 1}, QUIET, Wait(WaitReason.OPEN_ASSOCIATION)),
        ({"series": (CT,)}, QUIET, NotApplicable()),
        ({"series": (PT,), "released": Came.PART}, QUIET, Wait(WaitReason.RELEASED)),
        ({"series": (SEG,), "released": Came.REGION}, QUIET, KeepResult(too_late=True)),
        # under way, for its time
        ({"series": (PT,), "fetching_until": 2000.0}, QUIET, Wait(WaitReason.FETCHING, 2000.0)),
        ({"fetching_until": 2000.0}, QUIET, Wait(WaitReason.FETCHING, 2000.0)),
        ({"series": (PT,), "fetching_until": 6000.0}, FORCE, Wait(WaitReason.FETCHING, 6000.0)),
        # over, whatever came of it
        ({"fetching_until": QUIET}, QUIET, Complete("pet_ct_egfr")),
        ({"series": (PT,), "fetching_until": 0.0}, QUIET, Wait(WaitReason.PAIR_MISSING, FORCE)),
        ({"series": (PT,), "fetching_until": 0.0}, FORCE, Complete("pet_ct_egfr", "refuse")),
    ],
)  # fmt: skip
def test_where_there_are_sources_a_study_is_asked_about_once(
    change: dict[str, Any], now: float, decision: Decision
) -> None:
    assert decide(replace(WHOLE, **change), now, SETTINGS, may_fetch=True) == decision
