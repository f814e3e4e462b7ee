"""The data sets of storage commitment that we ask for, as its SCU (PS3.4 J.3, tables J.3-1 and J.3-2). Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from pydicom import Dataset

from egfr_dls.ledger.proofs import DueProof

REQUEST_COMMITMENT = 1  # Action Type ID (0000,1008)


@dataclass(frozen=True, slots=True)
class Report:
    """What a destination says of a transaction; ``failures``: SOP Instance UID -> Failure Reason (0008,1197)."""

    transaction_uid: str
    committed: frozenset[str]
    failures: dict[str, int]


def request(transaction_uid: str, about: Collection[DueProof]) -> Dataset:
    """Return the Action Information."""
    ds = Dataset()
    ds.TransactionUID = transaction_uid
    ds.ReferencedSOPSequence = [_reference(one) for one in about]
    return ds


def read_report(information: Dataset) -> Report | None:
    """Read the Event Information; None where it names no transaction, or an item no object.

    An object without a reason failed for reason 0.
    """
    transaction_uid = str(information.get("TransactionUID") or "")
    failures = {_uid(item): int(item.get("FailureReason") or 0) for item in information.get("FailedSOPSequence") or ()}
    committed = {_uid(item) for item in information.get("ReferencedSOPSequence") or ()}
    if not transaction_uid or "" in failures.keys() | committed:
        return None
    return Report(transaction_uid, frozenset(committed - failures.keys()), failures)


def _uid(item: Dataset) -> str:
    return str(item.get("ReferencedSOPInstanceUID") or "")


def _reference(one: DueProof) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = one.sop_class_uid
    item.ReferencedSOPInstanceUID = one.sop_instance_uid
    return item
