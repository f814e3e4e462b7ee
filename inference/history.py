"""What the ledger adds to an analysis: which series were fetched, and the patient's earlier results."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pydicom.dataset import Dataset

from egfr_dls.findings import PriorFinding, StudyFindings
from egfr_dls.ledger import Tx, patients, retrievals
from egfr_dls.ledger.patients import PatientStudy
from egfr_dls.ledger.retrievals import FetchedSeries
from egfr_dls.refusals import Remark, WarningCode
from inference.read.header import text
from inference.read.prior_report import PriorReport, read_prior_report

_DATE = re.compile(r"[0-9]{8}")  # PS3.5 table 6.2-1, DA
LEDGER = "ledger"  # the source of a prior that this node found itself


@dataclass(frozen=True)
class History:
    """Whose study it is, if its header says so; what was fetched; what was found before, oldest first."""

    whose: PatientStudy | None = None
    fetched: tuple[FetchedSeries, ...] = ()
    priors: tuple[PriorFinding, ...] = ()


def history(
    tx: Tx, found: StudyFindings, datasets: Sequence[Dataset], site_key: bytes, kept: Callable[[str], bytes]
) -> History:
    """Return what the ledger knows beside the study's instances.

    Parameters
    ----------
    datasets
        the study's; the one from which the report copies the patient says whose study it is
    kept
        gives an object of the store by its digest
    """
    reference = next(ds for ds in datasets if ds.SOPInstanceUID == found.reference_sop_instance_uid)
    whose, biomarker = _whose(reference, site_key), found.biomarker or ""
    priors: list[PriorFinding] = []
    if whose is not None:
        own = patients.earlier(tx, found.study_instance_uid, whose, biomarker)
        known = {study for study, _, _ in own}
        reports = [
            read_prior_report(kept(sha256), biomarker, source)
            for source, sha256 in retrievals.reports(tx, found.study_instance_uid)
        ]
        priors += [prior for _, date, document in own if (prior := _prior(date, document))]
        priors += [
            r.finding for r in reports if r and r.study_instance_uid not in known and _precedes(r, whose, site_key)
        ]
    priors.sort(key=lambda prior: (prior.study_date, prior.source, prior.egfr_dls))
    return History(whose, tuple(retrievals.fetched(tx, found.study_instance_uid)), tuple(priors))


def _precedes(report: PriorReport, whose: PatientStudy, site_key: bytes) -> bool:
    """Whether a report is of an earlier study of the same patient."""
    same = patients.patient_key(site_key, report.patient_id, report.issuer, report.birth_date) == whose.patient_key
    return same and (report.study_date, report.study_time) < (whose.study_date, whose.study_time)


def with_history(found: StudyFindings, known: History) -> StudyFindings:
    """Return the findings with what was fetched as warnings and with the earlier results that may stand beside them.

    A demonstration's result never stands beside a real one, nor the other way round. Both are part of the inputs digest,
    since the report shows them.
    """
    warnings = tuple(_fetched(series) for series in known.fetched)
    priors = tuple(prior for prior in known.priors if prior.demonstration == found.demonstration)
    if not warnings and not priors:
        return found
    digest = hashlib.sha256(f"{found.inputs_sha256}|{warnings!r}|{priors!r}".encode()).hexdigest()
    return replace(found, warnings=(*found.warnings, *warnings), priors=priors, inputs_sha256=digest)


def _whose(reference: Dataset, site_key: bytes) -> PatientStudy | None:
    """Return whose study it is and when it was made; None where there is no PatientID or no readable Study Date."""
    patient_id, date = text(reference, "PatientID"), text(reference, "StudyDate")
    born = text(reference, "PatientBirthDate")
    if not patient_id or not _DATE.fullmatch(date):
        return None
    key = patients.patient_key(site_key, patient_id, text(reference, "IssuerOfPatientID"), born)
    return PatientStudy(key, date, text(reference, "StudyTime")[:16])


def _prior(study_date: str, document: str) -> PriorFinding | None:
    """Return what a stored result scored; of another version's document only what a prior needs is read."""
    try:
        found = json.loads(document)
        model, patient = found["model"], found["patient"]
        if model is None or patient["egfr_dls"] is None:
            return None
        return PriorFinding(
            study_date=f"{study_date[:4]}-{study_date[4:6]}-{study_date[6:]}",
            egfr_dls=patient["egfr_dls"],
            pdl1_dls=patient["pdl1_dls"],
            source=LEDGER,
            demonstration=any(
                m is not None and m["status"] == "demonstration" for m in (model, found["companion_model"])
            ),
            model=f"{model['name']} {model['version']}",
            model_sha256=model["sha256"],
            cut_off=model["cut_off"],
        )
    except (KeyError, TypeError, ValueError):
        return None


def _fetched(series: FetchedSeries) -> Remark:
    one = series.instances == 1
    number, verb = ("1 instance", "was") if one else (f"{series.instances} instances", "were")
    return Remark(
        WarningCode.SERIES_FETCHED.value,
        f"{number} of {series.modality} series {series.series_instance_uid} had not been sent "
        f"and {verb} fetched from source {series.source}.",
    )
