"""The data sets of storage commitment as its SCU: what is asked, and how a report is read."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom import Dataset

from egfr_dls.ledger.proofs import DueProof
from reporting.commitment import read_report, request

ONE = DueProof("1.2", "1.3", "1.4", "1.5", "key", "report", 0, 0)


def item(uid: str | None = "1.2", **more: Any) -> Dataset:
    ds = Dataset()
    if uid is not None:
        ds.ReferencedSOPInstanceUID = uid
    for keyword, value in more.items():
        setattr(ds, keyword, value)
    return ds


def report(transaction_uid: str = "1.9", **sequences: list[Dataset]) -> Dataset:
    ds = Dataset()
    ds.TransactionUID = transaction_uid
    for keyword, items in sequences.items():
        setattr(ds, keyword, items)
    return ds


def test_request_names_transaction_class_and_instance() -> None:
    ds = request("1.9", [ONE])
    (reference,) = ds.ReferencedSOPSequence
    assert (ds.TransactionUID, reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID) == (
        "1.9",
        "1.3",
        "1.2",
    )


def test_what_failed_is_not_committed_whatever_the_report_says_besides() -> None:
    read = read_report(
        report(ReferencedSOPSequence=[item(), item("1.6")], FailedSOPSequence=[item(FailureReason=0x0112)])
    )
    assert read is not None
    assert (read.committed, read.failures) == (frozenset({"1.6"}), {"1.2": 0x0112})


def test_a_failure_without_a_reason_is_one() -> None:
    read = read_report(report(FailedSOPSequence=[item()]))
    assert read is not None
    assert read.failures == {"1.2": 0}


@pytest.mark.parametrize(
    "told",
    [
        report("", ReferencedSOPSequence=[item()]),
        report(ReferencedSOPSequence=[item(None)]),
        report(ReferencedSOPSequence=[item("")]),
        report(FailedSOPSequence=[item(None, FailureReason=0x0112)]),
    ],
    ids=["no transaction", "no instance", "empty instance", "a failure of nothing"],
)
def test_report_of_nothing_is_refused(told: Dataset) -> None:
    assert read_report(told) is None
