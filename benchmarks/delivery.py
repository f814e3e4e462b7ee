"""Orthanc as the PACS that gets the results; it and our own processes are killed at random: what arrived, and what is proven.

    python -m benchmarks.delivery [--studies 100] [--seed 1] [--way plain --way tls --way stow]

The whole service scores small studies with the smallest networks and delivers report and pages, in a network namespace of
its own (needs root): by DIMSE, plain or by TLS, with ``storage_commitment = true``, or by STOW-RS with QIDO-RS. As soon as
something is sent, SIGKILL meets Orthanc, our reporter and our whole service, in random order and again and again, 2 to 6 s
apart; Orthanc stays down for up to 2 s. When the last study is scored, all are left alone. Then every object that the ledger
names is looked for in Orthanc and compared, element by element, with the bytes that were kept. The result is Markdown.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from pydicom import dcmread
from sqlalchemy import select

from benchmarks.orthanc_site import WAYS, site, tiny_models
from egfr_dls.background import beside
from egfr_dls.ledger.schema import built_object, delivery
from egfr_dls.objectstore import ObjectStore
from tests.system.orthanc import NODE_PORT, Orthanc, network_namespace, running_orthanc
from tests.system.scanner import send_whole
from tests.system.service import Sections, Service
from tests.system.study_data import small_study, study_uid
from tests.system.waiting import wait_until

VICTIMS = ("Orthanc", "reporter", "service")
APART_SECONDS, DOWN_SECONDS = (2.0, 6.0), (0.0, 2.0)
PROOF_SECONDS = 5400.0  # three requests, with the waits for their reports
MODALITIES = ("SR", "SEG", "OT", "DOC")  # of results


@dataclass
class Outcome:
    """What came of it. ``states``: of the deliveries; ``wrong``: objects that are not there once, or are not those kept."""

    studies: int
    kills: Counter[str] = field(default_factory=Counter)
    delivered: int = 0
    states: Counter[str] = field(default_factory=Counter)
    resent: int = 0
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0


def run(folder: Path, studies: int, seed: int, way: str) -> Outcome:
    """Deliver the results of so many studies while Orthanc and the service are killed."""
    found, begun_at = Outcome(studies), time.monotonic()
    sections, keys = site(folder, way, tiny_models(folder / "models"))
    with ExitStack() as stack:
        namespace = stack.enter_context(network_namespace())
        orthanc = stack.enter_context(running_orthanc(folder / "orthanc", namespace, **keys))
        node = stack.enter_context(_running_node(folder / "node", sections, namespace.prefix))
        killer = _Killer(orthanc, node, random.Random(seed), found.kills)
        with beside("killer", killer.run, killer.stop.set):
            for number in range(1, studies + 1):
                with node.receiving:
                    namespace.call(send_whole, NODE_PORT, small_study(number))
            _wait(node, lambda: len(_drawn(node.service)) == studies, "every study has its report", seconds=1200)
        _wait(node, lambda: _is_over(node.service), "every delivery is over", seconds=PROOF_SECONDS)
        _judge(node.service, orthanc, found)
    found.seconds = time.monotonic() - begun_at
    return found


def table(outcomes: Mapping[str, Outcome]) -> str:
    """Return the outcomes as Markdown."""
    heads = ["", "studies", *(f"kills: {v}" for v in VICTIMS), "delivered", "objects", "committed", "verified",
             "otherwise", "sent again", "wrong or missing", "seconds"]  # fmt: skip
    lines = [_row(heads), _row(["---", *("--:" for _ in heads[1:])])]
    for name, one in outcomes.items():
        proven = [one.states[state] for state in ("committed", "verified")]
        total = one.states.total()
        rest = [total - sum(proven), one.resent, len(one.wrong), round(one.seconds)]
        lines.append(_row([name, one.studies, *(one.kills[v] for v in VICTIMS), one.delivered, total, *proven, *rest]))
    return "\n".join(lines)


def _row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


class Node:
    """The service, which is killed and started again; ``receiving`` is held while it is sent to, and while it is not up."""

    def __init__(self, folder: Path, sections: Sections, prefix: Sequence[str]) -> None:
        self._start = lambda: Service(folder, sections, prefix=prefix)
        self._starts = 0
        self.receiving = threading.Lock()
        self.start()

    def start(self) -> None:
        """Start it, and wait until it is up."""
        self.service, self._starts = self._start(), self._starts + 1
        self.service.wait_until_ready(starts=self._starts)

    def restart(self) -> None:
        """SIGKILL every process of it, then start it again."""
        with self.receiving:
            self.service.clean_up()
            self.start()


@contextmanager
def _running_node(folder: Path, sections: Sections, prefix: Sequence[str]) -> Iterator[Node]:
    node = Node(folder, sections, prefix)
    try:
        yield node
        assert node.service.stop() == 0, node.service.tail()
    finally:
        node.service.clean_up()


class _Killer:
    """Kills one after the other until it is told to stop, each once at least; then all of them run."""

    def __init__(self, orthanc: Orthanc, node: Node, chosen: random.Random, kills: Counter[str]) -> None:
        self.stop = threading.Event()
        self._orthanc, self._node, self._chosen, self._kills = orthanc, node, chosen, kills

    def run(self) -> None:
        _wait(self._node, self._is_sent_to, "something is sent", seconds=600)
        while True:
            for victim in self._chosen.sample(VICTIMS, len(VICTIMS)):
                if self.stop.is_set() and all(self._kills[v] for v in VICTIMS):
                    return
                self._kill(victim)
                self._kills[victim] += 1
                self.stop.wait(self._chosen.uniform(*APART_SECONDS))

    def _kill(self, victim: str) -> None:
        if victim == "Orthanc":
            self._orthanc.kill()
            self.stop.wait(self._chosen.uniform(*DOWN_SECONDS))
            self._orthanc.start()
        elif victim == "reporter":
            self._node.service.kill("reporter")
        else:
            self._node.restart()

    def _is_sent_to(self) -> bool:
        return any(row.state != "queued" for row in self._node.service.rows(delivery))


def _wait(node: Node, condition: Callable[[], bool], what: str, *, seconds: float) -> None:
    wait_until(condition, what, seconds=seconds, context=lambda: node.service.tail())


def _drawn(service: Service) -> set[str]:
    """Return the studies of which the pages, which are built last, have a delivery."""
    joined = built_object.join(delivery, delivery.c.sop_instance_uid == built_object.c.sop_instance_uid)
    with service.ledger() as tx:
        pages = select(built_object.c.study_instance_uid).select_from(joined).where(built_object.c.kind == "pages")
        return set(tx.execute(pages).scalars())


def _is_over(service: Service) -> bool:
    return all(row.state not in ("queued", "sent") and row.proof_due_at is None for row in service.rows(delivery))


def _judge(service: Service, orthanc: Orthanc, found: Outcome) -> None:
    """Count what is proven, and hold what Orthanc has against the bytes that were kept."""
    rows = service.rows(delivery)
    uids = [study_uid(number) for number in range(1, found.studies + 1)]
    found.states.update(row.state for row in rows)
    found.resent = sum(row.attempts > 1 for row in rows)
    found.delivered = sum(service.study(uid)["state"] == "DELIVERED" for uid in uids)
    found.wrong = wrong_objects(service, orthanc, uids)


def wrong_objects(service: Service, orthanc: Orthanc, study_uids: Sequence[str]) -> list[str]:
    """Return the SOP Instance UIDs of objects of these studies that Orthanc has not once, or not as they were kept."""
    kept = ObjectStore(service.settings.storage.root / "objects")
    there: dict[str, list[bytes]] = {}
    for uid in study_uids:
        for name in orthanc.instances(uid, *MODALITIES):
            data = orthanc.file(name)
            there.setdefault(str(dcmread(BytesIO(data)).SOPInstanceUID), []).append(data)
    wanted = {row.sop_instance_uid: kept.get(row.sha256) for row in service.rows(built_object)}
    return sorted(uid for uid in wanted.keys() | there.keys() if not _is_once(wanted.get(uid), there.get(uid, [])))


def _is_once(kept: bytes | None, there: list[bytes]) -> bool:
    """Whether the PACS has an object once, element by element as it was kept; its file meta is the PACS's own."""
    return kept is not None and len(there) == 1 and dcmread(BytesIO(kept)) == dcmread(BytesIO(there[0]))


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--way", choices=WAYS, action="append")
    options = parser.parse_args()
    outcomes = {}
    for way in options.way or ("plain", "tls", "stow"):
        with tempfile.TemporaryDirectory(prefix="delivery-") as folder:
            outcomes[way] = run(Path(folder), options.studies, options.seed, way)
        print(table(outcomes))
    sys.exit(any(one.wrong or one.delivered < one.studies for one in outcomes.values()))


if __name__ == "__main__":
    main()
