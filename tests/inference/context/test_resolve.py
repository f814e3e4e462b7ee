"""Which of the site's facts count for one study."""

from __future__ import annotations

import pytest

from inference.biomarkers.clinical_context import UNKNOWN, ClinicalContext, Histology
from inference.context.resolve import resolve

DAY = "20250131"


def test_nothing_stated_is_unknown() -> None:
    assert resolve([], DAY) == UNKNOWN
    assert resolve([{}, {}], DAY) == UNKNOWN


def test_each_fact_comes_from_the_most_specific_subject_that_states_it() -> None:
    """Also where that one takes it back."""
    examination = {"tissue_egfr_mutant": "true", "histology": "null"}
    patient = {"tissue_egfr_mutant": "false", "histology": '"other"', "tissue_pdl1_tps_percent": "40.0"}
    assert resolve([examination, patient], DAY) == ClinicalContext(Histology.UNKNOWN, None, True, 40.0)
    assert resolve([patient, examination], DAY) == ClinicalContext(Histology.OTHER, None, False, 40.0)


@pytest.mark.parametrize(
    ("started_on", "study_date", "began"),
    [
        ("2025-01-30", DAY, True),
        ("2025-02-01", DAY, False),
        ("2025-01-31", DAY, None),  # which of the two came first is not known
        ("2025-01-30", "", None),
        ("2025-01-30", "2025013", None),
        ("2025-01-30", "20251331", None),
    ],
)
def test_a_start_of_treatment_is_held_against_the_day_of_the_study(
    started_on: str, study_date: str, began: bool | None
) -> None:
    """One date serves the scans before it and those after it."""
    assert resolve([{"treatment_started_on": f'"{started_on}"'}], study_date).treatment_began is began


def test_what_is_said_of_the_examination_itself_comes_before_a_date() -> None:
    facts = {"treatment_began": "false", "treatment_started_on": '"2025-01-01"'}
    assert resolve([facts], DAY).treatment_began is False
    assert resolve([facts | {"treatment_began": "null"}], DAY).treatment_began is True
