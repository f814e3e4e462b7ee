"""Which studies are of one patient, without the patient: a keyed hash of PatientID, its issuer and the birth date."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from sqlalchemy import func, select, tuple_
from sqlalchemy.dialects.sqlite import insert as upsert

from egfr_dls.ledger.engine import Tx
from egfr_dls.ledger.schema import findings, patient_study

MAX_EARLIER = 20  # studies; the newest count


@dataclass(frozen=True, slots=True)
class PatientStudy:
    """Whose study it is, and when it was made: Study Date (0008,0020) as YYYYMMDD, Study Time (0008,0030)."""

    patient_key: str
    study_date: str
    study_time: str


def patient_key(site_key: bytes, patient_id: str, issuer: str, birth_date: str) -> str:
    """Return the patient's name in the ledger, useless without the site's key.

    Parameters
    ----------
    patient_id, issuer, birth_date
        PatientID (0010,0020), IssuerOfPatientID (0010,0021) and PatientBirthDate (0010,0030): sites without issuer, and IDs
        such as ANON, give one ID to several patients
    """
    text = f"patient\n{issuer}\n{patient_id}\n{birth_date}"
    return hmac.new(site_key, text.encode(errors="surrogateescape"), hashlib.sha256).hexdigest()[:32]


def enter(tx: Tx, study_instance_uid: str, whose: PatientStudy) -> None:
    """Note whose study it is."""
    values = {"patient_key": whose.patient_key, "study_date": whose.study_date, "study_time": whose.study_time}
    row = upsert(patient_study).values(study_instance_uid=study_instance_uid, **values)
    tx.execute(row.on_conflict_do_update(index_elements=["study_instance_uid"], set_=values))


def earlier(tx: Tx, study_instance_uid: str, whose: PatientStudy, biomarker: str) -> list[tuple[str, str, str]]:
    """Return UID, study date and findings (JSON, the last revision) of the patient's earlier studies, oldest first."""
    last = (
        select(findings.c.study_instance_uid, func.max(findings.c.revision).label("revision"))
        .where(findings.c.biomarker == biomarker)
        .group_by(findings.c.study_instance_uid)
        .subquery()
    )
    when = tuple_(patient_study.c.study_date, patient_study.c.study_time)
    rows = tx.execute(
        select(patient_study.c.study_instance_uid, patient_study.c.study_date, findings.c.document)
        .join(last, last.c.study_instance_uid == patient_study.c.study_instance_uid)
        .join(
            findings,
            (findings.c.study_instance_uid == last.c.study_instance_uid)
            & (findings.c.revision == last.c.revision)
            & (findings.c.biomarker == biomarker),
        )
        .where(
            patient_study.c.patient_key == whose.patient_key,
            patient_study.c.study_instance_uid != study_instance_uid,
            when < tuple_(whose.study_date, whose.study_time),
        )
        .order_by(
            patient_study.c.study_date.desc(), patient_study.c.study_time.desc(), patient_study.c.study_instance_uid
        )
        .limit(MAX_EARLIER)
    )
    return [(row.study_instance_uid, row.study_date, row.document) for row in rows][::-1]
