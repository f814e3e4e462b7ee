"""Which facts count for one study: from what is stated of its patient and its examination. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from inference.biomarkers.clinical_context import ClinicalContext, Histology

DA_LENGTH = 8  # YYYYMMDD, PS3.5 table 6.2-1


def resolve(stated: Sequence[Mapping[str, str]], study_date: str) -> ClinicalContext:
    """Return what is known of a study.

    Parameters
    ----------
    stated
        facts by name, as JSON, of each subject that the study is of; the most specific subject first: the first that
        states a fact decides on it, also where it takes the fact back
    study_date
        Study Date (0008,0020), YYYYMMDD; empty or no date: unknown
    """

    def fact(name: str) -> Any:
        return next((json.loads(facts[name]) for facts in stated if name in facts), None)

    began: bool | None = fact("treatment_began")
    return ClinicalContext(
        histology=Histology(fact("histology") or Histology.UNKNOWN),
        treatment_began=_began(fact("treatment_started_on"), study_date) if began is None else began,
        tissue_egfr_mutant=fact("tissue_egfr_mutant"),
        tissue_pdl1_tps_percent=fact("tissue_pdl1_tps_percent"),
    )


def _began(started_on: str | None, study_date: str) -> bool | None:
    """Say whether treatment began before a study's day; on the same day nobody knows which was first."""
    day = _day(study_date)
    if started_on is None or day is None:
        return None
    started = date.fromisoformat(started_on)
    return None if started == day else started < day


def _day(study_date: str) -> date | None:
    try:
        return date.fromisoformat(study_date) if len(study_date) == DA_LENGTH else None
    except ValueError:
        return None
