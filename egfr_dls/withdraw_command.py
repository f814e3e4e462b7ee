"""`egfr-dls studies withdraw`: a result that is not to be used; every destination that was sent it gets a rejection note."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Row

from egfr_dls.errors import ActionRefusedError
from egfr_dls.findings import StudyFindings
from egfr_dls.ledger import Tx, confirmations, jobs, results, studies, withdrawals
from egfr_dls.ledger.withdrawals import RejectedFor, Withdrawal
from egfr_dls.study import StudyState
from egfr_dls.study_action import (
    Done,
    act,
    by_option,
    config_option,
    json_option,
    ledger_of,
    result_of,
    typed,
    utc,
    who,
)

DEFAULT_REASON = "The result is not to be used."
CONCLUDED = (StudyState.SCORED, StudyState.REFUSED)


@click.command()
@click.argument("study")
@click.option("--reason", default=DEFAULT_REASON, show_default=True, help="A sentence; it stands in the note.")
@by_option
@click.option(
    "--title",
    type=click.Choice([title.value for title in RejectedFor]),
    default=RejectedFor.QUALITY.value,
    show_default=True,
    help="What the note rejects the result for; safety: archives never show it again.",
)
@click.option("--yes", is_flag=True, help="Do not ask first, as is done on a terminal.")
@config_option
@json_option
def withdraw(study: str, reason: str, by: str | None, title: str, yes: bool, config: Path | None, as_json: bool) -> int:
    """Withdraw a study's result: a rejection note goes wherever it was sent, and what waits of it never goes."""
    said, person = typed(reason, "--reason"), who(by)
    if sys.stdin.isatty() and not (yes or as_json):
        _ask(config, study)

    def effect(tx: Tx, row: Row[Any], now: float) -> Done:
        found, uid = result_of(tx, row), row.study_instance_uid
        before = withdrawals.of_findings(tx, uid, found.id)
        if before is not None:
            text = f"revision {found.revision} was withdrawn already, on {utc(before.at)[:19]} UTC by {before.withdrawn_by}"
            return Done(text, _facts(tx, before, found.revision))
        told = results.notice(tx, uid) or found  # what was said since then says that the result stands
        reported = [one.tracking_uid for one in StudyFindings.from_json(found.document).lesions if one.confirmed]
        confirmations.forget(tx, uid, but=reported)  # what was accepted and not reported yet goes with the result
        made = withdrawals.withdraw(tx, uid, told.id, RejectedFor(title), said, person, now)
        if row.state in CONCLUDED:
            studies.move(tx, uid, StudyState.DELIVERED, now)  # its report is at an end state everywhere
        facts = _facts(tx, made, found.revision)
        if facts["destinations"]:
            jobs.enqueue(tx, "report", f"withdrawal-{made.id}", uid, {"withdrawal_id": made.id}, now)
        return Done(f"revision {found.revision} is withdrawn by {person}; {_what_follows(row, facts)}", facts)

    return act(config, study, "withdraw", effect, as_json=as_json)


def _ask(config: Path | None, study: str) -> None:
    with ledger_of(config) as ledger, ledger.read() as tx:
        row = studies.find(tx, study)
        found = result_of(tx, row)
        standing = withdrawals.of_findings(tx, row.study_instance_uid, found.id) is None
    question = f"{row.study_key}: withdraw revision {found.revision}? It cannot be taken back."
    if standing and not click.confirm(question):
        raise ActionRefusedError("NOT_CONFIRMED", f"{row.study_key}: nothing is withdrawn")


def _facts(tx: Tx, made: Withdrawal, revision: int) -> dict[str, Any]:
    return {"revision": revision, "withdrawn_at": utc(made.at), "destinations": sorted(withdrawals.sent(tx, made))}


def _what_follows(row: Row[Any], facts: dict[str, Any]) -> str:
    names = ", ".join(facts["destinations"])
    if not names:
        return "nothing of it was sent, so no note goes anywhere"
    return f"a rejection note goes to {names}{' after `studies release`' if row.held else ''}"
