"""The reporting stage: findings become objects whose bytes are kept, and every destination gets its deliveries."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeAlias

import structlog
from pydicom import dcmread
from pydicom.dataset import Dataset
from sqlalchemy import Row

from egfr_dls import job_loop
from egfr_dls.delivery import DEMONSTRATION
from egfr_dls.evidence import EvidenceImages
from egfr_dls.findings import StudyFindings
from egfr_dls.job_loop import Clock
from egfr_dls.ledger import Tx, deliveries, instances, jobs, results, studies, withdrawals
from egfr_dls.ledger.jobs import Effect, Job
from egfr_dls.ledger.results import BuiltObject
from egfr_dls.node_transport import is_loopback
from egfr_dls.settings import Settings
from egfr_dls.store import Store, open_store
from egfr_dls.study import SpoolRef
from egfr_dls.telemetry import get_logger
from egfr_dls.uids import OBJECT_KINDS, series_uid
from reporting.acceptance import enqueue_anew, has_another, variant_of
from reporting.build import ReportObject, build_pictures, build_reports, prepare, required_headers
from reporting.context import Predecessor, ReportContext, ReportOptions, Revision
from reporting.delivery import delivering
from reporting.keeping import keep
from reporting.source_header import SourceImages
from reporting.variants import Variant
from reporting.withdrawn import notes_of

Kept: TypeAlias = tuple[
    BuiltObject, tuple[Variant, ...]
]  # an object whose bytes are kept, and the variants it belongs to


@dataclass(frozen=True)
class _Built:
    """What a job builds for a destination: its variant, and the SOP Instance UID of its report."""

    variant: Variant
    report: str


class ReportHandler:
    """Builds the objects of one revision a job, once; a re-send sends the kept bytes."""

    kind = "report"

    def __init__(self, settings: Settings, store: Store, clock: Clock = time.time) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        prepare()
        wanted = settings.reporting
        self._options = ReportOptions(wanted.pages, wanted.indeterminate_band, maps=wanted.map, pdf=wanted.pdf)

    def handle(self, job: Job) -> Effect:
        """Build and keep the objects; return what to write of those behind the report, which is sent while they are made."""
        if "withdrawal_id" in job.payload:
            return notes_of(job, self._store)
        with self._store.ledger.read() as tx:
            row = results.by_id(tx, job.payload["findings_id"])
            withdrawn = withdrawals.of_findings(tx, row.study_instance_uid, row.id) is not None
        found = StudyFindings.from_json(row.document)
        if withdrawn or (found.refusal is not None and not self._settings.reporting.refusals):
            return lambda _tx: None
        key = self._key(job.study_instance_uid)
        with structlog.contextvars.bound_contextvars(study_key=key):
            started = time.perf_counter()
            variants = self._variants()
            context = self._context(row, found, variants)
            reports = build_reports(context)
            kept = [self._keep(made, row.content_at) for made in reports]
            built = {name: _Built(variant, _report_of(reports, variant)) for name, variant in variants.items()}
            with self._store.ledger.begin() as tx:
                jobs.heartbeat(tx, job, self._clock())  # what is sent has to be this job's
                self._write(tx, row, found, kept, built)
            for destination in self._kept_from(found):
                get_logger().error("delivery_parked", study_key=key, destination=destination, reason=DEMONSTRATION)
            get_logger().info("report_built", count=len(kept), revision=row.revision, seconds=_since(started))
            started = time.perf_counter()
            pictures = [self._keep(made, row.content_at) for made in build_pictures(context, reports)]
            get_logger().info("pictures_built", count=len(pictures), seconds=_since(started))
        return lambda tx: self._write(tx, row, found, pictures, built)

    def _variants(self) -> dict[str, Variant]:
        """Return what is built for each destination, by its name."""
        with self._store.ledger.read() as tx:
            return {d.name: variant_of(tx, d, self._clock()) for d in self._settings.destinations}

    def _context(self, row: Row[Any], found: StudyFindings, variants: Mapping[str, Variant]) -> ReportContext:
        evidence = EvidenceImages.from_bytes(self._store.objects.get(row.evidence))
        wanted = tuple(dict.fromkeys(variants.values())) or self._options.variants
        return ReportContext(
            found,
            evidence,
            self._sources(found, evidence),
            datetime.fromtimestamp(row.content_at),  # noqa: DTZ006  # DICOM dates and times are the site's local ones
            self._revision(row, found),
            replace(self._options, variants=wanted),
        )

    def _sources(self, found: StudyFindings, evidence: EvidenceImages) -> SourceImages:
        wanted = [*required_headers(found, evidence), found.reference_sop_instance_uid or ""]
        with self._store.ledger.read() as tx:
            places = instances.location(tx, found.study_instance_uid, wanted)
        headers = {uid: self._header(place) for uid, place in places.items()}
        return SourceImages(headers, headers[found.reference_sop_instance_uid or ""])

    def _header(self, place: SpoolRef) -> Dataset:
        with self._store.spool.open(place) as file:
            return dcmread(file, stop_before_pixels=True)

    def _revision(self, row: Row[Any], found: StudyFindings) -> Revision:
        with self._store.ledger.read() as tx:
            before = results.predecessors(tx, row.study_instance_uid, row.biomarker, row.revision)
            begun = {
                kind: results.series_started_at(
                    tx, series_uid(row.study_instance_uid, row.biomarker, kind, demonstration=found.demonstration)
                )
                for kind in OBJECT_KINDS
            }
        reports = tuple(
            Predecessor(b.sop_class_uid, b.sop_instance_uid, b.series_instance_uid, b.study_instance_uid)
            for b in before
            if not b.withdrawn
        )
        withdrawn = next((b.sop_instance_uid for b in before if b.withdrawn), None)
        dates = {kind: datetime.fromtimestamp(at) for kind, at in begun.items() if at is not None}  # noqa: DTZ006  # local, as above
        return Revision(row.revision, reports[0] if reports else None, dates, reports[1:], withdrawn)

    def _keep(self, made: ReportObject, content_at: float) -> Kept:
        return keep(made, self._store.objects, content_at), made.variants

    def _write(
        self, tx: Tx, row: Row[Any], found: StudyFindings, kept: Sequence[Kept], built: Mapping[str, _Built]
    ) -> None:
        """Enter the objects, and queue for each destination those of its variant; of a withdrawn result nothing goes."""
        if withdrawals.of_findings(tx, row.study_instance_uid, row.id) is not None:
            return
        results.add_objects(tx, row.id, row.study_instance_uid, [made for made, _ in kept])
        kept_from = self._kept_from(found)
        for destination in self._settings.destinations:
            variant = built[destination.name].variant
            if has_another(tx, row.id, destination, built[destination.name].report):
                continue
            if variant_of(tx, destination, self._clock()) != variant:  # it has just shown that it takes something else
                enqueue_anew(tx, row.id, row.study_instance_uid, self._clock())
                continue
            uids = [made.sop_instance_uid for made, taken_as in kept if variant in taken_as]
            reason = DEMONSTRATION if destination.name in kept_from else ""
            deliveries.queue(tx, uids, destination.name, self._clock(), parked_reason=reason)

    def _key(self, study_instance_uid: str) -> str:
        return studies.study_key(self._store.site_key, study_instance_uid)

    def _kept_from(self, found: StudyFindings) -> list[str]:
        """Return the destinations outside this machine where a demonstration network's result may not go."""
        if not found.demonstration or self._settings.inference.allow_demonstration_models:
            return []
        return [destination.name for destination in self._settings.destinations if not is_loopback(destination.machine)]


def main(settings: Settings, worker: str, stop: threading.Event) -> None:
    """Build reports and deliver them until ``stop`` is set."""
    with open_store(settings) as store:
        handler = ReportHandler(settings, store)
        with delivering(settings, store, worker, stop) as count:
            get_logger().info("ready", count=count)
            job_loop.run(store.ledger, handler, worker, stop)


def _report_of(reports: Iterable[ReportObject], variant: Variant) -> str:
    return next(made.sop_instance_uid for made in reports if made.kind == "report" and variant in made.variants)


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 3)
