"""Which studies are of one patient, without the patient: a keyed hash of PatientID, its issuer and the birth date or name."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import select, tuple_
from sqlalchemy.dialects.sqlite import insert as upsert

from egfr_dls.ledger import withdrawals
from egfr_dls.ledger.engine import Tx
from egfr_dls.ledger.schema import findings, patient_study


@dataclass(frozen=True, slots=True)
class PatientStudy:
    """Whose study it is, and when it was made: Study Date (0008,0020) as YYYYMMDD, Study Time (0008,0030)."""

    patient_key: str
    study_date: str
    study_time: str


class StoredResult(NamedTuple):
    """One revision of what was found in a study of the patient; ``document``: its findings as JSON."""

    study_instance_uid: str
    study_date: str
    study_time: str
    revision: int
    document: str


def patient_key(site_key: bytes, patient_id: str, issuer: str, mark: str) -> str:
    """Return the patient's name in the ledger, useless without the site's key.

    Parameters
    ----------
    patient_id, issuer
        PatientID (0010,0020) and IssuerOfPatientID (0010,0021)
    mark
        what tells the patient from others of the same ID, as PatientBirthDate (0010,0030): sites without issuer, and IDs
        such as ANON, give one ID to several patients; never empty
    """
    text = f"patient\n{issuer}\n{patient_id}\n{mark}"
    return hmac.new(site_key, text.encode(errors="surrogateescape"), hashlib.sha256).hexdigest()[:32]


def enter(tx: Tx, study_instance_uid: str, whose: PatientStudy) -> None:
    """Note whose study it is."""
    values = {"patient_key": whose.patient_key, "study_date": whose.study_date, "study_time": whose.study_time}
    row = upsert(patient_study).values(study_instance_uid=study_instance_uid, **values)
    tx.execute(row.on_conflict_do_update(index_elements=["study_instance_uid"], set_=values))


def key_of(tx: Tx, study_instance_uid: str) -> str | None:
    """Return whose study it is known to be, or None."""
    return tx.scalar(
        select(patient_study.c.patient_key).where(patient_study.c.study_instance_uid == study_instance_uid)
    )


def earlier(tx: Tx, study_instance_uid: str, whose: PatientStudy, biomarker: str) -> list[StoredResult]:
    """Return every result of the patient's earlier studies that was not withdrawn, oldest study and revision first.

    None is chosen here: which of them counts can be told only by who reads them.
    """
    when = tuple_(patient_study.c.study_date, patient_study.c.study_time)
    rows = tx.execute(
        select(
            patient_study.c.study_instance_uid,
            patient_study.c.study_date,
            patient_study.c.study_time,
            findings.c.revision,
            findings.c.document,
        )
        .join(findings, findings.c.study_instance_uid == patient_study.c.study_instance_uid)
        .where(
            patient_study.c.patient_key == whose.patient_key,
            patient_study.c.study_instance_uid != study_instance_uid,
            when < tuple_(whose.study_date, whose.study_time),
            findings.c.biomarker == biomarker,
            findings.c.notice.is_(False),
            ~withdrawals.covers(findings.c.study_instance_uid, findings.c.id),
        )
        .order_by(
            patient_study.c.study_date, patient_study.c.study_time, patient_study.c.study_instance_uid,
            findings.c.revision,
        )
    )  # fmt: skip
    return [StoredResult(*row) for row in rows]
