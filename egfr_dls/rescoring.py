"""Whether a result that is computed once more is the same: its scores in their printed form, and what they rest on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from egfr_dls.findings import StudyFindings

Scores = Mapping[str, float | None]


@dataclass(frozen=True)
class Comparison:
    """A stored result beside the same study computed once more.

    ``differs_by`` is the largest difference of two scores; None where one of them has no counterpart. ``changed`` names
    what else is not as it was: network, configuration, version, and the inputs where those three are the same.
    """

    stored: Scores
    again: Scores
    differs_by: float | None
    changed: tuple[str, ...]
    refusals: tuple[str | None, str | None]

    @property
    def same(self) -> bool:
        """Whether every score is the same to its last printed digit, or the refusal is."""
        return self.differs_by == 0.0 and self.refusals[0] == self.refusals[1]

    @property
    def sentence(self) -> str:
        """What came of it, in words."""
        because = f" ({', '.join(self.changed)} changed)" if self.changed else ""
        if self.same:
            return f"same{because}"
        before, now = self.refusals
        if before != now:
            return f"differs{because}: {before or 'scored'} then, {now or 'scored'} now"
        if self.differs_by is None:
            return f"differs{because}: {len(self.stored)} scores then, {len(self.again)} now"
        return f"differs by {self.differs_by:.4f}{because}"

    @property
    def facts(self) -> dict[str, Any]:
        """The comparison for scripts."""
        return {
            "same": self.same,
            "differs_by": self.differs_by,
            "changed": list(self.changed),
            "stored": dict(self.stored),
            "recomputed": dict(self.again),
        }


def compared(stored: StudyFindings, again: StudyFindings) -> Comparison:
    """Compare a stored result with the same study computed once more."""
    before, now = dict(_scores(stored)), dict(_scores(again))
    refusals = tuple(found.refusal.code if found.refusal else None for found in (stored, again))
    return Comparison(before, now, _difference(before, now), tuple(_changed(stored, again)), (refusals[0], refusals[1]))


def _scores(found: StudyFindings) -> Iterator[tuple[str, float | None]]:
    yield "egfr_dls", found.patient.egfr_dls
    yield "pdl1_dls", found.patient.pdl1_dls
    for lesion in found.lesions:
        yield f"{lesion.label} egfr_dls", lesion.egfr_dls
        yield f"{lesion.label} pdl1_dls", lesion.pdl1_dls


def _difference(before: Scores, now: Scores) -> float | None:
    largest = 0.0
    for name in before.keys() | now.keys():
        one, other = before.get(name), now.get(name)
        if (one is None) != (other is None):
            return None
        if one is not None and other is not None:
            largest = max(largest, abs(one - other))
    return largest


def _changed(stored: StudyFindings, again: StudyFindings) -> Iterator[str]:
    """Name what is another now; the inputs' digest says something only where all else is the same."""
    networks = [[m and m.sha256 for m in (found.model, found.companion_model)] for found in (stored, again)]
    others = {
        "network": networks[0] != networks[1],
        "configuration": stored.configuration_sha256 != again.configuration_sha256,
        "version": stored.product_version != again.product_version,
    }
    yield from (name for name, is_another in others.items() if is_another)
    if stored.inputs_sha256 != again.inputs_sha256 and not any(others.values()):
        yield "inputs"
