"""Every biomarker in the tuple keeps the contract: rule, folder, card, settings, networks."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import inference.biomarkers
from egfr_dls import settings, settings_sections
from egfr_dls.biomarkers import RULES
from egfr_dls.errors import ConfigurationError
from inference.biomarkers.contract import Biomarker
from inference.biomarkers.registry import BIOMARKERS, choose_packages, load_scorers
from inference.models.catalogue import read_catalogue
from tests.inference.packages import network, write_package

FOLDER = Path(inference.biomarkers.__path__[0])
CARD_SECTIONS = ("## What it computes", "## Evidence", "## Limits")

each = pytest.mark.parametrize("biomarker", BIOMARKERS, ids=lambda b: b.name)


def test_every_folder_is_in_the_tuple() -> None:
    """A biomarker is one folder, one entry and one rule of the kernel; names are unique."""
    folders = {p.parent.name for p in FOLDER.glob("*/__init__.py")}
    assert [b.rule for b in BIOMARKERS] == list(RULES)
    assert sorted(b.name for b in BIOMARKERS) == sorted(folders)


@each
def test_it_has_a_card(biomarker: Biomarker) -> None:
    """A README says in plain words what it computes, on what evidence and within which limits."""
    card = (FOLDER / biomarker.name / "README.md").read_text(encoding="utf-8")
    assert all(section in card for section in CARD_SECTIONS)
    assert biomarker.preprocessing_id in card


@each
def test_its_settings_exist(biomarker: Biomarker) -> None:
    """One sub-section with `enabled` and a key for each network."""
    section = getattr(settings_sections.Biomarkers(), biomarker.name)
    assert section.enabled
    assert all(getattr(section, need.setting) is None for need in biomarker.networks)


@each
def test_its_facts_are_whole(biomarker: Biomarker) -> None:
    """One required network, and the stage's call."""
    assert any(need.required for need in biomarker.networks)
    assert list(inspect.signature(biomarker.analyse).parameters) == ["inputs", "scorers"]


def _settings(root: Path, **keys: str) -> settings.Settings:
    overrides = {"storage": {"root": str(root)}, "inference": {"models": str(root / "models")}}
    return settings.load(None, overrides | {"biomarkers": {"pet_ct_egfr": keys}})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A catalogue with one EGFR network."""
    write_package(tmp_path / "models" / "egfr", name="egfr")
    return tmp_path


@each
def test_its_networks_open_from_the_settings(biomarker: Biomarker, root: Path) -> None:
    """Golden-tested and by task; the companion is left out while no package fits it."""
    assert set(load_scorers(biomarker, _settings(root))) == {"egfr"}
    write_package(root / "models" / "pdl1", network(planes=True), name="pdl1")
    scorers = load_scorers(biomarker, _settings(root))
    assert {task: s.use.name for task, s in scorers.items()} == {"egfr": "egfr", "pdl1": "pdl1"}


@each
def test_a_companion_that_is_named_must_be_there(biomarker: Biomarker, root: Path) -> None:
    """Optional means that nobody asked for it; a named one that is absent is an error."""
    chosen = _settings(root, companion_model="pdl1@1.0.0")
    with pytest.raises(
        ConfigurationError, match=r"biomarkers\.pet_ct_egfr\.companion_model: pdl1@1\.0\.0 is not installed"
    ):
        choose_packages(biomarker, read_catalogue(root / "models"), chosen)


@each
def test_two_networks_for_one_task_need_a_choice(biomarker: Biomarker, root: Path) -> None:
    """The settings' key decides."""
    write_package(root / "models" / "second", name="second")
    catalogue = read_catalogue(root / "models")
    with pytest.raises(ConfigurationError, match="all fit"):
        choose_packages(biomarker, catalogue, _settings(root))
    assert (
        choose_packages(biomarker, catalogue, _settings(root, model="second@1.0.0"))["egfr"].manifest.name == "second"
    )
