"""What tests of the cohort export work on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.inference.packages import network, write_package
from tests.system.study_data import small_study
from tests.training_export.cohorts import write_files


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration with both networks in their smallest form, and a key of its own."""
    folder = tmp_path_factory.mktemp("site")
    write_package(folder / "models" / "egfr", network(1), name="tiny-egfr", status="research")
    write_package(folder / "models" / "pdl1", network(2, planes=True), name="tiny-pdl1", task="pdl1", status="research")
    file = folder / "site.toml"
    file.write_text(
        f'[storage]\nroot = "{folder / "root"}"\nmin_free_bytes = 0\n[inference]\nmodels = "{folder / "models"}"\n',
        encoding="utf-8",
    )
    return file


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """A folder with three studies of three patients."""
    for number in (1, 2, 3):
        write_files(small_study(number), tmp_path / "in" / str(number))
    return tmp_path / "in"
