"""A service's store that no process works on, with a study whose result is at two destinations, and its command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import select

from egfr_dls import settings
from egfr_dls.delivery import DeliveryState
from egfr_dls.findings import LesionFinding, StudyFindings
from egfr_dls.ledger import deliveries, results, studies
from egfr_dls.ledger.results import BuiltObject
from egfr_dls.ledger.schema import audit, job
from egfr_dls.settings import Settings
from egfr_dls.store import Store
from egfr_dls.study import RoiSource, StudyState
from tests.egfr_dls.test_findings import SCORED

STUDY, NOW = "1.2.3", 1_700_000_000.0
DESTINATIONS = ("pacs", "second")
PROPOSED: LesionFinding = replace(
    SCORED.lesions[0], label="Lesion 1", roi_source=RoiSource.PROPOSED, confirmed=False, tracking_uid="2.25.1"
)
PROPOSALS: StudyFindings = replace(
    SCORED, lesions=(PROPOSED, replace(PROPOSED, label="Lesion 2", tracking_uid="2.25.2"))
)


@dataclass
class Node:
    """What a test of a command works on."""

    settings: Settings
    store: Store
    run: Callable[..., tuple[int, str, str]]

    def result(self, found: StudyFindings = PROPOSALS, state: StudyState = StudyState.SCORED) -> int:
        """Enter a revision with its SEG and report, queued for both destinations; return the findings' id."""
        with self.store.ledger.begin() as tx:
            studies.move(tx, STUDY, StudyState.COMPLETE, NOW)
            number = len(tx.execute(select(results.findings)).all()) + 1
            row = results.add_findings(tx, STUDY, "pet_ct_egfr", f"d{number}", found.to_json(), "e", NOW)
            assert row is not None
            built = [self._built(number, kind) for kind in ("roi", "report")]
            results.add_objects(tx, row, STUDY, built)
            for name in DESTINATIONS:
                deliveries.queue(tx, [made.sop_instance_uid for made in built], name, NOW)
            code = found.refusal.code if found.refusal else None
            studies.move(tx, STUDY, StudyState.REFUSED if code else StudyState.SCORED, NOW, refusal_code=code)
            studies.move(tx, STUDY, state, NOW)
        return row

    def _built(self, number: int, kind: str) -> BuiltObject:
        sha256 = self.store.objects.put(f"{number} {kind}".encode())
        return BuiltObject(f"1.9.{number}.{kind}", "1.8", "1.7", "1.2.840.10008.1.2.1", kind, sha256, NOW)

    def stored(self, destination: str = "pacs") -> None:
        """Let whatever waits arrive at a destination."""
        with self.store.ledger.begin() as tx:
            for due in deliveries.of_study(tx, STUDY):
                deliveries.begin_attempt(tx, due.sop_instance_uid, destination, NOW)
                deliveries.settle(tx, due.sop_instance_uid, destination, DeliveryState.STORED)

    def document(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """Run a command with --json and return what it printed."""
        ended, out, err = self.run(*arguments, "--json")
        assert ended == code, out + err
        found: dict[str, Any] = json.loads(out)
        return found

    def show(self) -> dict[str, Any]:
        """Return the study's document."""
        return self.document("show", STUDY)

    def states(self, destination: str = "pacs") -> list[str]:
        """Return where the study's objects stand at a destination."""
        return [d["state"] for d in self.show()["deliveries"] if d["destination"] == destination]

    def jobs(self) -> list[tuple[str, dict[str, Any]]]:
        """Return kind and payload of every job."""
        with self.store.ledger.read() as tx:
            return [(row.kind, json.loads(row.payload)) for row in tx.execute(select(job).order_by(job.c.id))]

    def audited(self) -> list[tuple[str, str]]:
        """Return action and detail of the audit trail."""
        with self.store.ledger.read() as tx:
            return [(row.action, row.detail) for row in tx.execute(select(audit).order_by(audit.c.id))]


def configuration(folder: Path) -> Path:
    """Write the configuration of a service with two destinations outside this machine."""
    path = folder / "egfr-dls.toml"
    tables = "".join(
        f'[[destinations]]\nname = "{name}"\nae_title = "PACS"\nhost = "192.0.2.1"\nport = 104\n'
        for name in DESTINATIONS
    )
    path.write_text(f"[storage]\nroot = {json.dumps(str(folder / 'root'))}\n{tables}", encoding="utf-8")
    settings.load(path)
    return path
