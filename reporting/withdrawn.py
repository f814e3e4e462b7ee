"""A withdrawn result's rejection notes: one for all destinations that were sent the same objects, queued to each of them."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from datetime import datetime

import structlog
from pydicom import Dataset, dcmread

from egfr_dls.findings import StudyFindings
from egfr_dls.ledger import Tx, deliveries, results, studies, withdrawals
from egfr_dls.ledger.jobs import Effect, Job
from egfr_dls.ledger.results import BuiltObject
from egfr_dls.ledger.withdrawals import RejectedFor, SentObject, Withdrawal
from egfr_dls.store import Store
from egfr_dls.telemetry import get_logger
from reporting.identity import kind_series_uid
from reporting.keeping import keep
from reporting.rejection_note import KIND, RejectionTitle, build_rejection_note

TITLES: Mapping[RejectedFor, RejectionTitle] = {
    RejectedFor.QUALITY: RejectionTitle.QUALITY,
    RejectedFor.SAFETY: RejectionTitle.PATIENT_SAFETY,
}


def notes_of(job: Job, store: Store) -> Effect:
    """Build and keep the notes of a withdrawal; return what enters them, and queues each where it has to go."""
    started = time.perf_counter()
    with store.ledger.read() as tx:
        made = withdrawals.by_id(tx, job.payload["withdrawal_id"])
        sent = withdrawals.sent(tx, made)
        findings = StudyFindings.from_json(results.by_id(tx, made.through_findings_id).document)
        begun = results.series_started_at(tx, kind_series_uid(findings, KIND))
    alike: dict[tuple[SentObject, ...], list[str]] = {}
    for destination, objects in sent.items():
        alike.setdefault(objects, []).append(destination)
    notes = [(_note(made, findings, objects, begun, store), names) for objects, names in alike.items()]
    with structlog.contextvars.bound_contextvars(study_key=studies.study_key(store.site_key, made.study_instance_uid)):
        seconds = round(time.perf_counter() - started, 3)
        get_logger().info("rejection_notes_built", count=len(notes), seconds=seconds)
    return lambda tx: _enter(tx, made, notes)


def _note(
    made: Withdrawal, findings: StudyFindings, objects: Sequence[SentObject], begun: float | None, store: Store
) -> BuiltObject:
    note = build_rejection_note(
        findings,
        [_header(store.objects.get(one.sha256)) for one in objects],
        reason=made.reason,
        by=made.withdrawn_by,
        at=_local(made.at),
        number=made.number,
        series_datetime=None if begun is None else _local(begun),
        title=TITLES[made.title],
    )
    return keep(note, store.objects, made.at)


def _header(content: bytes) -> Dataset:
    return dcmread(io.BytesIO(content), stop_before_pixels=True)


def _local(at: float) -> datetime:
    return datetime.fromtimestamp(at)  # noqa: DTZ006  # DICOM dates and times are the site's local ones


def _enter(tx: Tx, made: Withdrawal, notes: Sequence[tuple[BuiltObject, Sequence[str]]]) -> None:
    for note, destinations in notes:
        results.add_objects(tx, made.through_findings_id, made.study_instance_uid, [note])
        for name in destinations:
            deliveries.queue(tx, [note.sop_instance_uid], name, made.at)
