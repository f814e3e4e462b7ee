"""The installed model packages, and which of them a biomarker takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from egfr_dls.errors import ConfigurationError
from inference.models.manifest import MANIFEST_NAME, ModelPackage
from inference.models.signature import NO_TRUST, Trust

SHIPPED = Path(__file__).parent  # the demonstration networks, one folder a package


def read_catalogue(folder: Path | None, trust: Trust = NO_TRUST) -> tuple[ModelPackage, ...]:
    """Read every package below ``folder`` (``[inference] models``; None: the shipped ones), sorted by folder name.

    Raises
    ------
    ConfigurationError
        the folder is missing, holds no package, or a package in it is faulty, not signed as ``trust`` needs, or there twice
    """
    packages = tuple(ModelPackage.read(path, trust) for path in package_folders(folder))
    keys = [package.key for package in packages]
    for key in sorted({k for k in keys if keys.count(k) > 1}):
        folders = ", ".join(str(p.folder) for p in packages if p.key == key)
        raise ConfigurationError(f"inference.models: {key} is installed more than once: {folders}; remove all but one")
    return packages


def package_folders(folder: Path | None) -> tuple[Path, ...]:
    """Return the folders of the packages below ``folder``, sorted; raises ConfigurationError where there is none."""
    root = folder or SHIPPED
    if not root.is_dir():
        raise ConfigurationError(f"inference.models: {root} is not a folder; name the folder that holds model packages")
    if (root / MANIFEST_NAME).exists():
        raise ConfigurationError(f"inference.models: {root} is itself a package; name the folder above it")
    folders = tuple(path.parent for path in sorted(root.glob(f"*/{MANIFEST_NAME}")))
    if not folders:
        raise ConfigurationError(f"inference.models: {root} holds no model package (a folder with {MANIFEST_NAME})")
    return folders


def choose(
    catalogue: Sequence[ModelPackage], task: str, preprocessing_id: str, wanted: str | None, setting: str
) -> ModelPackage:
    """Return the package for a task, the only one that fits or the one that the settings name.

    Parameters
    ----------
    wanted
        ``"name@version"`` from the settings, or None
    setting
        the key that ``wanted`` came from, for messages

    Raises
    ------
    ConfigurationError
        none fits, several fit and none is named, or the named one is absent or does not fit
    """
    fitting = [p for p in catalogue if fits(p, task, preprocessing_id)]
    chosen = fitting if wanted is None else [p for p in fitting if p.key == wanted]
    if len(chosen) == 1:
        return chosen[0]
    need = f"a package with task {task} and preprocessing.id {preprocessing_id} is needed"
    if chosen:
        raise ConfigurationError(f"{setting}: {_keys(fitting)} all fit; name one of them")
    if wanted is not None:
        raise ConfigurationError(
            f"{setting}: {wanted} {_why_not(catalogue, wanted)}; {need}, fitting: {_keys(fitting)}"
        )
    raise ConfigurationError(f"{setting}: no installed package fits; {need}, installed: {_keys(catalogue)}")


def fits(package: ModelPackage, task: str, preprocessing_id: str) -> bool:
    """Say whether a biomarker that names this task and preprocessing may take the package."""
    recipe = package.manifest.preprocessing
    return recipe is not None and recipe.id == preprocessing_id and package.manifest.task == task


def _why_not(catalogue: Sequence[ModelPackage], wanted: str) -> str:
    found = next((p for p in catalogue if p.key == wanted), None)
    if found is None:
        return "is not installed"
    recipe = found.manifest.preprocessing
    return f"has task {found.manifest.task} and preprocessing.id {recipe.id if recipe else None}"


def _keys(packages: Sequence[ModelPackage]) -> str:
    return ", ".join(p.key for p in packages) or "none"
