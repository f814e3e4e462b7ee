"""Whether the service is ready, and if not, which check fails: for load balancers, Kubernetes and people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from egfr_dls.errors import EgfrDlsError

Check = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Readiness:
    """The names of the checks that fail; none: ready."""

    failing: tuple[str, ...]

    @property
    def ready(self) -> bool:
        """Whether every check holds."""
        return not self.failing


def readiness(checks: Mapping[str, Check]) -> Readiness:
    """Ask every check; one that raises fails."""
    return Readiness(tuple(name for name, check in checks.items() if not _holds(check)))


def _holds(check: Check) -> bool:
    try:
        return check()
    except (EgfrDlsError, OSError):
        return False
