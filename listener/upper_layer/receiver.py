"""The one interface behind which instances come off the wire."""

from __future__ import annotations

from typing import Protocol


class Receiver(Protocol):
    """Accepts associations by ``Admission``, hands every instance to ``Reception`` and tells it how each association ended.

    Made, it may be forked; each process that starts its copy accepts on the same socket.
    """

    @property
    def ports(self) -> tuple[int, ...]:
        """The TCP ports that are listened on, the one without TLS first; known before ``start``."""

    def start(self) -> None:
        """Accept associations from now on."""

    def check(self) -> None:
        """Raise TemporaryFailureError when it accepts no longer."""

    def drain(self, seconds: float) -> int:
        """Stop accepting, let open associations finish, abort those that are still open after ``seconds``.

        Returns
        -------
        how many were aborted
        """
