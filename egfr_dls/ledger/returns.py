"""What retention gave up of a study, and what of it has come again: it is not analysed anew in parts.

Images are counted by series, for whatever fills a series again is taken for it; regions are told apart by their contents,
for one that nobody has scored yet may come where the others went.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.sqlite import insert as upsert

from egfr_dls.ledger import instances
from egfr_dls.ledger.engine import Tx
from egfr_dls.ledger.instances import REGION_MODALITIES, SeriesInputs
from egfr_dls.ledger.schema import findings, released_series, released_study


class Came(StrEnum):
    """What is here of a study whose instances were given up and have not all come again."""

    PART = "part"  # some of its images
    REGION = "region"  # none of them, but a region that was not among what went
    NOTHING = "nothing"  # neither


@dataclass(frozen=True, slots=True)
class _Gone:
    """What went of a series; ``digests`` are those of regions only."""

    modality: str
    instances: int
    digests: frozenset[str]


def note_release(tx: Tx, study_instance_uid: str, now: float) -> None:
    """Note what goes of a study, before it goes: with what went before, for what comes late and goes again is a part."""
    here, gone = instances.inputs_by_series(tx, study_instance_uid), _gone(tx, study_instance_uid)
    row = upsert(released_study).values(
        study_instance_uid=study_instance_uid, released_at=now, inputs=sum(len(one.digests) for one in here.values())
    )
    whole = func.max(released_study.c.inputs, row.excluded.inputs)
    tx.execute(
        row.on_conflict_do_update(
            index_elements=["study_instance_uid"], set_={"released_at": row.excluded.released_at, "inputs": whole}
        )
    )
    for uid, inputs in here.items():
        before = gone.get(uid, _Gone(inputs.modality, 0, frozenset()))
        values = {
            "modality": inputs.modality,
            "instances": max(before.instances, len(inputs.digests)),
            "digests": json.dumps(sorted(before.digests | _regions({uid: inputs}))),
        }
        series = upsert(released_series).values(
            study_instance_uid=study_instance_uid, series_instance_uid=uid, **values
        )
        tx.execute(
            series.on_conflict_do_update(index_elements=["study_instance_uid", "series_instance_uid"], set_=values)
        )


def note_return(tx: Tx, study_instance_uids: Collection[str]) -> None:
    """Note that studies are no longer released, those of which all has come again."""
    rows = tx.execute(
        select(released_study).where(released_study.c.study_instance_uid.in_(list(study_instance_uids)))
    ).all()
    for row in rows:
        here, gone = instances.inputs_by_series(tx, row.study_instance_uid), _gone(tx, row.study_instance_uid)
        if _is_whole(here, gone) if gone else sum(len(one.digests) for one in here.values()) >= row.inputs:
            for table in (released_series, released_study):
                tx.execute(delete(table).where(table.c.study_instance_uid == row.study_instance_uid))


def came(tx: Tx, study_instance_uid: str) -> Came | None:
    """Return what is here of a study whose result was left without its instances; None of any other study."""
    row = tx.execute(select(released_study).where(released_study.c.study_instance_uid == study_instance_uid)).first()
    has_result = select(findings.c.id).where(findings.c.study_instance_uid == study_instance_uid).limit(1)
    if row is None or tx.execute(has_result).first() is None:
        return None
    here, gone = instances.inputs_by_series(tx, study_instance_uid), _gone(tx, study_instance_uid)
    if any(one.modality not in REGION_MODALITIES and (uid in gone or not gone) for uid, one in here.items()):
        return Came.PART
    return Came.REGION if _late(here, gone) else Came.NOTHING


def _gone(tx: Tx, study_instance_uid: str) -> dict[str, _Gone]:
    """Return what went, by SeriesInstanceUID; nothing where an older version gave it up."""
    rows = tx.execute(select(released_series).where(released_series.c.study_instance_uid == study_instance_uid))
    return {
        row.series_instance_uid: _Gone(row.modality, row.instances, frozenset(json.loads(row.digests))) for row in rows
    }


def _is_whole(here: Mapping[str, SeriesInputs], gone: Mapping[str, _Gone]) -> bool:
    """Whether every image that went has come, and every region, or one that is newer than these."""
    images = [(uid, one) for uid, one in gone.items() if one.modality not in REGION_MODALITIES]
    if any(uid not in here or len(here[uid].digests) < one.instances for uid, one in images):
        return False
    regions = frozenset[str]().union(*(one.digests for one in gone.values()))
    return regions <= _regions(here) or bool(_late(here, gone))


def _late(here: Mapping[str, SeriesInputs], gone: Mapping[str, _Gone]) -> frozenset[str]:
    return _regions(here).difference(*(one.digests for one in gone.values()))


def _regions(series: Mapping[str, SeriesInputs]) -> frozenset[str]:
    """Return the digests of the regions among these."""
    return frozenset(d for one in series.values() if one.modality in REGION_MODALITIES for d in one.digests)
