"""What the site states of its patients from outside the images, and with which of it each study was concluded.

A subject (a patient, an examination) stands here as a keyed hash, its facts in clear: no identifier is kept.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import delete, insert, select
from sqlalchemy.dialects.sqlite import insert as upsert

from egfr_dls.ledger.engine import Tx
from egfr_dls.ledger.schema import clinical_fact, concluded_study, concluded_subject

_LOOK_UP = 500  # values in one question, well below what SQLite takes
_NEVER = (0.0, "null")


@dataclass(frozen=True, slots=True)
class Statement:
    """One fact of one subject. ``value`` is JSON, ``null`` takes the fact back; ``stated_at`` is UTC seconds."""

    subject: str
    fact: str
    value: str
    stated_at: float


@dataclass(frozen=True, slots=True)
class ConcludedStudy:
    """A scored study: whose facts count for it (the most specific subject first), and the context it was concluded with.

    ``study_date`` is Study Date (0008,0020) as YYYYMMDD, or empty; ``context`` is JSON.
    """

    study_instance_uid: str
    biomarker: str
    subjects: tuple[str, ...]
    study_date: str
    context: str


def subject_key(site_key: bytes, patient_id: str, issuer: str, accession_number: str) -> str:
    """Return the name in the ledger of a patient, an examination, or both; useless without the site's key.

    Parameters
    ----------
    patient_id, issuer
        PatientID (0010,0020) and IssuerOfPatientID (0010,0021); empty where the examination alone is meant
    accession_number
        AccessionNumber (0008,0050); empty where the patient alone is meant
    """
    text = json.dumps(["context", patient_id, issuer, accession_number])
    return hmac.new(site_key, text.encode(errors="surrogateescape"), hashlib.sha256).hexdigest()[:32]


def state(tx: Tx, statements: Sequence[Statement]) -> frozenset[str]:
    """Enter statements; return the subjects of which something is now other.

    The later of two about one fact counts, of two of one moment the greater value: whatever the order in which they are
    entered, and however often, the ledger ends the same.
    """
    known = _facts(tx, {s.subject for s in statements})
    newer = [(s, was) for s in statements if (s.stated_at, s.value) > (was := known.get((s.subject, s.fact), _NEVER))]
    if newer:
        row = upsert(clinical_fact)
        tx.execute(
            row.on_conflict_do_update(
                index_elements=["subject", "fact"],
                set_={"value": row.excluded.value, "stated_at": row.excluded.stated_at},
            ),
            [{"subject": s.subject, "fact": s.fact, "value": s.value, "stated_at": s.stated_at} for s, _ in newer],
        )
    return frozenset(s.subject for s, (_, value) in newer if value != s.value)


def stated(tx: Tx, subjects: Sequence[str]) -> list[dict[str, str]]:
    """Return each subject's facts, JSON by name, in the order of the subjects."""
    found = _facts(tx, set(subjects))
    return [{fact: value for (of, fact), (_, value) in found.items() if of == subject} for subject in subjects]


def last_stated_at(tx: Tx, subjects: Sequence[str]) -> float:
    """Return when the newest fact of these subjects was stated, UTC seconds; 0 where there is none."""
    return max((at for at, _ in _facts(tx, set(subjects)).values()), default=0.0)


def conclude(tx: Tx, study: ConcludedStudy) -> None:
    """Note with which context a study was concluded."""
    uid = study.study_instance_uid
    values = {"biomarker": study.biomarker, "study_date": study.study_date, "context": study.context}
    row = upsert(concluded_study).values(study_instance_uid=uid, **values)
    tx.execute(row.on_conflict_do_update(index_elements=["study_instance_uid"], set_=values))
    tx.execute(delete(concluded_subject).where(concluded_subject.c.study_instance_uid == uid))
    if study.subjects:
        links = [{"study_instance_uid": uid, "position": i, "subject": s} for i, s in enumerate(study.subjects)]
        tx.execute(insert(concluded_subject), links)


def concluded(tx: Tx, subjects: Collection[str]) -> list[ConcludedStudy]:
    """Return the concluded studies for which facts of these subjects count."""
    uids = {
        uid
        for some in _portions(subjects)
        for uid in tx.scalars(
            select(concluded_subject.c.study_instance_uid).where(concluded_subject.c.subject.in_(some))
        )
    }
    return [_concluded(tx, uid) for uid in sorted(uids)]


def _concluded(tx: Tx, study_instance_uid: str) -> ConcludedStudy:
    row = tx.execute(select(concluded_study).where(concluded_study.c.study_instance_uid == study_instance_uid)).one()
    subjects = tx.scalars(
        select(concluded_subject.c.subject)
        .where(concluded_subject.c.study_instance_uid == study_instance_uid)
        .order_by(concluded_subject.c.position)
    )
    return ConcludedStudy(study_instance_uid, row.biomarker, tuple(subjects), row.study_date, row.context)


def _facts(tx: Tx, subjects: Collection[str]) -> dict[tuple[str, str], tuple[float, str]]:
    """Return time and value of each fact, by subject and fact."""
    return {
        (row.subject, row.fact): (row.stated_at, row.value)
        for some in _portions(subjects)
        for row in tx.execute(select(clinical_fact).where(clinical_fact.c.subject.in_(some)))
    }


def _portions(values: Collection[str]) -> Iterator[list[str]]:
    rest = iter(sorted(values))
    while some := list(islice(rest, _LOOK_UP)):
        yield some
