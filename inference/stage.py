"""The inference stage: a complete study becomes findings, and a report job, in one transaction."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from pydicom.dataset import Dataset

from egfr_dls import job_loop
from egfr_dls.biomarkers import enabled_rules
from egfr_dls.errors import StudyRefusedError
from egfr_dls.findings import FindingStatus, StudyFindings
from egfr_dls.job_loop import Clock
from egfr_dls.ledger import (
    Tx,
    completion,
    confirmations,
    instances,
    jobs,
    networks,
    patients,
    results,
    studies,
    transfers,
    withdrawals,
)
from egfr_dls.ledger.jobs import Effect, Job
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
from inference.reception_refusals import held_elsewhere, incomplete, too_late
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
        *,
        on_duty: bool = True,
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
        self._networks = {biomarker: _digest(scorers) for biomarker, scorers in self._scorers.items()}
        if on_duty:
            self._note_networks()
        for biomarker, scorers in self._scorers.items():
            _log_loaded(biomarker, scorers)

    def _note_networks(self) -> None:
        """Have the listener know with what studies are scored from now on."""
        with self._store.ledger.begin() as tx:
            for biomarker, digest in self._networks.items():
                networks.note(tx, biomarker, digest)

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

    def findings_again(self, study_instance_uid: str, biomarker: str, forced: str | None) -> StudyFindings:
        """Analyse a study as a job would, with the networks and the settings of now, and enter no result.

        Raises
        ------
        StudyRefusedError
            not one instance can be read
        """
        job = Job(0, self.kind, study_instance_uid, 0, 0, self._clock(), {"biomarker": biomarker, "forced": forced})
        return self._analyse(job, next(b for b in BIOMARKERS if b.name == biomarker)).findings

    def _analyse(self, job: Job, biomarker: Biomarker) -> _Done:
        """Return the analysis, the instances that it is of, and what was known beside them."""
        self._progress("spool")
        with self._store.ledger.read() as tx:
            places = instances.locations(tx, job.study_instance_uid)
            content = instances.content_digest_rows(tx, job.study_instance_uid)
            accepted = confirmations.of_study(tx, job.study_instance_uid)
        datasets, unreadable = self._read(places)
        site = self._known(datasets)
        analysis = analyse_study(
            datasets,
            biomarker,
            self._scorers[biomarker.name],
            self._settings,
            context=site.context,
            refuse_first=self._refused_as_received(job, datasets),
            refuse_as=unreadable or self._refuse_as or self._incomplete(job, datasets),
            progress=self._progress,
            confirmations=accepted,
        )
        with self._store.ledger.read() as tx:
            known = history(tx, analysis.findings, datasets, self._store.site_key, self._store.objects.get)
        evidence = self._store.objects.put(analysis.evidence.to_bytes())
        return _Done(with_history(analysis.findings, known), evidence, content, known, site)

    def _refused_as_received(self, job: Job, datasets: Sequence[Dataset]) -> StudyRefusedError | None:
        """Return why the study is refused whatever its series are, if the ledger has a reason."""
        uid, forced = job.study_instance_uid, job.payload.get("forced")
        with self._store.ledger.read() as tx:
            held = instances.held_elsewhere(tx, uid)
            released_at, stands = studies.released_at(tx, uid), results.current(tx, uid, job.payload["biomarker"])
        if forced == completion.RELEASED and released_at is not None and stands is not None:
            return too_late(datasets, datetime.fromtimestamp(released_at, UTC).date(), stands.revision)
        return held_elsewhere(held, len(datasets)) if held and forced != "score" else None

    def _incomplete(self, job: Job, datasets: Sequence[Dataset]) -> StudyRefusedError | None:
        if job.payload.get("forced") != "refuse":
            return None
        with self._store.ledger.read() as tx:
            return incomplete(datasets, transfers.series_in_doubt(tx, job.study_instance_uid))

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
        whose = None if done.history.whose is None else done.history.whose.patient_key
        if job.payload.get("forced") == completion.RELEASED:
            if patients.key_of(tx, uid) in (None, whose):  # else it would be filed under somebody else
                self._enter(tx, job, done, now, notice=True)
        else:
            if done.history.whose is not None:
                patients.enter(tx, uid, done.history.whose)
            self._enter(tx, job, done, now)
        completion.return_to_result(tx, uid, found.biomarker or "", self._settings, now)
        if self.facts is not None and found.status is FindingStatus.SCORED:
            self.facts.conclude(tx, uid, found.biomarker or "", done.site)

    def _enter(self, tx: Tx, job: Job, done: _Done, now: float, *, notice: bool = False) -> None:
        """Enter the findings and have them reported, unless they are those that stand there last."""
        uid, found, biomarker = job.study_instance_uid, done.findings, job.payload["biomarker"]
        accepted = job.payload.get("unless_withdrawn")
        if accepted is not None and withdrawals.of_findings(tx, uid, accepted) is not None:
            return  # what a person had accepted was withdrawn meanwhile
        configuration, networks_digest = self._settings.configuration_sha256, self._networks[biomarker]
        asked = completion.question(tx, uid, biomarker, job.payload.get("forced"), configuration, networks_digest)
        added = results.add_findings(
            tx,
            uid,
            biomarker,
            findings_dedup(found),
            found.to_json(),
            done.evidence,
            job.created_at,
            question=asked,
            notice=notice,
        )
        if added is not None:
            jobs.enqueue(tx, "report", f"report-{added}", uid, {"findings_id": added}, now)


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


def _digest(scorers: Mapping[str, Scorer]) -> str:
    """Return the digest of the networks that score together: their weights, names, and what they are given and cut at."""
    parts = [(task, scorer.use, scorer.preprocessing) for task, scorer in sorted(scorers.items())]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def findings_dedup(found: StudyFindings) -> str:
    """Return the key under which the same run is recognised: inputs, networks, configuration, version."""
    parts = [found.inputs_sha256, found.configuration_sha256, found.product_version, str(found.refusal)]
    parts += [m.sha256 + m.preprocessing_sha256 if m else "" for m in (found.model, found.companion_model)]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()


def main(settings: Settings, worker: str, stop: threading.Event) -> None:
    """Score studies until ``stop`` is set."""
    with open_store(settings) as store:
        handler = InferenceHandler(settings, store)
        get_logger().info("ready")
        with nullcontext() if handler.facts is None else handler.facts.watching():
            job_loop.run(store.ledger, handler, worker, stop)
