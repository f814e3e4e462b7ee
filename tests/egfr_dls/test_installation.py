"""The five top-level packages belong to egfr-dls alone: a public distribution installs an `inference` too."""

from __future__ import annotations

import pytest

from egfr_dls.errors import ConfigurationError
from egfr_dls.installation import TOP_LEVEL_PACKAGES, refuse_name_clash


def test_packages_of_this_environment_are_ours() -> None:
    refuse_name_clash()


@pytest.mark.parametrize("package", TOP_LEVEL_PACKAGES)
def test_other_owner_is_named(package: str) -> None:
    owners = {name: ["egfr-dls"] for name in TOP_LEVEL_PACKAGES} | {package: ["egfr-dls", "somebody-else"]}
    with pytest.raises(ConfigurationError, match=f"{package} is installed by somebody-else"):
        refuse_name_clash(owners)
