"""`egfr-dls studies confirm`: a person accepts the proposed regions of a study, and the next revision says who and when."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Row

from egfr_dls import settings
from egfr_dls.errors import ActionRefusedError, UsageError
from egfr_dls.findings import LesionFinding, StudyFindings
from egfr_dls.ledger import Tx, completion, confirmations
from egfr_dls.study import RoiSource, StudyState
from egfr_dls.study_action import (
    Done,
    act,
    by_option,
    config_option,
    json_option,
    require_instances,
    require_standing,
    result_of,
    who,
)

SETTLED = (StudyState.SCORED, StudyState.DELIVERED, StudyState.REFUSED)


@click.command()
@click.argument("study")
@click.option("--lesion", type=click.IntRange(min=1), help="Only this lesion, by its number; by default all proposed.")
@by_option
@click.option("--revision", type=int, help="The revision that was looked at; another one by now is refused.")
@config_option
@json_option
def confirm(
    study: str, lesion: int | None, by: str | None, revision: int | None, config: Path | None, as_json: bool
) -> int:
    """Accept the proposed regions of a study: it is scored again with them as confirmed, as its next revision."""
    loaded, person = settings.load(config), who(by)

    def effect(tx: Tx, row: Row[Any], now: float) -> Done:
        found = result_of(tx, row)
        require_standing(tx, row, found)
        _require_unchanged(row, found, revision)
        chosen = _proposals(row, StudyFindings.from_json(found.document), lesion)
        facts = {"revision": found.revision, "lesions": [one.label for one in chosen]}
        waiting = {one.tracking_uid: one.label for one in chosen if not one.confirmed}
        if not waiting:
            return Done(f"confirmed already by {', '.join(sorted({one.roi_confirmed_by for one in chosen}))}", facts)
        require_instances(tx, row)
        confirmations.confirm(tx, row.study_instance_uid, waiting, person, now)
        because = "|".join(
            ["confirmed", str(found.id), *(c.tracking_uid for c in confirmations.of_study(tx, row.study_instance_uid))]
        )
        if not completion.analyse_again(
            tx, row.study_instance_uid, found.biomarker, because, loaded, now, unless_withdrawn=found.id
        ):
            raise ActionRefusedError(
                "CHANGED", f"{row.study_key}: these were confirmed before, and the analysis since found other regions"
            )
        return Done(
            f"{', '.join(waiting.values())} confirmed by {person}; revision {found.revision + 1} follows", facts
        )

    return act(config, study, "confirm", effect, as_json=as_json)


def _require_unchanged(row: Row[Any], found: Row[Any], revision: int | None) -> None:
    """Refuse where the regions may be others by now than those that a person has looked at."""
    if row.state not in SETTLED:
        raise ActionRefusedError(
            "CHANGED",
            f"{row.study_key} is {row.state}: its images or regions may have changed since revision {found.revision}; "
            "look at the next revision first",
        )
    if revision is not None and revision != found.revision:
        raise ActionRefusedError(
            "CHANGED", f"{row.study_key} is at revision {found.revision}, not {revision}: look at that"
        )


def _proposals(row: Row[Any], found: StudyFindings, number: int | None) -> Sequence[LesionFinding]:
    """Return the proposed lesions that are meant."""
    label = None if number is None else f"Lesion {number}"
    meant = [one for one in found.lesions if label in (None, one.label)]
    if label is not None and found.lesions and not meant:
        raise UsageError(f"--lesion {number}: {row.study_key} has {', '.join(one.label for one in found.lesions)}")
    proposed = [one for one in meant if one.roi_source is RoiSource.PROPOSED]
    if not proposed:
        why = f"it was not scored ({found.refusal.code})" if found.refusal else "what was scored are stored regions"
        raise ActionRefusedError("NO_PROPOSAL", f"{row.study_key} has no proposed region to confirm: {why}")
    return proposed
