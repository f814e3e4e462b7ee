"""The inference stage: a complete study becomes findings, and a report job, in one transaction."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import structlog
from pydicom.dataset import Dataset

from egfr_dls import job_loop
from egfr_dls.biomarkers import enabled_rules
from egfr_dls.errors import StudyRefusedError
from egfr_dls.findings import FindingStatus, StudyFindings
from egfr_dls.job_loop import Clock
from egfr_dls.ledger import Tx, deliveries, instances, jobs, patients, results, studies
from egfr_dls.ledger.jobs import Effect, Job
from egfr_dls.refusals import RefusalCode
from egfr_dls.settings import Settings
from egfr_dls.store import Store, open_store
from egfr_dls.study import SpoolRef, StudyState
from egfr_dls.telemetry import get_logger
from inference.biomarkers.clinical_context import ClinicalContext
from inference.biomarkers.contract import Biomarker
from inference.biomarkers.registry import BIOMARKERS, load_scorers
from inference.context.site_facts import Known, SiteFacts
from inference.engine.gate import Scorer
from inference.history import History, history, with_history
from inference.read.part10 import read_part10
from inference.read.series import group_series
from inference.study_analysis import analyse_study
from inference.timing import Progress, silent

Content = list[tuple[str, str]]  # SOP Instance UID and digest of every instance that can fill a role


@dataclass(frozen=True, eq=False)
class _Done:
    """One analysis: its findings, the digest of its evidence, and of what it is."""

    findings: StudyFindings
    evidence: str
    content: Content
    history: History
    site: Known


class InferenceHandler:
    """Scores one study a job; the networks are opened once."""

    kind = "infer"

    def __init__(
        self,
        settings: Settings,
        store: Store,
        clock: Clock = time.time,
        progress: Progress = silent,
        context: ClinicalContext | None = None,
        refuse_as: StudyRefusedError | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._progress = progress
        self._given = context  # by hand, for the one study that is analysed
        self.facts = None if settings.context is None else SiteFacts(settings.context.folder, settings, store, clock)
        self._refuse_as = refuse_as
        enabled = {rule.name for rule in enabled_rules(settings)}
        self._scorers = {b.name: load_scorers(b, settings) for b in BIOMARKERS if b.name in enabled}
        for biomarker, scorers in self._scorers.items():
            _log_loaded(biomarker, scorers)

    def handle(self, job: Job) -> Effect:
        """Analyse the study and return what to write: findings, the study's state, and the report job."""
        biomarker = next(b for b in BIOMARKERS if b.name == job.payload["biomarker"])
        key = studies.study_key(self._store.site_key, job.study_instance_uid)
        with structlog.contextvars.bound_contextvars(study_key=key, biomarker=biomarker.name):
            started = time.perf_counter()
            try:
                done = self._analyse(job, biomarker)
            except StudyRefusedError as error:
                return self._refused_unread(job, error)
            refusal = done.findings.refusal
            get_logger().info(
                "study_analysed",
                state=done.findings.status,
                code=refusal.code if refusal else None,
                seconds=round(time.perf_counter() - started, 3),
            )
        return lambda tx: self._write(tx, job, done)

    def _analyse(self, job: Job, biomarker: Biomarker) -> _Done:
        """Return the analysis, the instances that it is of, and what was known beside them."""
        self._progress("spool")
        with self._store.ledger.read() as tx:
            places = instances.locations(tx, job.study_instance_uid)
            content = instances.content_digest_rows(tx, job.study_instance_uid)
        datasets, unreadable = self._read(places)
        refuse_as = unreadable or self._refuse_as
        if refuse_as is None and job.payload.get("forced") == "refuse":
            refuse_as = _incomplete(datasets)
        scorers = self._scorers[biomarker.name]
        site = self._known(datasets)
        analysis = analyse_study(
            datasets,
            biomarker,
            scorers,
            self._settings,
            context=site.context,
            refuse_as=refuse_as,
            progress=self._progress,
        )
        with self._store.ledger.read() as tx:
            known = history(tx, analysis.findings, datasets, self._store.site_key, self._store.objects.get)
        evidence = self._store.objects.put(analysis.evidence.to_bytes())
        return _Done(with_history(analysis.findings, known), evidence, content, known, site)

    def _known(self, datasets: Sequence[Dataset]) -> Known:
        """Return what is known from outside the images: given by hand, or stated by the site until now."""
        if self._given is not None:
            return Known(self._given)
        if self.facts is None:
            return Known()
        self.facts.look()
        return self.facts.of(datasets)

    def _read(self, places: Mapping[str, SpoolRef]) -> tuple[list[Dataset], StudyRefusedError | None]:
        """Return what can be read, and the refusal of the first instance that cannot.

        Raises
        ------
        StudyRefusedError
            ``PIXELS_UNREADABLE``: not one instance can be read, so that there is no header to report under
        """
        datasets, refusal = [], None
        for uid, place in places.items():
            try:
                datasets.append(read_part10(self._store.spool.read(place), uid))
            except StudyRefusedError as error:
                refusal = refusal or error
        if refusal is not None and not datasets:
            raise refusal
        return datasets, refusal

    def _refused_unread(self, job: Job, refusal: StudyRefusedError) -> Effect:
        """Refuse a study without findings: a report needs the patient and study of one instance at least."""
        get_logger().error("study_unreadable", code=refusal.code.value)
        now, uid = self._clock(), job.study_instance_uid

        def effect(tx: Tx) -> None:
            studies.move(tx, uid, StudyState.REFUSED, now, refusal_code=refusal.code.value)

        return effect

    def _write(self, tx: Tx, job: Job, done: _Done) -> None:
        now, uid, found = self._clock(), job.study_instance_uid, done.findings
        if studies.state(tx, uid) != StudyState.COMPLETE or instances.content_digest_rows(tx, uid) != done.content:
            jobs.cancel(tx, job)  # more of the study came meanwhile: a result of a part never leaves
            get_logger().info("analysis_superseded", study_key=studies.study_key(self._store.site_key, uid))
            return
        if done.history.whose is not None:
            patients.enter(tx, uid, done.history.whose)
        document, dedup = found.to_json(), findings_dedup(found)
        added = results.add_findings(tx, uid, found.biomarker or "", dedup, document, done.evidence, job.created_at)
        state = StudyState.SCORED if found.status is FindingStatus.SCORED else StudyState.REFUSED
        studies.move(tx, uid, state, now, refusal_code=found.refusal.code if found.refusal else None)
        if added is not None:
            jobs.enqueue(tx, "report", f"report-{added}", uid, {"findings_id": added}, now)
        else:
            self._already_delivered(tx, uid, now)
        if self.facts is not None and found.status is FindingStatus.SCORED:
            self.facts.conclude(tx, uid, found.biomarker or "", done.site)

    def _already_delivered(self, tx: Tx, study_instance_uid: str, now: float) -> None:
        """Say so of a study whose findings did not change and whose report is where it should be."""
        required = [d.name for d in self._settings.destinations if d.required]
        if deliveries.report_arrived(tx, study_instance_uid, required):
            studies.move(tx, study_instance_uid, StudyState.DELIVERED, now)


