"""Health and metrics of the running service."""

from __future__ import annotations

from pathlib import Path
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from egfr_dls.study import StudyState
from tests.system.pacs import running_pacs
from tests.system.scanner import send_whole
from tests.system.service import free_port, running_service, service_sections
from tests.system.study_data import small_study, study_uid

pytestmark = pytest.mark.system


def scraped(port: int) -> dict[tuple[str, ...], float]:
    """Return each sample by its name and the values of its labels."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def test_a_study_is_seen_in_the_metrics(tmp_path: Path, tiny_models: Path) -> None:
    port, study = free_port(), small_study(1)
    with running_pacs() as pacs:
        sections = service_sections(tmp_path, tiny_models, pacs.port, http={"port": port})
        with running_service(tmp_path, sections) as service:
            service.wait_for_event("serving", port=port)
            with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=20) as answer:
                assert answer.status == 200
            assert scraped(port)["egfr_dls_instances",] == 0
            send_whole(service.port, study)
            service.wait_for_state(study_uid(1), StudyState.DELIVERED)
            found = scraped(port)
    assert found["egfr_dls_instances",] == len(study)
    assert found["egfr_dls_studies", "DELIVERED"] == 1
    assert found["egfr_dls_jobs", "infer", "done"] == 1
    assert found["egfr_dls_deliveries", "pacs1", "stored"] == len(pacs.of_study(study_uid(1)))
    assert found["egfr_dls_spool_unindexed_records",] == 0
