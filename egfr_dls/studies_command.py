"""`egfr-dls studies`: what the node knows of its studies, and the operator's hand on them."""

from __future__ import annotations

import getpass
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from egfr_dls import settings, study_document
from egfr_dls.errors import UsageError
from egfr_dls.findings import StudyFindings
from egfr_dls.ledger import Ledger, Tx, completion, deliveries, instances, jobs, results
from egfr_dls.ledger import studies as rows
from egfr_dls.study import StudyState

LIST_SCHEMA = "egfr-dls-studies/1"
config_option = click.option(
    "--config", type=click.Path(dir_okay=False, path_type=Path), help="TOML file; else EGFR_DLS_CONFIG names it."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


@click.group()
def studies() -> None:
    """List and steer the studies of this node. STUDY is a study_key or a StudyInstanceUID."""


@studies.command("list")
@config_option
@json_option
@click.option(
    "--state", type=click.Choice([s.value for s in StudyState], case_sensitive=False), help="Only this state."
)
@click.option("--instances", "list_instances", is_flag=True, help="Every durable SOP Instance UID, one a line.")
def list_studies(config: Path | None, as_json: bool, state: str | None, list_instances: bool) -> None:
    """List the studies, newest first."""
    with _ledger(config) as ledger, ledger.read() as tx:
        if list_instances:
            uids = instances.all_sop_instance_uids(tx)
            click.echo(
                json.dumps({"schema": LIST_SCHEMA, "instances": uids}) if as_json else "\n".join(uids), nl=bool(uids)
            )
            return
        found = [study_document.summary(row) for row in rows.listed(tx, StudyState(state) if state else None)]
    if as_json:
        click.echo(json.dumps({"schema": LIST_SCHEMA, "studies": found}))
        return
    table = Table("study_key", "state", "why", "instances", "last instance (UTC)", "held")
    for item in found:
        why = item["refusal_code"] or item["failure"] or ""
        table.add_row(
            item["study_key"],
            item["state"],
            why,
            str(item["instances"]),
            item["last_instance_at"][:19],
            "yes" if item["held"] else "",
        )
    Console().print(table)


@studies.command()
@click.argument("study")
@config_option
@json_option
def show(study: str, config: Path | None, as_json: bool) -> None:
    """Show a study: series, findings, jobs, objects and where each object stands at each destination."""
    with _ledger(config) as ledger, ledger.read() as tx:
        document = study_document.whole(tx, study)
    if as_json:
        click.echo(json.dumps(document))
        return
    study_document.render(document, Console())


@studies.command()
@click.argument("study")
@config_option
def retry(study: str, config: Path | None) -> None:
    """Queue again what failed, is parked or dead. Built objects go as they are; nothing is inferred twice."""
    allowed = settings.load(config).inference.allow_demonstration_models

    def effect(tx: Tx, uid: str, now: float) -> str:
        revived = jobs.revive(tx, uid, now)
        sent = deliveries.revive(tx, uid, now, demonstrations=allowed)
        if revived:
            rows.move(tx, uid, StudyState.COMPLETE, now)
            if completion.KIND not in revived:
                _return_to_findings(tx, uid, now)
        return f"{len(revived)} jobs and {sent} deliveries queued again"

    _act(config, study, "retry", effect)


@studies.command()
@click.argument("study")
@config_option
def hold(study: str, config: Path | None) -> None:
    """Stop a study's jobs and deliveries until `release`."""
    _act(config, study, "hold", lambda tx, uid, _now: _held(tx, uid, held=True))


@studies.command()
@click.argument("study")
@config_option
def release(study: str, config: Path | None) -> None:
    """Resume a held study."""
    _act(config, study, "release", lambda tx, uid, _now: _held(tx, uid, held=False))


@studies.command()
@click.argument("study")
@click.option("--biomarker", default=None, help="Score for this biomarker, whatever the study asks for.")
@config_option
def force(study: str, biomarker: str | None, config: Path | None) -> None:
    """Complete a study now, with what is there."""
    loaded = settings.load(config)

    def effect(tx: Tx, uid: str, now: float) -> str:
        name = biomarker or "pet_ct_egfr"
        if name not in type(loaded.biomarkers).model_fields:
            raise UsageError(f"no biomarker {name}; there are: {', '.join(type(loaded.biomarkers).model_fields)}")
        queued = completion.complete(tx, uid, name, "score", loaded, now)
        return f"queued for {name}" if queued else "nothing to do: these instances were analysed, or are being analysed"

    _act(config, study, "force", effect)


def _return_to_findings(tx: Tx, uid: str, now: float) -> None:
    """Put a study whose report failed, not its inference, where its findings had led."""
    row = results.newest(tx, uid)
    if row is not None:
        refusal = StudyFindings.from_json(row.document).refusal
        state = StudyState.REFUSED if refusal else StudyState.SCORED
        rows.move(tx, uid, state, now, refusal_code=refusal.code if refusal else None)


def _held(tx: Tx, uid: str, *, held: bool) -> str:
    rows.hold(tx, uid, held=held)
    return "held" if held else "released"


def _act(config: Path | None, study: str, action: str, effect: Callable[[Tx, str, float], str]) -> None:
    now = time.time()
    with _ledger(config) as ledger, ledger.begin() as tx:
        row = rows.find(tx, study)
        done = effect(tx, row.study_instance_uid, now)
        rows.record_action(tx, getpass.getuser(), action, row.study_instance_uid, done, now)
    click.echo(f"{row.study_key}: {done}")


@contextmanager
def _ledger(config: Path | None) -> Iterator[Ledger]:
    ledger = Ledger(settings.load(config).ledger_url)
    try:
        yield ledger
    finally:
        ledger.close()
