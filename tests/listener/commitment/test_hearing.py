"""Reports on what we asked for, on an association of the destination: pynetdicom as SCP, a receiver on 127.0.0.1."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from sqlalchemy import select

from egfr_dls import settings as configuration
from egfr_dls.errors import TemporaryFailureError
from egfr_dls.ledger import Ledger, proofs, studies
from egfr_dls.ledger.proofs import AskedState, DueProof
from egfr_dls.ledger.schema import asked_commitment
from egfr_dls.spool import DirectorySpool
from listener.admission import Admission
from listener.commitment.heard import read_report
from listener.commitment.hearing import Hearing
from listener.commitment.status import PUSH_MODEL_CLASS, PUSH_MODEL_INSTANCE, RequestRefusedError
from listener.storage.reception import Reception
from listener.upper_layer.connection import Node
from listener.upper_layer.dispatch import HANDLERS
from listener.upper_layer.server import Server, bind
from tests.listener.requester import EXPLICIT, IMPLICIT, as_bytes, item, ready

OURS, NOW = "2.25.4711", 1_700_000_000.0


class Bench:
    """A receiver that hears reports, and a ledger in which one request stands, about 1.1 and 1.2."""

    def __init__(self, root: Path) -> None:
        sections = {"port": 0, "peers": [{"ae_title": "PACS", "host": "127.0.0.1"}]}
        self.settings = configuration.load(None, {"storage": {"root": root, "min_free_bytes": 0}, "listener": sections})
        self.ledger = Ledger(self.settings.ledger_url)
        self.hearing = Hearing(lambda: Ledger(self.settings.ledger_url))
        self.port = 0
        about = [DueProof(uid, "9", "8", "1", "key", "report", 0, 0) for uid in ("1.1", "1.2")]
        with self.ledger.begin() as tx:
            studies.ensure(tx, "1", b"key", NOW)
            proofs.ask(tx, OURS, "pacs", about, NOW, NOW + 60)

    @contextmanager
    def receiving(self, spool: DirectorySpool) -> Iterator[None]:
        admission = Admission(self.settings.listener, spool.free_bytes, 0)
        handlers = {**HANDLERS, **self.hearing.handlers}
        server = Server(
            bind(self.settings.listener),
            Node(self.settings.listener, admission, Reception(spool, 0), handlers=handlers),
        )
        server.start()
        self.port = server.ports[0]
        try:
            yield
        finally:
            server.drain(2)

    def row(self) -> Any:
        with self.ledger.read() as tx:
            return tx.execute(select(asked_commitment)).one()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A receiver to which a PACS reports."""
    made, spool = Bench(tmp_path), DirectorySpool(tmp_path / "spool", "listener-test")
    with made.receiving(spool):
        yield made
    spool.close()
    made.ledger.close()


@contextmanager
def pacs(bench: Bench, syntax: str = EXPLICIT, *, tells_role: bool = True) -> Iterator[Association]:
    """Hold an association of a PACS."""
    ae = AE("PACS")
    ae.add_requested_context(PUSH_MODEL_CLASS, syntax)
    roles: list[Any] = [build_role(PUSH_MODEL_CLASS, scp_role=True)] if tells_role else []
    assoc = ae.associate(
        "127.0.0.1", bench.port, ae_title="EGFR_DLS", ext_neg=roles, evt_handlers=[(evt.EVT_CONN_OPEN, lambda _: None)]
    )
    assert assoc.is_established
    if not tells_role:  # what such a PACS does all the same
        assoc.accepted_contexts[0]._as_scp = True
    try:
        yield assoc
    finally:
        if assoc.is_established:
            assoc.release()


def report(*committed: str, failed: dict[str, int] | None = None, transaction_uid: str = OURS) -> Dataset:
    """Return the Event Information."""
    ds = Dataset()
    ds.TransactionUID = transaction_uid
    if committed:
        ds.ReferencedSOPSequence = [item(uid) for uid in committed]
    if failed:
        ds.FailedSOPSequence = [item(uid) for uid in failed]
        for one, reason in zip(ds.FailedSOPSequence, failed.values(), strict=True):
            one.FailureReason = reason
    return ds


def tell(assoc: Association, ds: Dataset | None, event_type: int = 1, instance: str = PUSH_MODEL_INSTANCE) -> int:
    """Send a report and return the status of its answer."""
    status, _reply = ready(assoc).send_n_event_report(ds, event_type, PUSH_MODEL_CLASS, instance)
    return int(status.Status)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize("tells_role", [True, False])
def test_a_report_stands_in_the_ledger_when_it_is_answered(bench: Bench, syntax: str, tells_role: bool) -> None:
    with pacs(bench, syntax, tells_role=tells_role) as assoc:
        assert tell(assoc, report("1.1", failed={"1.2": 0x0112}), 2) == 0x0000
        row = bench.row()
        assert (row.state, row.committed, row.failures) == (AskedState.HEARD, '["1.1"]', '{"1.2": 274}')
        assert tell(assoc, report("1.1", "1.2")) == 0x0000  # again, and better
        assert bench.row().committed == '["1.1", "1.2"]'


def test_a_report_of_an_unknown_transaction_is_answered_and_told_and_changes_nothing(bench: Bench) -> None:
    with structlog.testing.capture_logs() as events, pacs(bench) as assoc:
        assert tell(assoc, report("1.1", transaction_uid="2.25.404")) == 0x0000
        assert bench.row().state == AskedState.ASKED
    assert [e["state"] for e in events if e["event"] == "commitment_heard"] == ["unknown_transaction"]


def test_what_is_no_report_has_its_status(bench: Bench) -> None:
    with pacs(bench) as assoc:
        assert tell(assoc, report("1.1"), 3) == 0x0113
        assert tell(assoc, report("1.1"), instance="1.2.3") == 0x0112
        assert tell(assoc, report("1.1", transaction_uid="")) == 0x0115
        assert tell(assoc, None) == 0x0115
        assert bench.row().state == AskedState.ASKED
        assert tell(assoc, report("1.1")) == 0x0000  # the association goes on


def test_a_report_that_the_ledger_did_not_take_is_no_success(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked() -> Ledger:
        raise TemporaryFailureError("locked")

    with pacs(bench) as assoc:
        with monkeypatch.context() as patch:
            patch.setattr(bench.hearing, "_open_ledger", locked)
            assert tell(assoc, report("1.1")) == 0x0110
        assert tell(assoc, report("1.1")) == 0x0000


def test_an_instance_that_is_named_twice_failed(bench: Bench) -> None:
    heard = read_report(as_bytes(report("1.1", "1.2", failed={"1.2": 0x0110})), EXPLICIT)
    assert (heard.committed, heard.failures) == ({"1.1"}, {"1.2": 0x0110})


@settings(max_examples=300, deadline=None)
@given(data=st.data(), syntax=st.sampled_from([EXPLICIT, IMPLICIT]))
def test_a_report_with_any_bytes_changed_is_read_or_refused(data: st.DataObject, syntax: str) -> None:
    whole = bytearray(as_bytes(report("1.1", "1.2", failed={"1.3": 0x0112}), syntax))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_report(bytes(whole[: data.draw(st.integers(0, len(whole))) or None]), syntax)
    except RequestRefusedError:
        return
