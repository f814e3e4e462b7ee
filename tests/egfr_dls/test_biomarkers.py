"""The table of biomarkers agrees with the settings, and names are checked against it."""

from __future__ import annotations

from pathlib import Path

import pytest

from egfr_dls import settings, settings_sections
from egfr_dls.biomarkers import DEFAULT, RULES, check_name, enabled_rules
from egfr_dls.errors import UsageError


def loaded(root: Path, **sections: object) -> settings.Settings:
    return settings.load(None, {"storage": {"root": str(root)}, **sections})


def test_every_biomarker_has_its_section_and_every_section_its_biomarker() -> None:
    assert [rule.name for rule in RULES] == list(settings_sections.Biomarkers.model_fields)


def test_a_study_that_asks_brings_what_asks() -> None:
    assert all(rule.asks_for in rule.needs for rule in RULES)


def test_a_biomarker_that_is_switched_off_has_no_rule(tmp_path: Path) -> None:
    assert enabled_rules(loaded(tmp_path)) == RULES
    off = {rule.name: {"enabled": False} for rule in RULES}
    assert enabled_rules(loaded(tmp_path, biomarkers=off)) == ()


def test_a_wrong_name_is_told_the_right_ones(tmp_path: Path) -> None:
    check_name(DEFAULT, loaded(tmp_path))
    with pytest.raises(UsageError, match="no biomarker pet_egfr; there are: pet_ct_egfr"):
        check_name("pet_egfr", loaded(tmp_path))


def test_what_is_switched_off_cannot_be_asked_for(tmp_path: Path) -> None:
    off = loaded(tmp_path, biomarkers={DEFAULT: {"enabled": False}})
    with pytest.raises(UsageError, match=r"switched off; needed: \[biomarkers\.pet_ct_egfr\] enabled = true"):
        check_name(DEFAULT, off)
