"""What a destination is to those who send and prove, whatever its transport."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from egfr_dls.ledger.deliveries import DueDelivery
from egfr_dls.ledger.proofs import DueProof
from reporting.delivery_status import Rule

ASSOCIATE_SECONDS = 10.0  # also of an HTTP connection
ANSWER_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Unreachable:
    """The destination could not be called; ``parks``: repeating cannot mend it."""

    reason: str
    parks: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of one object, and the DICOM status where one was given."""

    rule: Rule
    status: int | None = None


class SendingLine(Protocol):
    """An open connection on which objects are stored."""

    @property
    def is_open(self) -> bool:
        """Whether another object can go on it."""

    @property
    def offers_proof(self) -> bool:
        """Whether the destination can be asked for a proof."""

    @property
    def accepted(self) -> frozenset[str] | None:
        """The classes of ``PROBED_CLASSES`` that the destination takes; None where nothing was negotiated."""

    def accepts(self, due: DueDelivery) -> bool:
        """Whether the destination takes objects of this SOP class."""

    def store(self, due: DueDelivery, path: Path) -> Answered:
        """Send the kept bytes and return the answer.

        Raises
        ------
        OSError
            the disk does not give them
        """

    def close(self) -> None:
        """End the connection in order."""


class ProvingLine(Protocol):
    """An open connection on which proofs are asked for."""

    @property
    def is_open(self) -> bool:
        """Whether anything more can be asked on it."""

    @property
    def commits(self) -> bool:
        """Whether storage commitment can be asked for."""

    @property
    def finds(self) -> bool:
        """Whether it can be queried."""

    def ask(self, transaction_uid: str, about: Collection[DueProof]) -> int | None:
        """Ask for commitment; return the status of the answer (PS3.7 10.1.4.1.10), None without one."""

    def is_there(self, one: DueProof) -> bool | None:
        """Whether a query finds the object in its study and series; None without a whole answer."""

    def close(self) -> None:
        """End the connection in order."""


class Transport(Protocol):
    """How a destination is called."""

    def call(self, due: Sequence[DueDelivery]) -> SendingLine | Unreachable:
        """Connect to store these objects."""

    def call_to_prove(self) -> ProvingLine | Unreachable:
        """Connect to ask for proofs."""
