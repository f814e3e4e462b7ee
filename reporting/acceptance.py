"""What each destination takes decides the variant that is built for it; when that changes, what waits is built anew."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping

from pydicom.uid import MultiFrameTrueColorSecondaryCaptureImageStorage, SegmentationStorage

from egfr_dls.ledger import Tx, acceptance, jobs
from egfr_dls.settings_sections import Destination
from reporting.variants import PROBED_CLASSES, SR_CLASSES, Variant, choose_variant

EVERYTHING = frozenset(PROBED_CLASSES)
SR_CLASS_NAMES: Mapping[str, str] = dict(
    zip(("comprehensive_3d", "comprehensive", "enhanced"), SR_CLASSES, strict=True)
)


def variant_of(tx: Tx, destination: Destination, now: float) -> Variant:
    """Return what is built for a destination; one that was never asked, or takes no report at all, gets the best."""
    known = acceptance.known(tx, destination.name)
    taken = _takes(tx, destination, EVERYTHING if known is None else known, now)
    return _chosen(destination, taken) or _chosen(destination, EVERYTHING) or Variant()


def refuse(tx: Tx, destination: Destination, sop_class_uid: str, accepted: Collection[str] | None, now: float) -> int:
    """Note that objects of a class are refused by a status; what waits is built anew if it can be something else.

    Parameters
    ----------
    accepted
        of ``PROBED_CLASSES``, by the association; None where nothing was negotiated

    Returns
    -------
    as ``adapt``: 0 where there is nothing else that the destination takes and was not sent
    """
    left = _takes(tx, destination, EVERYTHING if accepted is None else accepted, now) - {sop_class_uid}
    if sop_class_uid not in _misfits(destination, left):
        return 0
    acceptance.refuse(tx, destination.name, sop_class_uid, now)
    return _take_back(tx, destination, left, now)


def is_news(
    tx: Tx, destination: Destination, accepted: Collection[str], due_classes: Collection[str], now: float
) -> bool:
    """Whether ``adapt`` has something to write: a look without the write lock.

    Parameters
    ----------
    due_classes
        SOP Class UIDs of what is about to be sent
    """
    changed = acceptance.known(tx, destination.name) != frozenset(accepted)
    return changed or not _misfits(destination, _takes(tx, destination, accepted, now)).isdisjoint(due_classes)


def adapt(tx: Tx, destination: Destination, accepted: Collection[str], now: float) -> int:
    """Remember what an association accepted, and have built anew what waits and does not fit.

    Parameters
    ----------
    accepted
        of ``PROBED_CLASSES``

    Returns
    -------
    how many reports are built anew: what waits of them is not to be sent
    """
    acceptance.record(tx, destination.name, accepted, now)
    return _take_back(tx, destination, _takes(tx, destination, accepted, now), now)


def _take_back(tx: Tx, destination: Destination, taken: Collection[str], now: float) -> int:
    owed = acceptance.take_back(tx, destination.name, _misfits(destination, taken))
    for findings_id, study_instance_uid in owed:
        enqueue_anew(tx, findings_id, study_instance_uid, now)
    return len(owed)


def _misfits(destination: Destination, taken: Collection[str]) -> frozenset[str]:
    """Return the classes for which another variant is built instead; none where no report is taken, which parks it."""
    variant = _chosen(destination, taken)
    if variant is None:
        return frozenset()
    pages = (MultiFrameTrueColorSecondaryCaptureImageStorage,) if variant.single_pages else ()
    return frozenset({*SR_CLASSES, SegmentationStorage, *pages} - {*taken})


def has_another(tx: Tx, findings_id: int, destination: Destination, report_uid: str) -> bool:
    """Whether a destination has these findings as another report than this: it gets no second one.

    Built once more, after an update of the product or for a destination that takes something else now, it may be another.
    """
    return not acceptance.reports_owed(tx, findings_id, destination.name) <= {report_uid}


def enqueue_anew(tx: Tx, findings_id: int, study_instance_uid: str, now: float) -> None:
    """Have the objects of a report built once more; those that are there already stay as they are."""
    payload = {"findings_id": findings_id}
    jobs.enqueue(tx, "report", f"report-{findings_id}-{uuid.uuid4().hex}", study_instance_uid, payload, now)


def _takes(tx: Tx, destination: Destination, accepted: Collection[str], now: float) -> frozenset[str]:
    """Return what of the classes that an association accepted the destination takes: the rest it has refused by a status."""
    return frozenset(accepted) - acceptance.refused(tx, destination.name, now)


def _chosen(destination: Destination, taken: Collection[str]) -> Variant | None:
    preferred = None if destination.sr_class is None else SR_CLASS_NAMES[destination.sr_class]
    return choose_variant(taken, preferred)
