"""What each destination takes decides the variant that is built for it; when that changes, what waits is built anew."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping

from egfr_dls.ledger import Tx, acceptance, jobs
from egfr_dls.settings import Destination
from reporting.variants import PROBED_CLASSES, SR_CLASSES, Variant, choose_variant

SR_CLASS_NAMES: Mapping[str, str] = dict(
    zip(("comprehensive_3d", "comprehensive", "enhanced"), SR_CLASSES, strict=True)
)


def variant_of(tx: Tx, destination: Destination) -> Variant:
    """Return what is built for a destination; one that was never asked, or takes no report at all, gets the best."""
    known = acceptance.known(tx, destination.name)
    return _chosen(destination, known) or _chosen(destination, None) or Variant()


def adapt(tx: Tx, destination: Destination, accepted: Collection[str], now: float) -> int:
    """Remember what an association accepted; where another variant follows, have what waits built as that.

    Parameters
    ----------
    accepted
        of ``PROBED_CLASSES``

    Returns
    -------
    how many reports are built anew: their objects are not to be sent as they are
    """
    if acceptance.known(tx, destination.name) == frozenset(accepted):
        return 0
    before, after = variant_of(tx, destination), _chosen(destination, accepted)
    acceptance.record(tx, destination.name, accepted, now)
    if after is None or after == before:  # of one that takes no report the report parks as it is
        return 0
    taken = acceptance.take_back(tx, destination.name)
    for findings_id, study_instance_uid in taken:
        enqueue_anew(tx, findings_id, study_instance_uid, now)
    return len(taken)


def enqueue_anew(tx: Tx, findings_id: int, study_instance_uid: str, now: float) -> None:
    """Have the objects of a report built once more; those that are there already stay as they are."""
    payload = {"findings_id": findings_id}
    jobs.enqueue(tx, "report", f"report-{findings_id}-{uuid.uuid4().hex}", study_instance_uid, payload, now)


def _chosen(destination: Destination, accepted: Collection[str] | None) -> Variant | None:
    preferred = None if destination.sr_class is None else SR_CLASS_NAMES[destination.sr_class]
    return choose_variant(PROBED_CLASSES if accepted is None else accepted, preferred)
