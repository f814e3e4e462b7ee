"""A destination that takes something else than was built gets its report all the same, once, as what it takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from pydicom import DataElement, Dataset
from pydicom.uid import (
    ComprehensiveSRStorage,
    ExplicitVRLittleEndian,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom import AE, evt
from sqlalchemy import select

from egfr_dls import job_loop, settings
from egfr_dls.ledger import deliveries
from egfr_dls.ledger.acceptance import REFUSED_SECONDS
from egfr_dls.ledger.schema import delivery, refused_class
from egfr_dls.store import open_store
from reporting.stage import ReportHandler
from reporting.variants import PROBED_CLASSES, SR_CLASSES
from tests.builders import STUDY_UID
from tests.reporting.deliveries import sender
from tests.reporting.test_stage import HERE, Bench, found

EVERYTHING = frozenset(PROBED_CLASSES)
AGAIN = replace(found(), inputs_sha256="99" * 32)  # the findings of a revision


@dataclass
class Pacs:
    """A storage SCP that takes some classes, and refuses objects of some by a status; what it was given, in order."""

    port: int = 0
    received: list[Dataset] = field(default_factory=list)
    refuses: dict[str, int] = field(default_factory=dict)  # SOP class -> status
    refused: list[str] = field(default_factory=list)

    def on_store(self, event: evt.Event) -> int:
        ds = event.dataset
        ds.file_meta = event.file_meta
        if ds.SOPClassUID in self.refuses:
            self.refused.append(str(ds.SOPClassUID))
            return self.refuses[ds.SOPClassUID]
        self.received.append(ds)
        return 0x0000

    @property
    def classes(self) -> list[str]:
        return [str(ds.SOPClassUID) for ds in self.received]


@contextmanager
def pacs_taking(classes: Collection[str], pacs: Pacs) -> Iterator[Pacs]:
    ae = AE("PACS")
    for uid in classes:
        ae.add_supported_context(uid, ExplicitVRLittleEndian)
    server = ae.start_server(("127.0.0.1", pacs.port), block=False, evt_handlers=[(evt.EVT_C_STORE, pacs.on_store)])
    pacs.port = server.server_address[1]
    try:
        yield pacs
    finally:
        server.shutdown()


class Service:
    """A reporter without threads: each step when a test asks for it."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        (destination,) = bench.settings.destinations
        self._sender = sender(bench.settings, bench.store, destination, "reporter-1", time.time)

    def work(self) -> list[Any]:
        """Build and send until nothing is left to do; return what was logged."""
        handler = ReportHandler(self.bench.settings, self.bench.store)
        with structlog.testing.capture_logs() as events:
            while self._sender.send_due(threading.Event()) or job_loop.run_one(
                self.bench.store.ledger, handler, "reporter-1", time.time
            ):
                assert len(events) < 200, events
        return list(events)

    def states(self) -> set[str]:
        with self.bench.store.ledger.read() as tx:
            return set(tx.scalars(select(delivery.c.state)))


@contextmanager
def service(folder: Path, pacs: Pacs) -> Iterator[Service]:
    here = {**HERE, "port": pacs.port}
    loaded = settings.load(None, {"storage": {"root": folder}, "destinations": [here], "reporting": {"pages": True}})
    with open_store(loaded, "listener") as store:
        yield Service(Bench(store, loaded))


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (EVERYTHING, [SegmentationStorage, SR_CLASSES[0], MultiFrameTrueColorSecondaryCaptureImageStorage]),
        (
            EVERYTHING - {SR_CLASSES[0]},
            [SegmentationStorage, SR_CLASSES[1], MultiFrameTrueColorSecondaryCaptureImageStorage],
        ),
        (EVERYTHING - {SegmentationStorage}, [SR_CLASSES[0], MultiFrameTrueColorSecondaryCaptureImageStorage]),
        ({ComprehensiveSRStorage, SecondaryCaptureImageStorage}, [SR_CLASSES[1], *[SecondaryCaptureImageStorage] * 4]),
        ({SR_CLASSES[2]}, [SR_CLASSES[2]]),
    ],
    ids=["everything", "no 88.34", "no SEG", "images and 88.33", "88.22 alone"],
)
def test_a_destination_gets_its_report_as_what_it_takes(
    classes: Collection[str], expected: list[str], tmp_path: Path
) -> None:
    with pacs_taking(classes, Pacs()) as pacs, service(tmp_path, pacs) as reporter:
        reporter.bench.findings(found())
        reporter.work()
        assert pacs.classes == expected
        reporter.bench.findings(AGAIN, "d2")
        reporter.work()
        assert pacs.classes == [*expected, *expected]  # known from now on: built so at once
    held = {str(ds.SOPInstanceUID) for ds in pacs.received}
    for ds in pacs.received:
        if str(ds.SOPClassUID) in SR_CLASSES:
            assert points_at_ours(ds) <= held


