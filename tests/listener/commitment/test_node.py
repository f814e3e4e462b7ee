"""The whole listener: instances and the request for their commitment, over the wire; the report that follows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association
from sqlalchemy import select

from egfr_dls.ledger.commitments import CommitmentState
from egfr_dls.ledger.schema import commitment
from listener.commitment.status import PUSH_MODEL_CLASS, PUSH_MODEL_INSTANCE
from tests.builders import ct_slices, petct_study
from tests.listener.nodes import Node, node_settings, running, until
from tests.listener.requester import EXPLICIT, Requester, free_port, listening, ready, request


@pytest.fixture
def requester() -> Requester:
    """A requester that does not listen yet."""
    return Requester("SCANNER", free_port())


@pytest.fixture
def node(tmp_path: Path, requester: Requester) -> Iterator[Node]:
    """A listener that knows where the requester listens."""
    peers = [
        {"ae_title": "SCANNER", "host": "127.0.0.1", "port": requester.port},
        {"ae_title": "PACS", "host": "127.0.0.1"},
    ]
    with running(node_settings(tmp_path / "root", listener={"peers": peers})) as started:
        yield started


def associate(
    node: Node, datasets: list[Dataset], requester: Requester | None = None, calling: str = "SCANNER"
) -> Association:
    ae = AE(calling)
    ae.add_requested_context(PUSH_MODEL_CLASS, EXPLICIT)
    for uid in {ds.SOPClassUID for ds in datasets}:
        ae.add_requested_context(uid, EXPLICIT)
    handlers = [(evt.EVT_N_EVENT_REPORT, requester.on_report)] if requester else []
    assoc = ae.associate("127.0.0.1", node.port, ae_title="EGFR_DLS", evt_handlers=handlers)  # type: ignore[arg-type]
    assert assoc.is_established
    return assoc


def commit(assoc: Association, datasets: list[Dataset], transaction: str, *more: str) -> None:
    ds = request([*((d.SOPClassUID, d.SOPInstanceUID) for d in datasets), *more], transaction)
    assert ready(assoc).send_n_action(ds, 1, PUSH_MODEL_CLASS, PUSH_MODEL_INSTANCE)[0].Status == 0x0000


def reported(node: Node, transaction: str) -> None:
    """Wait until the answer to a report is recorded."""

    def state() -> bool:
        with node.store.ledger.read() as tx:
            states = tx.execute(select(commitment.c.state).where(commitment.c.transaction_uid == transaction)).scalars()
            return list(states) == [CommitmentState.REPORTED]

    until(state, "reported")


def test_instances_and_request_in_one_association(node: Node, requester: Requester) -> None:
    study = petct_study()
    assoc = associate(node, study, requester)
    assert {ready(assoc).send_c_store(ds).Status for ds in study} == {0x0000}
    commit(assoc, study, "1.2.3")
    heard = requester.next()
    reported(node, "1.2.3")
    assoc.release()
    assert heard.event_type == 1
    assert sorted(heard.committed) == sorted(ds.SOPInstanceUID for ds in study)


@pytest.mark.parametrize("times", range(3))
def test_released_right_after_the_response_the_report_comes_on_another(
    node: Node, requester: Requester, times: int
) -> None:
    """The request is made while the last instances may not be indexed yet; none of them is called missing."""
    study = petct_study()
    with listening(requester):
        assoc = associate(node, study)
        assert {ready(assoc).send_c_store(ds).Status for ds in study} == {0x0000}
        commit(assoc, study, "1.2.3", "1.2.3.4.5")
        assoc.release()
        heard = requester.next()
        reported(node, "1.2.3")
    assert (heard.event_type, heard.failed) == (2, {"1.2.3.4.5": 0x0112})
    assert sorted(heard.committed) == sorted(ds.SOPInstanceUID for ds in study)


def test_parallel_senders_are_each_committed_what_they_sent(node: Node, requester: Requester) -> None:
    """Each association writes a segment of its own; requests and instances lie apart."""
    ct = ct_slices()
    with listening(requester):
        first, second = associate(node, ct), associate(node, ct)
        for n, ds in enumerate(ct):
            assert ready((first, second)[n % 2]).send_c_store(ds).Status == 0x0000
        commit(first, ct, "1.2.1")
        commit(second, ct, "1.2.2")
        first.release()
        second.release()
        heard = [requester.next(), requester.next()]
        for one in heard:
            reported(node, one.transaction_uid)
    assert [one.event_type for one in heard] == [1, 1]


def test_who_has_no_address_and_does_not_wait_hears_nothing(node: Node) -> None:
    assoc = associate(node, [], calling="PACS")
    commit(assoc, [], "1.2.3", "1.2.4")
    assoc.release()
    until(lambda: node.logged("commitment_no_address"), "said so")
