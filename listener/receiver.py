"""The one interface behind which instances come off the wire, so that the library that does it can be replaced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Receiver(Protocol):
    """Accepts associations by ``Admission`` and hands every instance to ``Reception``."""

    @property
    def port(self) -> int:
        """The TCP port that is listened on; known once the receiver is made, before ``start``."""

    def start(self) -> None:
        """Accept associations from now on."""

    def ended(self) -> Sequence[str]:
        """Return, once each, the associations that ended since the last call.

        Whatever an association brought was handed over before its name is returned here, whichever way it ended.
        """

    def drain(self, seconds: float) -> int:
        """Stop accepting, let open associations finish, abort those that are still open after ``seconds``.

        Returns
        -------
        how many were aborted
        """
