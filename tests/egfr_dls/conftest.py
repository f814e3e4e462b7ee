"""Inputs of `egfr-dls analyze`, made once a session: tiny networks and phantoms on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.inference.packages import network, write_package
from training_export.phantom_dicom import write_phantom
from training_export.phantom_roi import RoiKind
from training_export.phantoms import make_phantom


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration with both networks in their smallest form, as research models."""
    folder = tmp_path_factory.mktemp("models")
    write_package(folder / "egfr", network(1), name="tiny-egfr", status="research")
    write_package(folder / "pdl1", network(2, planes=True), name="tiny-pdl1", task="pdl1", status="research")
    config = folder.with_name("tiny.toml")
    config.write_text(f'[inference]\nmodels = "{folder}"\n', encoding="utf-8")
    return config


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom study without a stored region."""
    folder = tmp_path_factory.mktemp("phantom")
    write_phantom(make_phantom(7), folder, RoiKind.NONE)
    return folder
