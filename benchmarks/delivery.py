"""Orthanc as the PACS that gets the results, killed and restarted at random: what reached it, and what is proven.

    python -m benchmarks.delivery [--studies 100] [--seed 1] [--transport plain|tls|both]

The whole service scores small studies with the smallest networks and delivers SEG, report and pages with
``storage_commitment = true``, in a network namespace of its own (needs root). SIGKILL meets Orthanc as soon as something is sent
to it, and again after 2 to 6 s up; it stays down for up to 2 s. When the last study is scored, it is left alone. Then every
object that the ledger names is looked for in Orthanc and compared, element by element, with the bytes that were kept. The result
is Markdown.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import dcmread
from sqlalchemy import select

from egfr_dls.background import beside
from egfr_dls.ledger.schema import built_object, delivery
from egfr_dls.objectstore import ObjectStore
from tests.inference.packages import network, write_package
from tests.listener.certificates import SERVER, Authority
from tests.system.orthanc import AE_TITLE, DICOM_PORT, NODE_PORT, Orthanc, network_namespace, running_orthanc
from tests.system.scanner import send_whole
from tests.system.service import NODE, SCANNER, Service, running_service, service_sections
from tests.system.study_data import small_study, study_uid
from tests.system.waiting import wait_until

UP_SECONDS, DOWN_SECONDS = (2.0, 6.0), (0.0, 2.0)
PROOF_SECONDS = 5400.0  # three requests, with the waits for their reports
TLS_PORT = 2762
HERE = "IP:127.0.0.1"


@dataclass
class Outcome:
    """What came of it. ``states``: of the deliveries; ``wrong``: objects that are not there once, or are not those kept."""

    studies: int
    kills: int = 0
    delivered: int = 0
    states: Counter[str] = field(default_factory=Counter)
    resent: int = 0
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0


def run(folder: Path, studies: int, seed: int, *, tls: bool) -> Outcome:
    """Deliver the results of so many studies to an Orthanc that is killed meanwhile."""
    found, begun_at = Outcome(studies), time.monotonic()
    node, more = _secured(folder / "certificates") if tls else (_plain(), {})
    sections = {**service_sections(folder, _models(folder), reporting={"pages": True}), **node}
    sections["listener.peers"] = [{"ae_title": title, "host": "127.0.0.1"} for title in (SCANNER, AE_TITLE)]
    with ExitStack() as stack:
        namespace = stack.enter_context(network_namespace())
        orthanc = stack.enter_context(running_orthanc(folder / "orthanc", namespace, **more))
        service = stack.enter_context(running_service(folder / "node", sections, prefix=namespace.prefix))
        killer = _Killer(orthanc, service, random.Random(seed), found)
        with beside("killer", killer.run, killer.stop.set):
            for number in range(1, studies + 1):
                namespace.call(send_whole, NODE_PORT, small_study(number))
            wait_until(
                lambda: len(_states(service)) == studies,
                "every study has its report",
                seconds=600,
                context=service.tail,
            )
        wait_until(lambda: _is_over(service), "every delivery is over", seconds=PROOF_SECONDS, context=service.tail)
        _judge(service, orthanc, found)
    found.seconds = time.monotonic() - begun_at
    return found


def table(outcomes: Mapping[str, Outcome]) -> str:
    """Return the outcomes as Markdown."""
    lines = [
        "| | studies | kills | delivered | objects | committed | otherwise proven | sent again | wrong or missing | seconds |",
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for name, one in outcomes.items():
        counts = (one.studies, one.kills, one.delivered, one.states.total(), one.states["committed"])
        rest = (one.states.total() - one.states["committed"], one.resent, len(one.wrong), round(one.seconds))
        lines.append(f"| {name} | {' | '.join(map(str, (*counts, *rest)))} |")
    return "\n".join(lines)


class _Killer:
    """Kills Orthanc and starts it again, once at least, until it is told to stop; then Orthanc runs."""

    def __init__(self, orthanc: Orthanc, service: Service, chosen: random.Random, found: Outcome) -> None:
        self.stop = threading.Event()
        self._orthanc, self._service, self._chosen, self._found = orthanc, service, chosen, found

    def run(self) -> None:
        wait_until(self._is_sent_to, "something is sent", seconds=600, context=self._service.tail)
        while True:
            self._orthanc.kill()
            self._found.kills += 1
            self.stop.wait(self._chosen.uniform(*DOWN_SECONDS))
            self._orthanc.start()
            if self.stop.wait(self._chosen.uniform(*UP_SECONDS)):
                return

    def _is_sent_to(self) -> bool:
        return any(row.state != "queued" for row in self._service.rows(delivery))


def _plain() -> dict[str, Any]:
    destination = {"name": "orthanc", "ae_title": AE_TITLE, "host": "127.0.0.1", "port": DICOM_PORT}
    return {
        "listener": {"port": NODE_PORT},
        "destinations": [{**destination, "storage_commitment": True, "retry_seconds": 0.5}],
    }


def _secured(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the node's sections and Orthanc's keys: results and reports go by TLS, with certificates of both sides."""
    authority = Authority(folder)
    ours = authority.issue("node", f"{SERVER},clientAuth", alternatives=HERE)
    theirs = authority.issue("orthanc", f"{SERVER},clientAuth", alternatives=HERE)
    files = {"certificate": str(ours.certificate), "key": str(ours.key), "ca": str(authority.certificate)}
    sections = _plain()
    sections["listener.tls"] = {"port": TLS_PORT, **files}
    sections["destinations"][0] |= {f"tls.{key}": path for key, path in files.items()}
    return sections, {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(theirs.certificate),
        "DicomTlsPrivateKey": str(theirs.key),
        "DicomTlsTrustedCertificates": str(authority.certificate),
        "DicomModalities": {"egfr": {"AET": NODE, "Host": "127.0.0.1", "Port": TLS_PORT, "UseDicomTls": True}},
    }


