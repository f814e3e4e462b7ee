"""Proposed regions that a person accepted: the next analysis finds them confirmed, with who and when.

A region is named by its Tracking UID, which is derived from the study, the mask and the label: one that changes is another.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime

from sqlalchemy import delete, select
from sqlalchemy.dialects.sqlite import insert as upsert

from egfr_dls.ledger.engine import Tx
from egfr_dls.ledger.schema import confirmed_region
from egfr_dls.study import Confirmation


def confirm(tx: Tx, study_instance_uid: str, regions: Mapping[str, str], by: str, now: float) -> None:
    """Enter what a person accepted; who accepted a region first stays.

    Parameters
    ----------
    regions
        Tracking UID -> label
    now
        UTC seconds
    """
    for tracking_uid, label in regions.items():
        tx.execute(
            upsert(confirmed_region)
            .values(
                study_instance_uid=study_instance_uid,
                tracking_uid=tracking_uid,
                label=label,
                confirmed_by=by,
                confirmed_at=now,
            )
            .on_conflict_do_nothing()
        )


def forget(tx: Tx, study_instance_uid: str, but: Collection[str]) -> None:
    """Take back what a person accepted, except the regions with these Tracking UIDs."""
    tx.execute(
        delete(confirmed_region).where(
            confirmed_region.c.study_instance_uid == study_instance_uid, confirmed_region.c.tracking_uid.not_in(but)
        )
    )


def of_study(tx: Tx, study_instance_uid: str) -> tuple[Confirmation, ...]:
    """Return what was accepted in a study, in a fixed order."""
    rows = tx.execute(
        select(confirmed_region)
        .where(confirmed_region.c.study_instance_uid == study_instance_uid)
        .order_by(confirmed_region.c.label, confirmed_region.c.tracking_uid)
    )
    return tuple(Confirmation(row.tracking_uid, row.label, row.confirmed_by, _utc(row.confirmed_at)) for row in rows)


def _utc(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
