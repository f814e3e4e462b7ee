"""The catalogue holds what is installed; a biomarker gets exactly one package or an explanation."""

from __future__ import annotations

from pathlib import Path

import pytest

from egfr_dls.errors import ConfigurationError
from inference.models.catalogue import choose, read_catalogue
from inference.models.manifest import ModelPackage
from tests.inference.packages import network, write_package

RECIPE = "mu2020-hyperimage-1"
SETTING = "biomarkers.pet_ct_egfr.model"


def _catalogue(root: Path, *names: str) -> tuple[ModelPackage, ...]:
    for name in names:
        write_package(root / name, name=name)
    return read_catalogue(root)


def test_other_folders_are_no_packages(tmp_path: Path) -> None:
    """A folder without model.json is passed over; packages come sorted."""
    (tmp_path / "__pycache__").mkdir()
    assert [p.key for p in _catalogue(tmp_path, "b", "a")] == ["a@1.0.0", "b@1.0.0"]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda root: None, "is not a folder"),
        (lambda root: root.mkdir(), "holds no model package"),
        (lambda root: write_package(root), "is itself a package"),
        (lambda root: [write_package(root / n, name="same") for n in "ab"], "same@1.0.0 is installed more than once"),
    ],
)
def test_a_folder_that_is_no_catalogue_is_refused(tmp_path: Path, make: object, told: str) -> None:
    """Each wrong value of inference.models has its own sentence."""
    root = tmp_path / "models"
    make(root)  # type: ignore[operator]
    with pytest.raises(ConfigurationError, match=told):
        read_catalogue(root)


def test_the_only_fitting_package_is_taken(tmp_path: Path) -> None:
    """Packages for another task, or for no biomarker, do not make the choice ambiguous."""
    write_package(tmp_path / "pdl1", network(planes=True), name="pdl1")
    write_package(tmp_path / "foreign", name="foreign", preprocessing=None)
    catalogue = _catalogue(tmp_path, "egfr")
    assert choose(catalogue, "egfr", RECIPE, None, SETTING).key == "egfr@1.0.0"
    assert choose(catalogue, "pdl1", RECIPE, None, SETTING).key == "pdl1@1.0.0"


def test_the_named_package_is_taken(tmp_path: Path) -> None:
    """Of two that fit, the settings' one."""
    assert choose(_catalogue(tmp_path, "a", "b"), "egfr", RECIPE, "b@1.0.0", SETTING).key == "b@1.0.0"


@pytest.mark.parametrize(
    ("task", "wanted", "told"),
    [
        ("egfr", None, "a@1.0.0, b@1.0.0 all fit; name one"),
        ("pdl1", None, "no installed package fits"),
        ("egfr", "c@1.0.0", "c@1.0.0 is not installed"),
        ("pdl1", "a@1.0.0", "a@1.0.0 has task egfr"),
    ],
)
def test_no_choice_is_a_configuration_error(tmp_path: Path, task: str, wanted: str | None, told: str) -> None:
    """The message names the setting and the packages that there are."""
    with pytest.raises(ConfigurationError, match=told) as caught:
        choose(_catalogue(tmp_path, "a", "b"), task, RECIPE, wanted, SETTING)
    assert SETTING in str(caught.value)