def _models(folder: Path) -> Path:
    """Write both networks in their smallest form, as research models."""
    models = folder / "models"
    write_package(models / "egfr", network(1), name="tiny-egfr", status="research")
    write_package(models / "pdl1", network(2, planes=True), name="tiny-pdl1", task="pdl1", status="research")
    return models


def _states(service: Service) -> dict[str, list[str]]:
    """Return the states of the deliveries of each study of which the pages are built: they come last."""
    with service.ledger() as tx:
        rows = tx.execute(
            select(built_object.c.study_instance_uid, built_object.c.kind, delivery.c.state).join(
                delivery, delivery.c.sop_instance_uid == built_object.c.sop_instance_uid
            )
        ).all()
    drawn = {row.study_instance_uid for row in rows if row.kind == "pages"}
    return {uid: [row.state for row in rows if row.study_instance_uid == uid] for uid in drawn}


def _is_over(service: Service) -> bool:
    return all(row.state not in ("queued", "sent") and row.proof_due_at is None for row in service.rows(delivery))


def _judge(service: Service, orthanc: Orthanc, found: Outcome) -> None:
    """Count what is proven, and hold what Orthanc has against the bytes that were kept."""
    rows = service.rows(delivery)
    found.states.update(row.state for row in rows)
    found.resent = sum(row.attempts > 1 for row in rows)
    documents = (service.study(study_uid(number)) for number in range(1, found.studies + 1))
    found.delivered = sum(document["state"] == "DELIVERED" for document in documents)
    kept = ObjectStore(service.settings.storage.root / "objects")
    there: dict[str, list[bytes]] = {}
    for number in range(1, found.studies + 1):
        for name in orthanc.instances(study_uid(number), "SR", "SEG", "OT"):
            data = orthanc.file(name)
            there.setdefault(str(dcmread(BytesIO(data)).SOPInstanceUID), []).append(data)
    wanted = {row.sop_instance_uid: kept.get(row.sha256) for row in service.rows(built_object)}
    found.wrong = sorted(
        uid for uid in wanted.keys() | there.keys() if not _is_once(wanted.get(uid), there.get(uid, []))
    )


def _is_once(kept: bytes | None, there: list[bytes]) -> bool:
    """Whether the PACS has an object once, element by element as it was kept; its file meta is the PACS's own."""
    return kept is not None and len(there) == 1 and dcmread(BytesIO(kept)) == dcmread(BytesIO(there[0]))


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--transport", choices=("plain", "tls", "both"), default="both")
    options = parser.parse_args()
    names = ("plain", "tls") if options.transport == "both" else (options.transport,)
    outcomes = {}
    for name in names:
        with tempfile.TemporaryDirectory(prefix="delivery-") as folder:
            outcomes[name] = run(Path(folder), options.studies, options.seed, tls=name == "tls")
        print(table(outcomes))
    sys.exit(any(one.wrong or one.delivered < one.studies for one in outcomes.values()))


if __name__ == "__main__":
    main()
