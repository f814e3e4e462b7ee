"""`egfr-dls studies replay`: compute a result once more and compare, or send it again to a destination that lost it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Row

from egfr_dls import biomarkers, settings, stages
from egfr_dls.delivery import STUCK
from egfr_dls.errors import ActionRefusedError, ExitCode, UsageError
from egfr_dls.findings import StudyFindings
from egfr_dls.ledger import Tx, resending, studies
from egfr_dls.objectstore import ObjectStore
from egfr_dls.refusals import RefusalCode
from egfr_dls.rescoring import compared
from egfr_dls.settings import Settings
from egfr_dls.store import open_store
from egfr_dls.study_action import (
    Done,
    act,
    config_option,
    json_option,
    ledger_of,
    operator,
    require_instances,
    require_standing,
    result_of,
    tell,
)


@click.command()
@click.argument("study")
@click.option(
    "--to",
    "names",
    multiple=True,
    metavar="DESTINATION",
    help="Send the present result to this destination again, instead; may be given several times.",
)
@config_option
@json_option
def replay(study: str, names: tuple[str, ...], config: Path | None, as_json: bool) -> int:
    """Compute a study's score once more and say whether it is the same; with --to, send its result again."""
    loaded = settings.load(config)
    return _send(config, study, names, loaded, as_json) if names else _rescore(config, study, loaded, as_json)


def _send(config: Path | None, study: str, names: Sequence[str], loaded: Settings, as_json: bool) -> int:
    known = [destination.name for destination in loaded.destinations]
    for name in names:
        if name not in known:
            raise UsageError(f"--to {name}: no such destination; there are {', '.join(known) or 'none'}")

    def effect(tx: Tx, row: Row[Any], now: float) -> Done:
        found = result_of(tx, row)
        require_standing(tx, row, found)
        owed = [one for one in resending.owed(tx, found.id) if one.destination in names]
        _require_bytes(row, owed, loaded)
        count, waiting = resending.send_again(tx, row.study_instance_uid, owed, now), resending.on_their_way(owed)
        stuck = sum(one.state in STUCK for one in owed)
        if not count and not waiting:
            raise ActionRefusedError(
                "NEVER_THERE",
                f"{row.study_key}: nothing of revision {found.revision} was stored at {', '.join(names)}"
                + (f"; {stuck} objects are parked or dead: `egfr-dls studies retry`" if stuck else ""),
            )
        text = f"{count} objects of revision {found.revision} queued again for {', '.join(names)}"
        facts = {"revision": found.revision, "queued": count, "waiting": waiting, "stuck": stuck}
        return Done(text + (f", {waiting} wait already" if waiting else ""), facts)

    return act(config, study, "replay", effect, as_json=as_json)


def _require_bytes(row: Row[Any], owed: Sequence[resending.Owed], loaded: Settings) -> None:
    """Refuse to send what is not here any more, byte by byte."""
    store = ObjectStore(loaded.storage.root / "objects")
    gone = [one.kind for one in owed if not store.holds(one.sha256)]
    if gone:
        raise ActionRefusedError(
            "OBJECTS_GONE",
            f"{row.study_key}: the kept bytes of {', '.join(dict.fromkeys(gone))} are not under [storage] root any more, or not "
            "as they were; restore `objects/` from a backup, or send the study again",
        )


def _rescore(config: Path | None, study: str, loaded: Settings, as_json: bool) -> int:
    with ledger_of(config) as ledger, ledger.read() as tx:
        row = studies.find(tx, study)
        try:
            found = result_of(tx, row)
            require_instances(tx, row)
        except ActionRefusedError as refused:
            return _refused(row, refused, as_json)
    stored = StudyFindings.from_json(found.document)
    biomarkers.check_name(found.biomarker, loaded)
    forced = "refuse" if stored.refusal and stored.refusal.code == RefusalCode.STUDY_INCOMPLETE else None
    with open_store(loaded) as store:
        result = compared(stored, stages.findings_again(loaded, store, row.study_instance_uid, found.biomarker, forced))
        done = Done(f"revision {found.revision}: {result.sentence}", {"revision": found.revision, **result.facts})
        with store.ledger.begin() as tx:
            studies.record_action(tx, operator(), "replay", row.study_instance_uid, done.text, time.time())
    if not result.same:
        return _refused(row, ActionRefusedError("DIFFERS", f"{row.study_key}: {done.text}"), as_json, done)
    if as_json:
        tell(row, "replay", done)
    else:
        click.echo(f"{row.study_key}: {done.text}")
    return ExitCode.DONE


def _refused(row: Row[Any], refusal: ActionRefusedError, as_json: bool, done: Done | None = None) -> int:
    if not as_json:
        raise refusal
    tell(row, "replay", done, refusal)
    return ExitCode.REFUSED