def points_at_ours(report: Dataset) -> set[str]:
    """Return the objects of ours that evidence, tree and predecessors of a report name."""
    named: set[str] = set()

    def collect(_: Dataset, element: DataElement) -> None:
        if element.keyword == "ReferencedSOPInstanceUID":
            named.add(str(element.value))

    report.walk(collect)
    return {uid for uid in named if uid.startswith("2.25.")}


def test_a_destination_that_is_replaced_gets_what_waits_as_what_it_takes_now(tmp_path: Path) -> None:
    """The PACS of before took everything; the new one takes no SEG and an older report."""
    with pacs_taking(EVERYTHING, Pacs()) as before, service(tmp_path, before) as reporter:
        reporter.bench.findings(found())
        reporter.work()
        assert len(before.received) == 3
        reporter.bench.findings(AGAIN, "d2")
        reporter.bench.report()
        after = Pacs(before.port)
    with pacs_taking({SR_CLASSES[1]}, after) as pacs, service(tmp_path, pacs) as reporter:
        reporter.work()
    assert pacs.classes == [SR_CLASSES[1]]


def test_a_destination_that_takes_no_report_parks_it(tmp_path: Path) -> None:
    with pacs_taking({SegmentationStorage}, Pacs()) as pacs, service(tmp_path, pacs) as reporter:
        reporter.bench.findings(found())
        reporter.work()
        assert pacs.classes == [SegmentationStorage]
        assert reporter.states() >= {"parked", "not_accepted"}


A_STATUS = [0x0122, 0xA900, 0xA9FF]


@pytest.mark.parametrize("status", A_STATUS, ids="{:04X}".format)
def test_a_class_that_is_accepted_and_then_refused_by_a_status_is_left_for_another(status: int, tmp_path: Path) -> None:
    with pacs_taking(EVERYTHING, Pacs(refuses={SR_CLASSES[0]: status})) as pacs, service(tmp_path, pacs) as reporter:
        reporter.bench.findings(found())
        events = reporter.work()
        assert pacs.classes == [SegmentationStorage, SR_CLASSES[1], MultiFrameTrueColorSecondaryCaptureImageStorage]
        assert pacs.refused == [SR_CLASSES[0]]
        assert [(e["kind"], e["status"]) for e in events if e["event"] == "class_refused"] == [
            ("report", f"{status:04X}")
        ]
        assert reporter.states() == {"stored"}
        reporter.bench.findings(AGAIN, "d2")
        reporter.work()
        assert pacs.refused == [SR_CLASSES[0]], "known from now on"


def test_each_class_of_report_is_tried_once_and_then_a_person_has_to_look(tmp_path: Path) -> None:
    pacs = Pacs(refuses=dict.fromkeys(SR_CLASSES, 0x0122))
    with pacs_taking(EVERYTHING, pacs), service(tmp_path, pacs) as reporter:
        reporter.bench.findings(found())
        reporter.work()
        assert pacs.refused == list(SR_CLASSES)
        assert reporter.states() == {"stored", "parked"}
        pacs.refuses = {}
        with reporter.bench.store.ledger.begin() as tx:
            deliveries.revive(tx, STUDY_UID, time.time(), demonstrations=False)
        reporter.work()
        assert pacs.classes.count(SR_CLASSES[2]) == 1
        assert reporter.states() == {"stored"}
        reporter.bench.findings(AGAIN, "d2")
        reporter.work()
        assert SR_CLASSES[0] in pacs.classes, "a person has looked: the best class again"


def test_a_segmentation_that_is_refused_by_a_status_is_left_out(tmp_path: Path) -> None:
    with (
        pacs_taking(EVERYTHING, Pacs(refuses={SegmentationStorage: 0xA900})) as pacs,
        service(tmp_path, pacs) as reporter,
    ):
        reporter.bench.findings(found())
        reporter.work()
        assert pacs.classes == [SR_CLASSES[0], MultiFrameTrueColorSecondaryCaptureImageStorage]
        assert points_at_ours(pacs.received[0]) == set()
        assert reporter.states() == {"stored"}


def test_a_refusal_counts_for_a_day(tmp_path: Path) -> None:
    with pacs_taking(EVERYTHING, Pacs(refuses={SR_CLASSES[0]: 0x0122})) as pacs, service(tmp_path, pacs) as reporter:
        reporter.bench.findings(found())
        reporter.work()
        with reporter.bench.store.ledger.begin() as tx:
            tx.execute(refused_class.update().values(refused_at=time.time() - REFUSED_SECONDS - 1))
        reporter.bench.findings(AGAIN, "d2")
        reporter.work()
        assert pacs.refused == [SR_CLASSES[0]] * 2
