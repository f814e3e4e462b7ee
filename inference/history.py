"""What the ledger adds to an analysis: which series were fetched, and the patient's earlier results."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydicom.dataset import Dataset

from egfr_dls.findings import OWN_LEDGER, PriorFinding, StudyFindings
from egfr_dls.ledger import Tx, patients, retrievals
from egfr_dls.ledger.patients import PatientStudy, StoredResult
from egfr_dls.ledger.retrievals import FetchedSeries
from egfr_dls.listed_report import why_not_fetched
from egfr_dls.refusals import Remark, WarningCode
from inference.earlier import UNREADABLE, EarlierResult, time_line
from inference.read.header import text
from inference.read.patient import Patient, patient_of
from inference.read.prior_report import ReportUnreadableError, read_prior_report

_DATE = re.compile(r"[0-9]{8}")  # PS3.5 table 6.2-1, DA
NOT_COMPARED = "neither PatientBirthDate (0010,0030) nor PatientName (0010,0010) shows whose they are"
NO_MARK = (
    "No earlier results are shown: PatientBirthDate (0010,0030) and PatientName (0010,0010) do not tell this patient from "
    "others of the same PatientID (0010,0020). Needed: one of them."
)
ALL_THE_SAME = frozenset(("", "NOT_THERE"))  # reasons of a source that was asked for the history all the same


@dataclass(frozen=True)
class History:
    """Whose study it is, if its header says so; what was fetched; what was found before, oldest first, and what is left out."""

    whose: PatientStudy | None = None
    fetched: tuple[FetchedSeries, ...] = ()
    priors: tuple[PriorFinding, ...] = ()
    left_out: tuple[Remark, ...] = ()


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
    patient, date = patient_of(reference), text(reference, "StudyDate")
    known = History(fetched=tuple(retrievals.fetched(tx, found.study_instance_uid)))
    if not patient.patient_id or not _DATE.fullmatch(date):
        return known
    if not patient.mark:
        return replace(known, left_out=(_remark(NO_MARK),))
    key = patients.patient_key(site_key, patient.patient_id, patient.issuer, patient.mark)
    whose = PatientStudy(key, date, text(reference, "StudyTime")[:16])
    own = (_stored(row) for row in patients.earlier(tx, found.study_instance_uid, whose, found.biomarker or ""))
    results = [*own, *_from_sources(tx, found, patient, whose, kept)]
    line = time_line(results, demonstration=found.demonstration)
    return replace(known, whose=whose, priors=line.priors, left_out=_left_out(tx, found, line.left_out))


def with_history(found: StudyFindings, known: History) -> StudyFindings:
    """Return the findings with the earlier results, and as warnings what was fetched and what is left out.

    Both are part of the inputs digest, since the report shows them.
    """
    warnings = (*map(_fetched, known.fetched), *known.left_out)
    if not warnings and not known.priors:
        return found
    digest = hashlib.sha256(f"{found.inputs_sha256}|{warnings!r}|{known.priors!r}".encode()).hexdigest()
    return replace(found, warnings=(*found.warnings, *warnings), priors=known.priors, inputs_sha256=digest)


def _stored(row: StoredResult) -> EarlierResult:
    """Return a result of this node; of another version's document only what a prior needs is read."""
    result = EarlierResult(
        row.study_instance_uid, OWN_LEDGER, revision=row.revision, when=(row.study_date, row.study_time)
    )
    try:
        document = json.loads(row.document)
        networks = [document[name] for name in ("model", "companion_model")]
        demonstration = any(network is not None and network["status"] == "demonstration" for network in networks)
        finding = _prior(document, row.study_date, demonstration=demonstration)
    except (KeyError, TypeError, ValueError):
        return replace(result, why_left_out=UNREADABLE)
    return replace(result, demonstration=demonstration, finding=finding)


def _prior(document: Mapping[str, Any], study_date: str, *, demonstration: bool) -> PriorFinding | None:
    model, patient = document["model"], document["patient"]
    if model is None or patient["egfr_dls"] is None:
        return None
    return PriorFinding(
        study_date=f"{study_date[:4]}-{study_date[4:6]}-{study_date[6:]}",
        egfr_dls=patient["egfr_dls"],
        pdl1_dls=patient["pdl1_dls"],
        source=OWN_LEDGER,
        demonstration=demonstration,
        model=f"{model['name']} {model['version']}",
        model_sha256=model["sha256"],
        cut_off=model["cut_off"],
        preprocessing_sha256=model.get("preprocessing_sha256", ""),
    )


def _from_sources(
    tx: Tx, found: StudyFindings, patient: Patient, whose: PatientStudy, kept: Callable[[str], bytes]
) -> Iterator[EarlierResult]:
    """Yield what the reports say that sources listed for the study, except those of later studies and other patients."""
    now = (whose.study_date, whose.study_time)
    for source, sha256 in retrievals.reports(tx, found.study_instance_uid):
        part10 = kept(sha256)
        if (missing := why_not_fetched(part10)) is not None:
            why = f"not fetched ({missing.not_fetched})"
            yield EarlierResult(missing.study_instance_uid, source, why_left_out=why)
            continue
        try:
            report = read_prior_report(part10, found.biomarker or "", source)
        except ReportUnreadableError:
            yield EarlierResult(sha256, source, why_left_out=UNREADABLE)
            continue
        if report is None or report.result.when >= now:
            continue
        is_same = report.patient.is_same_as(patient)
        if is_same is None:
            yield EarlierResult(report.result.study_instance_uid, source, why_left_out=NOT_COMPARED)
        elif is_same:
            yield report.result


def _left_out(tx: Tx, found: StudyFindings, counts: Mapping[tuple[str, str], int]) -> tuple[Remark, ...]:
    """Return what is not in the time line, and the sources that may have more."""
    said = [
        f"{count} earlier {'result' if count == 1 else 'results'} of the patient from {source} left out: {why}."
        for (source, why), count in sorted(counts.items())
    ]
    said += [
        f"Earlier results of the patient may be missing: source {row.source} answered {row.reason}."
        for row in retrievals.of_study(tx, found.study_instance_uid)
        if row.reason not in ALL_THE_SAME
    ]
    return tuple(map(_remark, said))


def _remark(message: str) -> Remark:
    return Remark(WarningCode.PRIORS_LEFT_OUT.value, message)


def _fetched(series: FetchedSeries) -> Remark:
    one = series.instances == 1
    number, verb = ("1 instance", "was") if one else (f"{series.instances} instances", "were")
    return Remark(
        WarningCode.SERIES_FETCHED.value,
        f"{number} of {series.modality} series {series.series_instance_uid} had not been sent "
        f"and {verb} fetched from source {series.source}.",
    )
