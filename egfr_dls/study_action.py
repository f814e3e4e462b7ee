"""What every command that changes a study has in common: one transaction with its line in the audit trail, and its document."""

from __future__ import annotations

import getpass
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Row

from egfr_dls import settings
from egfr_dls.errors import ActionRefusedError, ConfigurationError, ExitCode, UsageError
from egfr_dls.ledger import Ledger, Tx, studies, withdrawals
from egfr_dls.ledger.results import newest

ACTION_SCHEMA = "egfr-dls-study-action/1"
NAME_CHARACTERS = 64
config_option = click.option(
    "--config", type=click.Path(dir_okay=False, path_type=Path), help="TOML file; else EGFR_DLS_CONFIG names it."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
by_option = click.option("--by", metavar="NAME", help="Who decided; by default the user of this machine.")


@dataclass(frozen=True)
class Done:
    """What an action did: a sentence for a person and the audit trail, and further keys of its JSON document."""

    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)


Effect = Callable[[Tx, Row[Any], float], Done]  # the study's row, and now in UTC seconds


def act(config: Path | None, study: str, action: str, effect: Effect, *, as_json: bool = False) -> int:
    """Do something to a study and write it down, all or nothing; return the exit code."""
    now = time.time()
    with ledger_of(config) as ledger:
        with ledger.read() as tx:
            row = studies.find(tx, study)
        try:
            with ledger.begin() as tx:
                done = effect(tx, studies.find(tx, study), now)
                studies.record_action(tx, operator(), action, row.study_instance_uid, done.text, now)
        except ActionRefusedError as refused:
            if not as_json:
                raise
            tell(row, action, refusal=refused)
            return ExitCode.REFUSED
    if as_json:
        tell(row, action, done)
    else:
        click.echo(f"{row.study_key}: {done.text}")
    return ExitCode.DONE


def tell(row: Row[Any], action: str, done: Done | None = None, refusal: ActionRefusedError | None = None) -> None:
    """Print the JSON document of an action."""
    document = {
        "schema": ACTION_SCHEMA,
        "study_key": row.study_key,
        "study_instance_uid": row.study_instance_uid,
        "action": action,
        "done": None if done is None or refusal is not None else done.text,
        **({} if done is None else done.facts),
        "refusal": None if refusal is None else {"code": refusal.code, "message": str(refusal)},
    }
    click.echo(json.dumps(document))


@contextmanager
def ledger_of(config: Path | None) -> Iterator[Ledger]:
    """Open the ledger of the service that a configuration is of, whether it runs or not."""
    loaded = settings.load(config)
    if not loaded.storage.root.is_dir():
        raise ConfigurationError(
            f"storage.root {loaded.storage.root} is not there; needed: that of the running service"
        )
    ledger = Ledger(loaded.ledger_url)
    try:
        yield ledger
    finally:
        ledger.close()


def result_of(tx: Tx, row: Row[Any]) -> Row[Any]:
    """Return a study's newest findings.

    Raises
    ------
    ActionRefusedError
        there are none
    """
    found = newest(tx, row.study_instance_uid)
    if found is None:
        raise ActionRefusedError("NO_RESULT", f"{row.study_key} is {row.state}: it has no result")
    return found


def require_standing(tx: Tx, row: Row[Any], found: Row[Any]) -> None:
    """Refuse to work on a result that was withdrawn."""
    made = withdrawals.of_findings(tx, row.study_instance_uid, found.id)
    if made is not None:
        raise ActionRefusedError(
            "WITHDRAWN",
            f"{row.study_key}: revision {found.revision} was withdrawn on {utc(made.at)[:19]} UTC by {made.withdrawn_by}",
        )


def require_instances(tx: Tx, row: Row[Any]) -> None:
    """Refuse to analyse a study of which retention gave instances up that have not come again."""
    at = studies.released_at(tx, row.study_instance_uid)
    if at is not None:
        raise ActionRefusedError(
            "RELEASED",
            f"{row.study_key}: its instances were given up by retention on {utc(at)[:10]} ([storage] retention_days); "
            "send the study again",
        )


def operator() -> str:
    """Return who runs the command; a user without a name in this system is told by number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def typed(text: str, option: str) -> str:
    """Return what a person typed as one line of plain text.

    Raises
    ------
    UsageError
        no letter and no digit is in it
    """
    whole = text.encode("utf-8", "replace").decode("utf-8")
    line = " ".join("".join(c if c.isprintable() else " " for c in whole).split())
    if not any(c.isalnum() for c in line):
        raise UsageError(f"{option} is {text!r}; needed: words")
    return line


def who(by: str | None) -> str:
    """Return the name of who decided."""
    name = typed(by if by is not None else operator(), "--by")[:NAME_CHARACTERS]
    return typed(name, "--by")  # what is left of it is words too: the note cannot be built without a name


def utc(at: float) -> str:
    """Return UTC seconds in ISO 8601."""
    return datetime.fromtimestamp(at, UTC).isoformat()
