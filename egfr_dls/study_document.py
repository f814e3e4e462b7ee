"""What `studies list` and `studies show` say of a study, as data and as text."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import Row

from egfr_dls.findings import StudyFindings, result_document
from egfr_dls.ledger import Tx, deliveries, results, retrievals, studies, withdrawals
from egfr_dls.ledger.destinations import parked_reasons
from egfr_dls.ledger.withdrawals import Withdrawal
from egfr_dls.study import Priority

SHOW_SCHEMA = "egfr-dls-study/1"


def summary(row: Row[Any], withdrawn: Mapping[str, float]) -> dict[str, Any]:
    """Return one study as `studies list --json` shows it; ``withdrawn``: since when which studies' results are."""
    return {
        "study_key": row.study_key,
        "study_instance_uid": row.study_instance_uid,
        "state": row.state,
        "held": row.held,
        "priority": Priority(row.priority).name.lower(),
        "refusal_code": row.refusal_code,
        "failure": row.failure,
        "conflict": row.conflict,
        "instances": row.instances,
        "first_seen_at": _utc(row.first_seen_at),
        "last_instance_at": _utc(row.last_instance_at),
        "state_since": _utc(row.state_since),
        "released_at": None if row.released_at is None else _utc(row.released_at),
        "withdrawn_at": _utc(withdrawn[row.study_instance_uid]) if row.study_instance_uid in withdrawn else None,
    }


def whole(tx: Tx, name: str) -> dict[str, Any]:
    """Return everything that the ledger knows of a study."""
    found = studies.find(tx, name)
    uid = found.study_instance_uid
    row = next(r for r in studies.listed(tx) if r.study_instance_uid == uid)
    newest = results.newest(tx, uid)
    made = None if newest is None else withdrawals.of_findings(tx, uid, newest.id)
    return {
        "schema": SHOW_SCHEMA,
        **summary(row, withdrawals.standing(tx)),
        "series": [
            {"series_instance_uid": s.series_instance_uid, "modality": s.modality, "instances": s.instances}
            for s in studies.series_of(tx, uid)
        ],
        "findings": None if newest is None else _findings(newest),
        "revision": None if newest is None else newest.revision,
        "withdrawal": None if made is None else _withdrawal(made),
        "notice": _notice(results.notice(tx, uid)),
        "sources": [
            {"source": r.source, "state": r.state, "attempts": r.attempts, "reason": r.reason or None}
            for r in retrievals.of_study(tx, uid)
        ],
        "jobs": [
            {"kind": j.kind, "state": j.state, "attempts": j.attempts, "error_class": j.error_class}
            for j in studies.jobs_of(tx, uid)
        ],
        "deliveries": [
            {
                "kind": d.kind,
                "sop_instance_uid": d.sop_instance_uid,
                "destination": d.destination,
                "state": d.state,
                "attempts": d.attempts,
                "last_status": None if d.last_status is None else f"{d.last_status:04X}",
                "reason": d.reason or None,
                "proof_due_at": None if d.proof_due_at is None else _utc(d.proof_due_at),
            }
            for d in deliveries.of_study(tx, uid)
        ],
        "destinations": destinations(tx, uid),
    }


def _withdrawal(made: Withdrawal) -> dict[str, Any]:
    return {"at": _utc(made.at), "by": made.withdrawn_by, "title": made.title, "reason": made.reason}


def destinations(tx: Tx, study_instance_uid: str | None = None) -> list[dict[str, Any]]:
    """Return the destinations, all or a study's, and why nothing is sent to those that are parked."""
    return [{"name": name, "parked_reason": reason} for name, reason in parked_reasons(tx, study_instance_uid).items()]


def render_parked(shown: list[dict[str, Any]], console: Console) -> None:
    """Print the destinations to which nothing is sent, and what to do."""
    for item in shown:
        if item["parked_reason"] is not None:
            console.print(
                f"destination {item['name']} is parked: {item['parked_reason']}; mend it, then "
                "`egfr-dls studies retry --all`",
                highlight=False,
                soft_wrap=True,
            )


def render(document: dict[str, Any], console: Console) -> None:
    """Print a study for a person."""
    console.print(f"[bold]{document['study_key']}[/bold]  {document['state']}{'  HELD' if document['held'] else ''}")
    console.print(
        f"StudyInstanceUID {document['study_instance_uid']}, {document['instances']} instances", highlight=False
    )
    if document["released_at"] is not None:
        _say(
            console,
            f"its instances were given up by retention on {document['released_at'][:10]}; findings, objects and deliveries "
            "are kept; to analyse it again, send it again",
        )
    if (made := document["withdrawal"]) is not None:
        _say(console, f"WITHDRAWN on {made['at'][:19]} by {made['by']} ({made['title']}): {made['reason']}")
    if document["conflict"]:
        _say(console, "CONFLICT: one SOP Instance UID came with two contents; the first one counts, both are kept")
    found = document["findings"]
    if found is not None:
        _render_findings(found, console)
    if (notice := document["notice"]) is not None:
        _say(console, f"since then: {notice['code']}: {notice['message']}")
    for title, items, columns in (
        ("sources", document["sources"], ("source", "state", "attempts", "reason")),
        ("jobs", document["jobs"], ("kind", "state", "attempts", "error_class")),
        ("deliveries", document["deliveries"], ("kind", "destination", "state", "attempts", "last_status", "reason")),
    ):
        if items:
            table = Table(*columns, title=title, title_justify="left")
            for item in items:
                table.add_row(*("" if item[c] is None else str(item[c]) for c in columns))
            console.print(table)
    render_parked(document["destinations"], console)


def _render_findings(found: dict[str, Any], console: Console) -> None:
    if found["refusal"] is not None:
        _say(console, f"not scored: {found['refusal']['code']}: {found['refusal']['message']}")
    else:
        patient = found["patient"]
        console.print(
            f"EGFR-DLS {patient['egfr_dls']}, PD-L1 {patient['pdl1_dls']}, pathway {patient['pathway']}",
            highlight=False,
        )
    for series in found["series"]:
        reason = series["reason"]
        fate = series["role"] or (f"refused, {reason['code']}: {reason['message']}" if reason else "not used")
        _say(console, f"  {series['modality']:9} {series['series_instance_uid']}: {fate}")
    for warning in found["warnings"]:
        _say(console, f"  warning {warning['code']}: {warning['message']}")


def _say(console: Console, text: str) -> None:
    """Print a line as it is: header values may hold what the console takes for markup."""
    console.print(text, highlight=False, markup=False)


def _findings(row: Row[Any]) -> dict[str, Any]:
    return result_document(StudyFindings.from_json(row.document), _utc(row.content_at), ())


def _notice(row: Row[Any] | None) -> dict[str, str] | None:
    """Return what was told since the result, which stands: a refusal of what came too late for it."""
    refusal = None if row is None else StudyFindings.from_json(row.document).refusal
    return None if refusal is None else {"code": refusal.code, "message": refusal.message}


def _utc(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()