def _log_loaded(biomarker: str, scorers: Mapping[str, Scorer]) -> None:
    for task, scorer in scorers.items():
        use, engine = scorer.use, scorer.session.describe()
        get_logger().info(
            "model_loaded",
            biomarker=biomarker,
            kind=task,
            model=use.name,
            version=use.version,
            model_status=use.status,
            runtime=f"{engine.runtime} {engine.library_version}",
        )


def findings_dedup(found: StudyFindings) -> str:
    """Return the key under which the same run is recognised: inputs, networks, configuration, version."""
    parts = [found.inputs_sha256, found.configuration_sha256, found.product_version, str(found.refusal)]
    parts += [m.sha256 + m.preprocessing_sha256 if m else "" for m in (found.model, found.companion_model)]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()


def _incomplete(datasets: Sequence[Dataset]) -> StudyRefusedError:
    counts = ", ".join(f"{s.modality} {len(s.datasets)}" for s in group_series(datasets))
    return StudyRefusedError(
        RefusalCode.STUDY_INCOMPLETE,
        "the last association that sent this study did not end in order (A-RELEASE) within [study] force_seconds; "
        f"received: {counts}. "
        "Needed: send the study again, or `egfr-dls studies force` to score what is there.",
    )


def main(settings: Settings, worker: str, stop: threading.Event) -> None:
    """Score studies until ``stop`` is set."""
    with open_store(settings) as store:
        handler = InferenceHandler(settings, store)
        get_logger().info("ready")
        with nullcontext() if handler.facts is None else handler.facts.watching():
            job_loop.run(store.ledger, handler, worker, stop)
