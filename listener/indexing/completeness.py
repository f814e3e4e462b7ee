"""When is a study complete, and which biomarker does it ask for? The decision alone, pure; ``completion.py`` carries it out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from egfr_dls.biomarkers import RULES, BiomarkerRule
from egfr_dls.ledger.instances import REGION_MODALITIES
from egfr_dls.ledger.returns import Came
from egfr_dls.ledger.studies import StudySnapshot
from egfr_dls.settings_sections import Study


class WaitReason(StrEnum):
    """What a study still waits for."""

    OPEN_ASSOCIATION = "open_association"
    QUIET_TIME = "quiet_time"
    INTERRUPTED = "interrupted"
    PAIR_MISSING = "pair_missing"
    RELEASED = "released"  # given up by retention with its result, and some of its images have come again
    FETCHING = "fetching"  # the sources are being asked for what it lacks
    OPERATOR = "operator"  # force_action = "wait": `egfr-dls studies force` ends it


@dataclass(frozen=True, slots=True)
class Wait:
    """Not yet. ``until``, UTC seconds: when it is worth asking again, if nothing comes meanwhile."""

    reason: WaitReason
    until: float = math.inf


@dataclass(frozen=True, slots=True)
class Complete:
    """Analyse it. ``forced``: the force time ran out before it was complete, and what the settings say to do then."""

    biomarker: str
    forced: Literal["refuse", "score"] | None = None


@dataclass(frozen=True, slots=True)
class NotApplicable:
    """No biomarker asks for it."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """Ask the sources for what it lacks, and for earlier reports, before anything else is decided."""


@dataclass(frozen=True, slots=True)
class KeepResult:
    """What came says nothing without the images, which are gone: the result stands.

    ``too_late``: it is a region that nobody can score, of which is told.
    """

    too_late: bool = False


Decision = Wait | Complete | NotApplicable | Fetch | KeepResult
SILENCE_SECONDS = 60.0  # over the idle time: one large object may be under way


def decide(
    study: StudySnapshot,
    now: float,
    settings: Study,
    rules: Sequence[BiomarkerRule] = RULES,
    *,
    idle_seconds: float = 60.0,
    may_fetch: bool = False,
) -> Decision:
    """Decide what happens to a study that receives, all of whose records are indexed. The first line that holds decides.

    Parameters
    ----------
    now
        UTC seconds
    rules
        those of the enabled biomarkers; the first one that the study asks for counts
    idle_seconds
        after which the listener ends an association without traffic; one that is still called open then has ended without
        a record of it, and holds no study beyond the force time
    may_fetch
        there are sources to ask
    """
    rule = asked_rule(study, rules)
    forced_at = study.first_seen_at + settings.force_seconds
    if study.open_associations:
        gone_at = max(forced_at, study.open_last_record_at + idle_seconds + SILENCE_SECONDS)
        if now < gone_at:
            return Wait(WaitReason.OPEN_ASSOCIATION, gone_at)
        study = replace(study, open_associations=0, interrupted=True)
    if now < (quiet_from := study.last_instance_at + settings.quiet_seconds):
        return Wait(WaitReason.QUIET_TIME, quiet_from)
    if (decided := _without_images(study, rule)) is not None:
        return decided
    if rule is None:
        return NotApplicable()  # a later instance reopens it
    if may_fetch and study.fetching_until is None:
        return Fetch()
    if study.fetching_until is not None and now < study.fetching_until:
        return Wait(WaitReason.FETCHING, study.fetching_until)
    if _has_pair(study, rule) and not study.interrupted:
        return Complete(rule.name)
    if now < forced_at:
        return Wait(WaitReason.INTERRUPTED if study.interrupted else WaitReason.PAIR_MISSING, forced_at)
    if rule.needs <= {s.modality for s in study.series} and not study.interrupted:
        return Complete(rule.name)  # in several frames of reference: no better CT has come, registration serves
    if settings.force_action == "wait":
        return Wait(WaitReason.OPERATOR)
    return Complete(rule.name, settings.force_action)


def asked_rule(study: StudySnapshot, rules: Sequence[BiomarkerRule]) -> BiomarkerRule | None:
    """Return the rule of the biomarker that a study asks for."""
    return next((r for r in rules if any(s.modality == r.asks_for for s in study.series)), None)


def lacking(study: StudySnapshot, rule: BiomarkerRule) -> frozenset[str]:
    """Return the modalities of which a study lacks something: of its pair, or the end of a transfer; or a region of interest."""
    images = frozenset[str]() if _has_pair(study, rule) and not study.interrupted else rule.needs
    roi = frozenset[str]() if any(s.modality in REGION_MODALITIES for s in study.series) else REGION_MODALITIES
    return images | roi


def _without_images(study: StudySnapshot, rule: BiomarkerRule | None) -> Decision | None:
    """Decide on a study whose result was left without its instances; None: it is another, or others have come, whole."""
    if study.released is Came.PART:
        return Wait(WaitReason.RELEASED)  # its result stands: a part of it would be refused in its place
    if study.released is None or (rule and _has_pair(study, rule)):
        return None
    return KeepResult(too_late=study.released is Came.REGION)


def _has_pair(study: StudySnapshot, rule: BiomarkerRule) -> bool:
    """Whether one frame of reference holds every modality that the rule needs (PS3.3 C.7.4.1)."""
    frames = {s.frame_of_reference_uid for s in study.series if s.frame_of_reference_uid}
    return any(
        rule.needs <= {s.modality for s in study.series if s.frame_of_reference_uid == frame} for frame in frames
    )
