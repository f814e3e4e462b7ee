"""A request is durable before it is answered, and each bad one has its status."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog
from pydicom import Dataset

from egfr_dls.spool import DirectorySpool, SpoolWriteError
from egfr_dls.spool.contract import CommitmentRequested, SpooledRecord
from listener.admission import Accepted, AssociationRequest
from listener.commitment.scp import ActionCommand, CommitmentScp
from listener.commitment.status import ACTION_FAULTS, PUSH_MODEL_CLASS, PUSH_MODEL_INSTANCE, RequestFault
from tests.conftest import REPOSITORY
from tests.listener.requester import EXPLICIT, IMPLICIT, TRANSACTION, as_bytes, request

AT = datetime(2026, 1, 2, tzinfo=UTC)
ACCEPTED = Accepted("an-association", AssociationRequest("SCANNER", "EGFR_DLS", "192.0.2.7"))
COMMAND = ActionCommand(PUSH_MODEL_CLASS, PUSH_MODEL_INSTANCE, 1, PUSH_MODEL_CLASS, EXPLICIT)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[DirectorySpool]:
    """An empty spool of one listener."""
    made = DirectorySpool(tmp_path / "spool", "listener-test")
    yield made
    made.close()


def records(spool: DirectorySpool) -> list[SpooledRecord]:
    return list(spool.records("listener-test", {}))


def scp(spool: Any, floor: int = 0) -> CommitmentScp:
    return CommitmentScp(spool, floor, lambda: AT)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_success_means_that_the_request_is_in_the_spool_as_it_came(spool: DirectorySpool, syntax: str) -> None:
    data = as_bytes(request(["1.2.3"]), syntax)
    rung: list[int] = []
    answer = CommitmentScp(spool, 0, lambda: AT, lambda: rung.append(len(records(spool)))).request(
        ACCEPTED, replace(COMMAND, transfer_syntax_uid=syntax), data
    )
    (record,) = records(spool)
    assert answer.status == 0x0000
    assert record.entry == CommitmentRequested(
        TRANSACTION, syntax, "SCANNER", "EGFR_DLS", "192.0.2.7", "an-association", AT
    )
    assert spool.read(record.ref) == data
    assert rung == [1]  # the indexer is woken when it is there


BAD: dict[RequestFault, tuple[ActionCommand, Dataset | bytes]] = {
    RequestFault.NO_SUCH_CLASS: (replace(COMMAND, sop_class_uid="1.2.840.10008.1.20.2"), request(["1.2"])),
    RequestFault.NO_SUCH_INSTANCE: (replace(COMMAND, sop_instance_uid="1.2.840.10008.1.20.1.2"), request(["1.2"])),
    RequestFault.INSTANCE_FORM: (replace(COMMAND, sop_instance_uid="1.02"), request(["1.2"])),
    RequestFault.NO_SUCH_ACTION: (replace(COMMAND, action_type=2), request(["1.2"])),
    RequestFault.NO_DATA_SET: (COMMAND, b""),
    RequestFault.MALFORMED: (COMMAND, as_bytes(request(["1.2"]))[:-1]),
    RequestFault.NO_REFERENCES: (COMMAND, request([])),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_request_has_its_status_and_leaves_nothing(spool: DirectorySpool, fault: RequestFault) -> None:
    command, content = BAD[fault]
    data = content if isinstance(content, bytes) else as_bytes(content)
    with structlog.testing.capture_logs() as events:
        answer = scp(spool).request(ACCEPTED, command, data)
    assert answer == ACTION_FAULTS[fault]
    assert [(e["event"], e["reason"], e["status"]) for e in events] == [
        ("commitment_refused", fault, f"{answer.status:04X}")
    ]
    assert records(spool) == []


def test_a_request_in_the_context_of_another_class_is_none(spool: DirectorySpool) -> None:
    command = replace(COMMAND, context_sop_class_uid="1.2.840.10008.5.1.4.1.1.2")
    assert scp(spool).request(ACCEPTED, command, as_bytes(request(["1.2"]))).status == 0x0118


class FailingSpool:
    """A spool whose disk is full, or that has a defect."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def free_bytes(self) -> int:
        return 10**9

    def append(self, entry: CommitmentRequested, parts: Sequence[bytes]) -> None:
        raise self._error


@pytest.mark.parametrize(
    ("error", "fault"),
    [(SpoolWriteError("full"), RequestFault.DISK_FULL), (ZeroDivisionError(), RequestFault.DEFECT)],
)
def test_what_could_not_be_made_durable_is_no_success(error: Exception, fault: RequestFault) -> None:
    with structlog.testing.capture_logs() as events:
        answer = scp(FailingSpool(error)).request(ACCEPTED, COMMAND, as_bytes(request(["1.2"])))
    assert answer == ACTION_FAULTS[fault]
    assert [(e["log_level"], e["error_class"]) for e in events] == [("error", type(error).__name__)]


def test_below_the_floor_of_free_space(spool: DirectorySpool) -> None:
    answer = scp(spool, floor=2**60).request(ACCEPTED, COMMAND, as_bytes(request(["1.2"])))
    assert answer == ACTION_FAULTS[RequestFault.DISK_FLOOR]
    assert records(spool) == []


@pytest.mark.parametrize("fault", RequestFault)
def test_every_fault_has_a_comment_that_fits_and_its_line_in_the_reference(fault: RequestFault) -> None:
    answer = ACTION_FAULTS[fault]
    page = (REPOSITORY / "docs" / "reference" / "receiving.md").read_text("utf-8")
    (line,) = [
        line
        for line in page.split("## Storage commitment")[1].split("\n## ")[0].splitlines()
        if line.startswith("| 0") and line.endswith(f"| `{fault}` |")
    ]
    assert re.match(rf"\| {answer.status:04X}H\b", line)
    assert 0 < len(answer.comment) <= 64
