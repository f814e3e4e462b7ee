"""What is measured: one row a question, each with its study, sender and receivers, ours first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from benchmarks.receive import receivers, senders
from benchmarks.receive.receivers import Receiver
from benchmarks.receive.senders import Send
from benchmarks.receive.studies import Studies, Study

STORESCPS = (receivers.STORESCP, receivers.STORESCP_BEST)
FORKS = (receivers.STORESCP_FORK, receivers.STORESCP_FORK_BEST)
LARGE_ROUNDS = 3  # at most: these rows are about memory, and 1 GiB takes its time
SENDERS: dict[str, Send] = {"storescu": senders.storescu, "light": senders.light}
SENDER_WORDS = {"storescu": "storescu", "light": "light sender"}


@dataclass(frozen=True)
class Row:
    """One question."""

    name: str
    title: str
    study: Callable[[Studies], Study]
    send: Send
    associations: int
    receivers: tuple[Receiver, ...]
    rounds: int | None = None  # at most


def all_rows(*, quick: bool) -> list[Row]:
    """Return every row of the table."""
    return [
        *(
            _usual(study, associations, sender)
            for study in ("petct", "small")
            for sender in SENDERS
            for associations in (1, 4)
        ),
        Row("defaults", "every fifth of petct, 1 association, storescu, everything at its defaults (Nagle's algorithm on)",
            lambda studies: studies.petct().every(5), senders.storescu_at_defaults, 1,
            (receivers.OURS, receivers.STORESCP_DEFAULT, receivers.ORTHANC_DEFAULT, receivers.PYNETDICOM)),
        Row("tls", "petct, 1 association, light sender, mutual TLS beside none", Studies.petct, senders.light, 1,
            (receivers.OURS_TLS, receivers.OURS, receivers.STORESCP_TLS)),
        *(_large(mib, count) for mib, count in ([(4, 8), (64, 2)] if quick else [(4, 64), (64, 8), (1024, 1)])),
    ]  # fmt: skip


def _usual(study: str, associations: int, sender: str) -> Row:
    storescps = STORESCPS if associations == 1 else FORKS
    words = f"{associations} association{'s' * (associations > 1)}"
    return Row(
        f"{study}-{associations}-{sender}",
        f"{study}, {words}, {SENDER_WORDS[sender]}",
        getattr(Studies, study),
        SENDERS[sender],
        associations,
        (receivers.OURS, *storescps, receivers.ORTHANC, receivers.PYNETDICOM),
    )


def _large(mib: int, count: int) -> Row:
    title = f"{count} object{'s' * (count > 1)} of {mib} MiB, 1 association, light sender"
    compared = (receivers.OURS, receivers.STORESCP_BEST, receivers.ORTHANC, receivers.PYNETDICOM)
    study = partial(_large_study, mib=mib, count=count)
    return Row(f"large-{mib}", title, study, senders.light, 1, compared, LARGE_ROUNDS)


def _large_study(studies: Studies, *, mib: int, count: int) -> Study:
    return studies.large(mib, count)
