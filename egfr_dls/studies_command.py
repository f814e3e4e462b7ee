"""`egfr-dls studies`: what the node knows of its studies, and the operator's hand on them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from sqlalchemy import Row

from egfr_dls import biomarkers, settings, spool_document, study_document
from egfr_dls.errors import StudyReleasedError, UsageError
from egfr_dls.findings import StudyFindings
from egfr_dls.ledger import Tx, completion, deliveries, instances, jobs, results, withdrawals
from egfr_dls.ledger import studies as rows
from egfr_dls.store import open_spool
from egfr_dls.study import Priority, StudyState
from egfr_dls.study_action import Done, act, config_option, json_option, ledger_of, utc

LIST_SCHEMA = "egfr-dls-studies/1"


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
    """List the studies, newest first, and the destinations that are parked."""
    loaded = settings.load(config)
    with ledger_of(config) as ledger:
        with ledger.read() as tx:
            if list_instances:
                uids = instances.all_sop_instance_uids(tx)
                click.echo(
                    json.dumps({"schema": LIST_SCHEMA, "instances": uids}) if as_json else "\n".join(uids),
                    nl=bool(uids),
                )
                return
            withdrawn = withdrawals.standing(tx)
            chosen = rows.listed(tx, StudyState(state) if state else None)
            found = [study_document.summary(row, withdrawn) for row in chosen]
            destinations = study_document.destinations(tx)
        spool = spool_document.state(ledger, open_spool(loaded), time.time())
    if as_json:
        click.echo(json.dumps({"schema": LIST_SCHEMA, "studies": found, "destinations": destinations, "spool": spool}))
        return
    console = Console()
    _print_list(found, destinations, console)
    spool_document.render(spool, console)


def _print_list(found: list[dict[str, Any]], destinations: list[dict[str, Any]], console: Console) -> None:
    table = Table("study_key", "state", "why", "instances", "last instance (UTC)", "held")
    for item in found:
        withdrawn = "withdrawn" if item["withdrawn_at"] else ""
        why = withdrawn or item["refusal_code"] or item["failure"] or ("released" if item["released_at"] else "")
        table.add_row(
            item["study_key"],
            item["state"],
            why,
            str(item["instances"]),
            item["last_instance_at"][:19],
            "yes" if item["held"] else "",
        )
    console.print(table)
    study_document.render_parked(destinations, console)


@studies.command()
@click.argument("study")
@config_option
@json_option
def show(study: str, config: Path | None, as_json: bool) -> None:
    """Show a study: series, findings, jobs, objects and where each object stands at each destination."""
    with ledger_of(config) as ledger, ledger.read() as tx:
        document = study_document.whole(tx, study)
    if as_json:
        click.echo(json.dumps(document))
        return
    study_document.render(document, Console())


@studies.command()
@click.argument("study", required=False)
@click.option("--all", "every", is_flag=True, help="Every study that failed, or of which something is parked or dead.")
@config_option
def retry(study: str | None, every: bool, config: Path | None) -> None:
    """Queue again what failed, is parked or dead. Built objects go as they are; nothing is inferred twice."""
    if every is (study is not None):
        raise UsageError("give a study_key, a StudyInstanceUID or --all; `egfr-dls studies list` shows the studies")
    allowed = settings.load(config).inference.allow_demonstration_models

    def effect(tx: Tx, uid: str, now: float) -> str:
        revived = jobs.revive(tx, uid, now)
        sent = deliveries.revive(tx, uid, now, demonstrations=allowed)
        if revived:
            rows.move(tx, uid, StudyState.COMPLETE, now)
            if completion.KIND not in revived:
                _return_to_findings(tx, uid, now)
        return f"{len(revived)} jobs and {sent} deliveries queued again"

    if study is not None:
        _act(config, study, "retry", effect)
        return
    with ledger_of(config) as ledger, ledger.read() as tx:
        failed = [row.study_instance_uid for row in rows.listed(tx, StudyState.FAILED)]
        wanted = dict.fromkeys([*failed, *deliveries.stuck_studies(tx, demonstrations=allowed)])
    for uid in wanted:
        _act(config, uid, "retry", effect)
    click.echo(f"{len(wanted)} studies retried")


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

    def effect(tx: Tx, uid: str, _now: float) -> str:
        deliveries.begin_day_anew(tx, uid)
        return _held(tx, uid, held=False)

    _act(config, study, "release", effect)


@studies.command()
@click.argument("study")
@click.option(
    "--biomarker",
    default=biomarkers.DEFAULT,
    show_default=True,
    help="Score for this biomarker, whatever the study asks for.",
)
@config_option
def force(study: str, biomarker: str, config: Path | None) -> None:
    """Complete a study now, with what is there."""
    loaded = settings.load(config)
    biomarkers.check_name(biomarker, loaded)

    def effect(tx: Tx, uid: str, now: float) -> str:
        queued = completion.complete(tx, uid, biomarker, "score", loaded, now)
        return (
            f"queued for {biomarker}"
            if queued
            else "nothing to do: these instances were analysed, or are being analysed"
        )

    _act(config, study, "force", effect)


@studies.command()
@click.argument("study")
@click.argument("level", metavar="stat|routine|backfill", type=click.Choice([p.name.lower() for p in Priority]))
@config_option
def priority(study: str, level: str, config: Path | None) -> None:
    """Say when a study's jobs and deliveries have their turn: before others, in their order, or after others."""

    def effect(tx: Tx, uid: str, _now: float) -> str:
        rows.set_priority(tx, uid, Priority[level.upper()])
        return level

    _act(config, study, "priority", effect)


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
    def whole(tx: Tx, row: Row[Any], now: float) -> Done:
        if action in _NEEDS_INSTANCES:
            _require_instances(tx, row)
        return Done(effect(tx, row.study_instance_uid, now))

    act(config, study, action, whole)


_NEEDS_INSTANCES = ("retry", "force")


def _require_instances(tx: Tx, row: Row[Any]) -> None:
    """Refuse to work on a study of which nothing is here."""
    at = rows.released_at(tx, row.study_instance_uid)
    if at is not None and not instances.count(tx, row.study_instance_uid):
        raise StudyReleasedError(
            f"{row.study_key}: its instances were given up by retention on {utc(at)[:10]} ([storage] retention_days); "
            "send the study again"
        )
