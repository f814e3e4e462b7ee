"""What is known of a patient from outside the images, matched to his studies before he has a pseudonym only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from egfr_dls.errors import UsageError
from training_export.cohort.key import CohortKey
from training_export.cohort.layout import LABEL_COLUMNS
from training_export.cohort.patients import StudyPlace
from training_export.pathology.labels import OPTION, LabelRow
from training_export.pathology.results import Reading, Subject, TissueResult, TissueTest

SHOWN = 10  # contradictions that one message names
STATES: dict[TissueTest, dict[bool, str]] = {
    TissueTest.EGFR: {True: "mutant", False: "wild type"},
    TissueTest.PDL1: {True: "positive", False: "negative"},
}


@dataclass(frozen=True)
class Window:
    """In which days about the scan a specimen must have been taken for its result to be the scan's."""

    days_before: int = 365
    days_after: int = 90

    def holds(self, result: TissueResult, place: StudyPlace) -> bool:
        """Whether a result counts for a study."""
        if result.taken_on is None or place.study_date is None:
            return False
        return -self.days_before <= (result.taken_on - place.study_date).days <= self.days_after


@dataclass(frozen=True)
class KnownLabels:
    """Labels of studies by StudyInstanceUID, rows of patients by pseudonym, and how many statements met nobody.

    ``counts``: results (``pathology``) and rows (``labels``) that were read; ``unmatched``: of nobody in the cohort;
    ``outside_window``: of a patient, but of no study of his; ``undated``: without a day; and what was passed over.
    """

    of_study: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    of_patient: Mapping[str, LabelRow] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Statement:
    """One result with where it stands."""

    positive: bool
    place: str


def match(
    places: Sequence[StudyPlace],
    key: CohortKey,
    labels: Mapping[Subject, tuple[str, LabelRow]],
    pathology: Sequence[Reading],
    window: Window,
) -> KnownLabels:
    """Give every study the labels that hold for it.

    Raises
    ------
    UsageError
        two statements about one study contradict each other, or one names an ID that several patients have; the message
        names files, lines and pseudonyms, never a patient
    """
    named = _resolver(places, key)
    rows = {who: entry for subject, entry in labels.items() if (who := named(subject, entry[0])) is not None}
    results: defaultdict[str, list[TissueResult]] = defaultdict(list)
    read = [result for reading in pathology for result in reading.results]
    for result in read:
        results[named(result.subject, result.place) or ""].append(result)
    unmatched = results.pop("", [])
    of_study: dict[str, dict[str, str]] = {}
    contradictions: list[str] = []
    used: set[int] = set()
    for place in places:
        patient = key.patient(place.identity.issuer, place.identity.patient_id)
        counting = [result for result in results[patient] if window.holds(result, place)]
        used.update(id(result) for result in counting)
        of_study[place.study_instance_uid], faults = _labels(patient, rows.get(patient), counting)
        contradictions += faults
    _refuse(contradictions)
    matched = [result for of_patient in results.values() for result in of_patient]
    undated = sum(result.taken_on is None for result in matched)
    counts = {
        "labels": len(labels),
        "pathology": len(read),
        "unmatched": len(unmatched) + len(labels) - len(rows),
        "outside_window": sum(id(result) not in used for result in matched) - undated,
        "undated": undated,
    }
    counts |= {f"passed_over: {why}": n for reading in pathology for why, n in reading.passed_over.items()}
    return KnownLabels(of_study, {who: row for who, (_, row) in rows.items()}, counts)


def _labels(
    patient: str, entry: tuple[str, LabelRow] | None, counting: Sequence[TissueResult]
) -> tuple[dict[str, str], list[str]]:
    """Return the labels of one study, by column, and what contradicts itself."""
    labels, contradictions = {}, []
    for test, column in zip(TissueTest, LABEL_COLUMNS.values(), strict=True):
        results = (_Statement(result.positive, result.place) for result in counting if result.test is test)
        said = [*_stated(entry, column), *results]
        contradictions += _contradiction(patient, test, said)
        labels[column] = str(int(said[0].positive)) if said else ""
    return labels, contradictions


def _resolver(places: Sequence[StudyPlace], key: CohortKey) -> Callable[[Subject, str], str | None]:
    """Return what finds the pseudonym of a subject; a file without issuer means the only patient of that ID."""
    issuers: defaultdict[str, set[str]] = defaultdict(set)
    for place in places:
        issuers[place.identity.patient_id].add(place.identity.issuer)

    def named(subject: Subject, where: str) -> str | None:
        found = issuers.get(subject.patient_id, set())
        if subject.issuer:
            return key.patient(subject.issuer, subject.patient_id) if subject.issuer in found else None
        if len(found) > 1:
            raise UsageError(
                f"{where}: its patient_id is of {len(found)} issuers in the cohort; needed: issuer_of_patient_id"
            )
        return key.patient(next(iter(found)), subject.patient_id) if found else None

    return named


def _stated(entry: tuple[str, LabelRow] | None, column: str) -> Iterator[_Statement]:
    if entry is not None and (value := getattr(entry[1], column)) is not None:
        yield _Statement(value == "1", entry[0])


def _contradiction(patient: str, test: TissueTest, said: Sequence[_Statement]) -> list[str]:
    other = next((s for s in said if s.positive != said[0].positive), None)
    if other is None:
        return []
    words = STATES[test]
    return [
        f"{patient}: {test} is {words[said[0].positive]} in {said[0].place} and {words[other.positive]} in {other.place}"
    ]


def _refuse(contradictions: Sequence[str]) -> None:
    distinct = list(dict.fromkeys(contradictions))
    if distinct:
        more = f" (and {len(distinct) - SHOWN} more)" if len(distinct) > SHOWN else ""
        raise UsageError(
            f"{OPTION}, --pathology contradict: {'; '.join(distinct[:SHOWN])}{more}. Needed: one state a test and time; "
            "correct the files, or narrow the window (--days-before, --days-after)"
        )
