"""Transfers that broke off: which series an association without an A-RELEASE leaves in doubt (docs/decisions/0007)."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from egfr_dls.ledger.engine import Tx
from egfr_dls.ledger.instances import INPUT_MODALITIES, AssociationState
from egfr_dls.ledger.schema import association, association_study, instance, series


@dataclass(frozen=True, slots=True)
class _Brought:
    """That an association brought input of a series; ``last_record_at``, UTC seconds: of the study, the last."""

    association_id: str
    state: str
    last_record_at: float
    series_instance_uid: str
    modality: str


def interrupted(tx: Tx, study_instance_uid: str) -> bool:
    """Whether an association was cut off, and no later one that ended in order brought input of a series of its."""
    return any(row.state == AssociationState.ABORTED for row in _cut_off(tx, study_instance_uid))


def series_in_doubt(tx: Tx, study_instance_uid: str) -> list[tuple[str, str]]:
    """Return modality and SeriesInstanceUID of what such associations brought, and those that have not ended."""
    return sorted({(row.modality, row.series_instance_uid) for row in _cut_off(tx, study_instance_uid)})


def _cut_off(tx: Tx, study_instance_uid: str) -> list[_Brought]:
    found = tx.execute(
        select(
            association.c.association_id, association.c.state, association_study.c.last_record_at,
            series.c.series_instance_uid, series.c.modality,
        )
        .distinct()
        .select_from(instance)
        .join(series, (series.c.series_instance_uid == instance.c.series_instance_uid)
              & (series.c.study_instance_uid == instance.c.study_instance_uid))
        .join(association, association.c.association_id == instance.c.association_id)
        .join(association_study, (association_study.c.association_id == instance.c.association_id)
              & (association_study.c.study_instance_uid == instance.c.study_instance_uid))
        .where(instance.c.study_instance_uid == study_instance_uid, instance.c.conflict.is_(False),
               series.c.modality.in_(INPUT_MODALITIES))
    )  # fmt: skip
    rows = [_Brought(*row) for row in found]
    in_order: dict[str, float] = {}  # series -> when one that ended in order brought something last
    for row in rows:
        if row.state == AssociationState.RELEASED:
            in_order[row.series_instance_uid] = max(in_order.get(row.series_instance_uid, 0.0), row.last_record_at)
    mended = {row.association_id for row in rows if row.last_record_at < in_order.get(row.series_instance_uid, 0.0)}
    return [row for row in rows if row.state != AssociationState.RELEASED and row.association_id not in mended]
