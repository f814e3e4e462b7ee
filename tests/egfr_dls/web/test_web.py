"""Health and metrics over HTTP, from a real ledger and spool."""

from __future__ import annotations

import http.client
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import insert
from structlog.testing import capture_logs

from egfr_dls import settings as configuration
from egfr_dls.errors import ConfigurationError, TemporaryFailureError
from egfr_dls.ledger.schema import association, destination, job
from egfr_dls.ledger.studies import ensure
from egfr_dls.settings import Settings
from egfr_dls.spool import AssociationEnded
from egfr_dls.store import Store, open_store
from egfr_dls.web import stage
from egfr_dls.web.metrics import StateCollector
from egfr_dls.web.probes import readiness
from tests.conftest import REPOSITORY

LIMIT_SECONDS = 20


def settings(root: Path, **http: Any) -> Settings:
    return configuration.load(None, {"storage": {"root": root, "min_free_bytes": 0}, "http": {"port": 0, **http}})


@contextmanager
def serving(loaded: Settings) -> Iterator[int]:
    stop, heard = threading.Event(), []
    with capture_logs() as events:
        thread = threading.Thread(target=stage.main, args=(loaded, "web-1", stop))
        thread.start()
        try:
            while not (heard := [e for e in events if e["event"] == "serving"]):
                assert thread.is_alive()
                time.sleep(0.01)
            yield heard[0]["port"]
        finally:
            stop.set()
            thread.join(LIMIT_SECONDS)
            assert not thread.is_alive()


def get(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT_SECONDS)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def fill(store: Store) -> None:
    with store.ledger.begin() as tx:
        ensure(tx, "1.2.3", store.site_key, 1.0)
        for number, state in enumerate(("ready", "ready", "dead")):
            tx.execute(
                insert(job).values(
                    kind="infer", dedup=str(number), study_instance_uid="1.2.3", state=state, run_at=1.0,
                    created_at=1.0, payload="{}",
                )
            )  # fmt: skip
        tx.execute(insert(destination).values(name="pacs", parked_reason="CALLED_AE_TITLE"))
        tx.execute(
            insert(association).values(
                association_id="a", listener="l", calling_ae_title="SCANNER", state="open", last_record_at=1.0
            )
        )
    store.spool.append(AssociationEnded("a", datetime.now(UTC), released=True))


def test_metrics_show_the_durable_state_and_no_name_of_a_peer_or_study(tmp_path: Path) -> None:
    loaded = settings(tmp_path)
    with open_store(loaded, "listener-1") as store:
        fill(store)
    with serving(loaded) as port:
        status, text = get(port, "/metrics")
    found = samples(text)
    assert status == 200
    assert found["egfr_dls_ledger_up", ()] == 1
    assert found["egfr_dls_studies", (("state", "RECEIVING"),)] == 1
    assert found["egfr_dls_jobs", (("kind", "infer"), ("state", "ready"))] == 2
    assert found["egfr_dls_jobs", (("kind", "infer"), ("state", "dead"))] == 1
    assert found["egfr_dls_queue_oldest_ready_seconds", (("kind", "infer"),)] > 1000
    assert found["egfr_dls_associations", (("state", "open"),)] == 1
    assert found["egfr_dls_destination_parked", (("destination", "pacs"),)] == 1
    assert found["egfr_dls_spool_segments", (("state", "active"),)] == 1
    assert found["egfr_dls_spool_unindexed_records", ()] == 1
    assert found["egfr_dls_spool_used_bytes", ()] > 0
    assert found["egfr_dls_spool_free_bytes", ()] > 0
    assert "SCANNER" not in text
    assert "1.2.3" not in text


def test_health(tmp_path: Path) -> None:
    with serving(settings(tmp_path)) as port:
        assert get(port, "/livez") == (200, '{"alive": true}\n')
        assert get(port, "/readyz") == (200, '{"ready": true, "failing": []}\n')
        assert get(port, "/readyz", "HEAD") == (200, "")
        assert get(port, "/studies")[0] == 404
        assert get(port, "/readyz", "POST")[0] == 405


def test_a_full_disk_is_not_ready(tmp_path: Path) -> None:
    loaded = configuration.load(
        None, {"storage": {"root": tmp_path, "min_free_bytes": 1 << 60}, "http": {"port": 0}}
    )  # fmt: skip
    with serving(loaded) as port:
        status, text = get(port, "/readyz")
    assert (status, json.loads(text)) == (503, {"ready": False, "failing": ["spool"]})


def test_a_check_that_raises_fails_by_name() -> None:
    def raises() -> bool:
        raise TemporaryFailureError("the database is locked")

    assert readiness({"ledger": raises, "spool": lambda: True}).failing == ("ledger",)


def test_while_the_ledger_cannot_be_read_only_that_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked() -> None:
        raise TemporaryFailureError("the database is locked")

    with open_store(settings(tmp_path)) as store, capture_logs() as events:
        monkeypatch.setattr(store.ledger, "read", locked)
        found = {
            s.name: s.value for metric in StateCollector(store.ledger, store.spool).collect() for s in metric.samples
        }
    assert found == {"egfr_dls_info": 1, "egfr_dls_ledger_up": 0}
    assert [event["event"] for event in events] == ["metrics_unavailable"]


def test_the_reference_has_every_metric_and_no_other(tmp_path: Path) -> None:
    page = (REPOSITORY / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    with open_store(settings(tmp_path)) as store:
        metrics = list(StateCollector(store.ledger, store.spool).collect())
    assert set(re.findall(r"^\| `(egfr_dls_\w+)`", page, re.M)) == {
        "egfr_dls_info" if metric.type == "info" else metric.name for metric in metrics
    }


def test_what_is_empty_has_no_samples(tmp_path: Path) -> None:
    with open_store(settings(tmp_path)) as store:
        found = [m for m in StateCollector(store.ledger, store.spool).collect() if m.name == "egfr_dls_deliveries"]
    assert [metric.samples for metric in found] == [[]]


def test_without_the_section_or_an_address_it_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"section \[http\] is missing"):
        stage.main(configuration.load(None, {"storage": {"root": tmp_path}}), "web-1", threading.Event())
    with pytest.raises(ConfigurationError, match=r"http\.host 192\.0\.2\.1, http\.port 0"):
        stage.main(settings(tmp_path, host="192.0.2.1"), "web-1", threading.Event())
