"""The data set of the report, read back by pydicom."""

from __future__ import annotations

import time
from io import BytesIO

import pytest
from pydicom import Dataset
from pynetdicom.dsutils import decode

from listener.commitment.report import CommitmentReport, encoded, report_on
from listener.commitment.request import CommitmentRequest, Reference
from listener.commitment.status import EventType, FailureReason
from tests.listener.requester import EXPLICIT, IMPLICIT, as_bytes

SYNTAXES = pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
CLASS = "1.2.840.10008.5.1.4.1.1.2"
REQUEST = CommitmentRequest("1.2.30", tuple(Reference(CLASS, f"1.2.{n}") for n in (3, 44, 5)))


def read_back(report: CommitmentReport, syntax: str) -> Dataset:
    return decode(BytesIO(encoded(report, syntax)), syntax == IMPLICIT, is_little_endian=True)


@SYNTAXES
def test_all_committed(syntax: str) -> None:
    report = report_on(REQUEST, {})
    ds = read_back(report, syntax)
    assert report.event_type is EventType.ALL_COMMITTED
    assert ds.TransactionUID == "1.2.30"
    assert [(i.ReferencedSOPClassUID, i.ReferencedSOPInstanceUID) for i in ds.ReferencedSOPSequence] == [
        (CLASS, "1.2.3"), (CLASS, "1.2.44"), (CLASS, "1.2.5"),
    ]  # fmt: skip
    assert "FailedSOPSequence" not in ds


@SYNTAXES
def test_failures_have_their_reasons_and_stand_apart(syntax: str) -> None:
    report = report_on(REQUEST, {"1.2.44": FailureReason.NO_SUCH_OBJECT_INSTANCE, "1.2.5": 0x0119})
    ds = read_back(report, syntax)
    assert report.event_type is EventType.FAILURES_EXIST
    assert [i.ReferencedSOPInstanceUID for i in ds.ReferencedSOPSequence] == ["1.2.3"]
    assert [(i.ReferencedSOPInstanceUID, i.FailureReason) for i in ds.FailedSOPSequence] == [
        ("1.2.44", 0x0112), ("1.2.5", 0x0119),
    ]  # fmt: skip


def test_all_failed_leaves_the_other_sequence_out() -> None:
    assert "ReferencedSOPSequence" not in read_back(
        report_on(REQUEST, dict.fromkeys(("1.2.3", "1.2.44", "1.2.5"), 0x0131)), EXPLICIT
    )


@SYNTAXES
def test_the_bytes_are_those_of_a_general_encoder(syntax: str) -> None:
    report = report_on(REQUEST, {"1.2.3": 0x0112})
    ds = read_back(report, syntax)
    for one in (*ds.ReferencedSOPSequence, *ds.FailedSOPSequence):  # decoded, so that they are encoded again
        assert one.ReferencedSOPInstanceUID
    assert as_bytes(ds, syntax) == encoded(report, syntax)


def test_ten_thousand_instances_are_written_in_a_moment() -> None:
    request = CommitmentRequest("1.2.3", tuple(Reference(CLASS, f"1.2.826.0.1.{n}") for n in range(10_000)))
    began = time.process_time()
    assert len(encoded(report_on(request, {}), EXPLICIT)) > 500_000
    assert time.process_time() - began < 1  # measured: 0.02 s
