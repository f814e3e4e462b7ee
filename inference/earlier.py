"""Which earlier results of a patient stand in the time line, and why the others do not: pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from egfr_dls.findings import OWN_LEDGER, PriorFinding

MAX_EARLIER = 20  # results, the newest

BEYOND_LIMIT = f"only the newest {MAX_EARLIER} are shown"
UNREADABLE = "cannot be read"
OF_ANOTHER_KIND: Final[Mapping[bool, str]] = {  # by whether today's result is a demonstration's
    False: "of a demonstration network, which says nothing about the patient",
    True: "real ones never stand beside a demonstration's",
}


@dataclass(frozen=True, slots=True)
class EarlierResult:
    """What one revision of an earlier study's result is, or why nothing can be said of it.

    ``when`` is Study Date (0008,0020) and Study Time (0008,0030) as written. ``demonstration`` is None where it is not known.
    """

    study_instance_uid: str  # or what stands for it where it is not known
    source: str
    revision: int = -1  # Instance Number (0020,0013) of the report; -1: not known, before any that is
    when: tuple[str, str] = ("", "")
    demonstration: bool | None = None
    finding: PriorFinding | None = None  # None: refused, or left out
    why_left_out: str = ""


@dataclass(frozen=True)
class TimeLine:
    """The results that stand, oldest first; how many are left out, by source and reason."""

    priors: tuple[PriorFinding, ...]
    left_out: Mapping[tuple[str, str], int]


def time_line(results: Iterable[EarlierResult], *, demonstration: bool) -> TimeLine:
    """Return one result a study: that of its newest revision of the kind that today's result is.

    Where the newest revision is a refusal or cannot be read, no older one stands in for it. What this node found itself goes
    before what a source has; of sources, what can be shown goes before what cannot.
    """
    by_study: dict[str, list[EarlierResult]] = {}
    for result in results:
        by_study.setdefault(result.study_instance_uid, []).append(result)
    standing = [one for of_study in by_study.values() for one in _standing(of_study, demonstration=demonstration)]
    scored = sorted((one for one in standing if one.finding is not None), key=lambda one: (one.when, one.source))
    shown, older = scored[-MAX_EARLIER:], scored[:-MAX_EARLIER]
    left_out = Counter((one.source, one.why_left_out) for one in standing if one.why_left_out)
    left_out.update((one.source, BEYOND_LIMIT) for one in older)
    return TimeLine(tuple(one.finding for one in shown if one.finding is not None), left_out)


def _standing(of_study: list[EarlierResult], *, demonstration: bool) -> Iterator[EarlierResult]:
    """Yield the result of one study, or what is left out of it; nothing where it was refused."""
    of_kind = [one for one in of_study if one.demonstration in (demonstration, None)]
    if of_kind:
        yield max(of_kind, key=_rank)
        return
    other = max(of_study, key=_rank)
    if other.finding is not None:
        yield EarlierResult(other.study_instance_uid, other.source, why_left_out=OF_ANOTHER_KIND[demonstration])


def _rank(one: EarlierResult) -> tuple[bool, int, str]:
    return one.source == OWN_LEDGER, one.revision, one.source
