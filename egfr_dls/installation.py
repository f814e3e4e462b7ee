"""Guards the top-level package names: a public distribution installs an `inference` too."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import packages_distributions

from egfr_dls.errors import ConfigurationError

TOP_LEVEL_PACKAGES = ("egfr_dls", "listener", "inference", "reporting", "training_export")


def refuse_name_clash(owners: Mapping[str, list[str]] | None = None) -> None:
    """Check that our five top-level packages belong to egfr-dls alone.

    Raises
    ------
    ConfigurationError
        names the package and the other distribution that installs it
    """
    found = packages_distributions() if owners is None else owners
    for package in TOP_LEVEL_PACKAGES:
        others = sorted(set(found.get(package, [])) - {"egfr-dls"})
        if others:
            raise ConfigurationError(
                f"the top-level package {package} is installed by {', '.join(others)} too; "
                "needed: an environment in which it belongs to egfr-dls alone"
            )
