"""`egfr-dls studies`: what an operator sees, and what each action does to jobs, deliveries and the study's state."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from egfr_dls import settings
from egfr_dls.delivery import DEMONSTRATION
from egfr_dls.ledger import deliveries, destinations, jobs, results, retention, studies
from egfr_dls.ledger.jobs import Job
from egfr_dls.ledger.results import BuiltObject
from egfr_dls.ledger.schema import audit, delivery, job
from egfr_dls.refusals import Remark
from egfr_dls.spool import AssociationEnded
from egfr_dls.store import Store, open_store
from egfr_dls.study import ReceivedInstance, StudyState
from tests.egfr_dls.test_cli import end
from tests.egfr_dls.test_findings import SCORED

STUDY, NOW = "1.2.3", 1_700_000_000.0
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A service with one destination outside this machine."""
    path = tmp_path / "egfr-dls.toml"
    path.write_text(
        f'[storage]\nroot = {json.dumps(str(tmp_path / "root"))}\n[[destinations]]\nname = "pacs"\nae_title = "PACS"\n'
        'host = "192.0.2.1"\nport = 104\n',
        encoding="utf-8",
    )
    return path


@pytest.fixture
def store(config: Path) -> Iterator[Store]:
    """Its store, with one study that is complete."""
    with open_store(settings.load(config)) as opened:
        with opened.ledger.begin() as tx:
            studies.ensure(tx, STUDY, opened.site_key, NOW)
            studies.move(tx, STUDY, StudyState.COMPLETE, NOW)
        yield opened


@pytest.fixture
def run(config: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `egfr-dls studies ... --config FILE`."""
    return lambda *arguments: end(["studies", *arguments, "--config", str(config)], capsys)


def bury(store: Store, kind: str) -> None:
    """Make a job of this kind that ended as dead, and the study FAILED."""
    with store.ledger.begin() as tx:
        jobs.enqueue(tx, kind, f"dedup-{kind}", STUDY, {}, NOW)
        dead: Job | None = jobs.claim(tx, kind, "w", NOW)
        assert dead is not None
        jobs.bury(tx, dead, "ValueError")
        studies.move(tx, STUDY, StudyState.FAILED, NOW, failure="ValueError")


def score(store: Store, *, refusal: Remark | None = None, parked: str = "") -> None:
    """Enter findings, one built report and its delivery."""
    found = replace(SCORED, refusal=refusal, status="refused" if refusal else "scored")
    state = StudyState.REFUSED if refusal else StudyState.SCORED
    with store.ledger.begin() as tx:
        findings = results.add_findings(tx, STUDY, "pet_ct_egfr", "d", found.to_json(), "e", NOW)
        assert findings is not None
        report = BuiltObject("1.9", "1.8", "1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.1.2.1", "report", "ab", NOW)
        results.add_objects(tx, findings, STUDY, [report])
        deliveries.queue(tx, ["1.9"], "pacs", NOW, parked_reason=parked)
        studies.move(tx, STUDY, state, NOW, refusal_code=refusal.code if refusal else None)


def state(store: Store) -> StudyState:
    """Return where the study stands."""
    with store.ledger.read() as tx:
        return studies.state(tx, STUDY)


def document(run: Run) -> dict[str, Any]:
    """Return what `show --json` prints."""
    code, out, _ = run("show", STUDY, "--json")
    assert code == 0
    found: dict[str, Any] = json.loads(out)
    return found


# what it shows


def test_list_shows_each_study_by_key_and_filters_by_state(store: Store, run: Run) -> None:
    code, out, _ = run("list", "--json")
    listed = json.loads(out)
    assert (code, listed["schema"], len(listed["studies"])) == (0, "egfr-dls-studies/1", 1)
    assert listed["studies"][0]["study_instance_uid"] == STUDY
    assert json.loads(run("list", "--state", "complete", "--json")[1])["studies"] == listed["studies"]
    assert json.loads(run("list", "--state", "FAILED", "--json")[1])["studies"] == []
    assert listed["studies"][0]["study_key"] in run("list")[1]
    assert run("list", "--instances") == (0, "", "")


def test_show_tells_everything_by_uid_or_key(store: Store, run: Run) -> None:
    score(store, refusal=Remark("NO_ROI", "no lesion"))
    shown = document(run)
    assert (shown["schema"], shown["state"], shown["refusal_code"]) == ("egfr-dls-study/1", "REFUSED", "NO_ROI")
    assert shown["findings"]["refusal"] == {"code": "NO_ROI", "message": "no lesion"}
    assert [(d["kind"], d["destination"], d["state"]) for d in shown["deliveries"]] == [("report", "pacs", "queued")]
    by_key = run("show", shown["study_key"], "--json")[1]
    assert json.loads(by_key) == shown
    assert "not scored: NO_ROI: no lesion" in run("show", STUDY)[1]


def test_show_tells_what_was_said_since_the_result_which_stands(store: Store, run: Run) -> None:
    score(store)
    assert document(run)["notice"] is None
    late = replace(SCORED, refusal=Remark("ROI_TOO_LATE", "came after"), status="refused")
    with store.ledger.begin() as tx:
        results.add_findings(tx, STUDY, "pet_ct_egfr", "notice", late.to_json(), "e", NOW, notice=True)
    shown = document(run)
    assert shown["notice"] == {"code": "ROI_TOO_LATE", "message": "came after"}
    assert (shown["revision"], shown["findings"]["refusal"]) == (1, None)
    assert "since then: ROI_TOO_LATE: came after" in run("show", STUDY)[1]


def test_unknown_study_is_a_wrong_command_line(store: Store, run: Run) -> None:
    for action in ("show", "retry", "hold", "release", "force"):
        code, _, err = run(action, "9.9.9")
        assert (code, "no study 9.9.9" in err) == (2, True)


# what it does


def test_priority_is_shown_and_audited(store: Store, run: Run) -> None:
    assert document(run)["priority"] == "routine"
    assert run("priority", STUDY, "stat")[0] == 0
    assert document(run)["priority"] == "stat"
    assert run("priority", STUDY, "soon")[0] == 2
    with store.ledger.read() as tx:
        assert [(row.action, row.detail) for row in tx.execute(select(audit))] == [("priority", "stat")]


def test_hold_and_release(store: Store, run: Run) -> None:
    run("hold", STUDY)
    assert document(run)["held"]
    run("release", STUDY)
    assert not document(run)["held"]


def test_retry_of_a_failed_inference_infers_again(store: Store, run: Run) -> None:
    bury(store, "infer")
    code, out, _ = run("retry", STUDY)
    assert (code, "1 jobs and 0 deliveries" in out) == (0, True)
    assert state(store) is StudyState.COMPLETE
    with store.ledger.begin() as tx:
        assert jobs.claim(tx, "infer", "w", NOW + 1e9)


@pytest.mark.parametrize("refusal", [None, Remark("NO_ROI", "no lesion")])
def test_retry_of_a_failed_report_leads_back_to_the_findings(store: Store, run: Run, refusal: Remark | None) -> None:
    """Otherwise the study would stay COMPLETE for ever, its report delivered."""
    score(store, refusal=refusal)
    bury(store, "report")
    run("retry", STUDY)
    assert state(store) is (StudyState.REFUSED if refusal else StudyState.SCORED)
    assert document(run)["refusal_code"] == (refusal.code if refusal else None)
    with store.ledger.begin() as tx:
        assert studies.move(tx, STUDY, StudyState.DELIVERED, NOW)


def test_retry_of_nothing_changes_nothing(store: Store, run: Run) -> None:
    score(store)
    with store.ledger.begin() as tx:
        studies.move(tx, STUDY, StudyState.COMPLETE, NOW)  # the next revision is on its way
        jobs.enqueue(tx, "infer", "next", STUDY, {}, NOW)
    run("retry", STUDY)
    assert state(store) is StudyState.COMPLETE


def test_retry_queues_parked_and_dead_deliveries_and_opens_the_destination(store: Store, run: Run) -> None:
    score(store, parked="NOT_AUTHORISED")
    with store.ledger.begin() as tx:
        destinations.claim(tx, "pacs", "w", NOW, 1.0)
        destinations.park(tx, "pacs", "CALLED_AE_TITLE_NOT_RECOGNISED")
    assert "1 deliveries" in run("retry", STUDY)[1]
    with store.ledger.begin() as tx:
        assert destinations.claim(tx, "pacs", "w", NOW, 1.0) == ""
        assert tx.scalar(select(delivery.c.state)) == "queued"


def park(store: Store) -> None:
    """Park the destination; what waits there stays queued."""
    with store.ledger.begin() as tx:
        destinations.claim(tx, "pacs", "w", NOW, 1.0)
        destinations.park(tx, "pacs", "CALLED_AE_TITLE_NOT_RECOGNISED")


def test_a_parked_destination_is_seen(store: Store, run: Run) -> None:
    score(store)
    assert json.loads(run("list", "--json")[1])["destinations"] == []
    park(store)
    parked = [{"name": "pacs", "parked_reason": "CALLED_AE_TITLE_NOT_RECOGNISED"}]
    assert json.loads(run("list", "--json")[1])["destinations"] == parked
    assert document(run)["destinations"] == parked
    for command in (("list",), ("show", STUDY)):
        assert "destination pacs is parked: CALLED_AE_TITLE_NOT_RECOGNISED" in run(*command)[1]
    run("retry", "--all")
    assert document(run)["destinations"] == [{"name": "pacs", "parked_reason": None}]
    assert "is parked" not in run("list")[1]


def test_retry_of_all_takes_what_is_stuck_and_nothing_else(store: Store, run: Run) -> None:
    score(store)
    assert run("retry", "--all")[1] == "0 studies retried\n"
    park(store)  # its one delivery is queued, not parked
    assert "1 studies retried" in run("retry", "--all")[1]
    bury(store, "infer")
    assert "1 jobs and 0 deliveries queued again\n1 studies retried" in run("retry", "--all")[1]
    assert run("retry", "--all")[1] == "0 studies retried\n"


def test_retry_takes_a_study_or_all(store: Store, run: Run) -> None:
    assert run("retry")[0] == run("retry", STUDY, "--all")[0] == 2


def test_release_begins_the_day_to_give_up_after_anew(store: Store, run: Run) -> None:
    score(store)
    with store.ledger.begin() as tx:
        deliveries.note_try(tx, "1.9", "pacs", NOW, "UNREACHABLE")
    run("hold", STUDY)
    run("release", STUDY)
    with store.ledger.read() as tx:
        assert tx.scalar(select(delivery.c.first_try_at)) is None


def test_retry_frees_a_demonstration_only_where_the_site_allows_it(
    store: Store, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    score(store, parked=DEMONSTRATION)
    assert "0 deliveries" in run("retry", STUDY)[1]
    assert document(run)["deliveries"][0]["state"] == "parked"
    monkeypatch.setenv("EGFR_DLS_INFERENCE__ALLOW_DEMONSTRATION_MODELS", "true")
    assert "1 deliveries" in run("retry", STUDY)[1]
    assert document(run)["deliveries"][0]["state"] == "queued"


def test_force_completes_with_what_is_there(store: Store, run: Run) -> None:
    with store.ledger.begin() as tx:
        studies.move(tx, STUDY, StudyState.RECEIVING, NOW)
    assert "queued for pet_ct_egfr" in run("force", STUDY)[1]
    with store.ledger.read() as tx:
        forced = tx.execute(select(job)).one()
    assert (forced.kind, json.loads(forced.payload)) == ("infer", {"biomarker": "pet_ct_egfr", "forced": "score"})
    code, _, err = run("force", STUDY, "--biomarker", "x")
    assert (code, "no biomarker x" in err) == (2, True)


def test_every_action_is_audited_with_who_did_it(store: Store, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "operator")
    for action in ("hold", "release", "retry", "force"):
        assert run(action, STUDY)[0] == 0
    with store.ledger.read() as tx:
        rows = tx.execute(select(audit.c.actor, audit.c.action, audit.c.study_instance_uid).order_by(audit.c.id)).all()
    assert [tuple(r) for r in rows] == [("operator", a, STUDY) for a in ("hold", "release", "retry", "force")]


@pytest.mark.usefixtures("store")
def test_list_says_how_the_spool_stands(run: Run, config: Path) -> None:
    spool = json.loads(run("list", "--json")[1])["spool"]
    assert (spool["ready"], spool["active"], spool["sealed"], spool["bytes_used"], spool["unindexed"]) == (
        0,
        0,
        0,
        0,
        0,
    )
    assert spool["oldest_unindexed_seconds"] is None
    received(config)
    spool = json.loads(run("list", "--json")[1])["spool"]
    assert (spool["active"], spool["unindexed"]) == (1, 2)
    assert spool["oldest_unindexed_seconds"] > 0
    assert spool["bytes_used"] > 0 < spool["free_bytes"]
    assert "1 active" in run("list")[1]
    assert "2 records wait to be indexed" in run("list")[1]


def received(config: Path) -> None:
    """Append what a listener has received and not indexed."""
    with open_store(settings.load(config), "listener-1") as store:
        entry = ReceivedInstance(
            "1.2.840.10008.5.1.4.1.1.2", "1.2.3.1", STUDY, "1.2.3.2", "CT", "1.2.840.10008.1.2.1", "SCANNER", "EGFR_DLS",
            "127.0.0.1", "a", datetime(2026, 1, 2, tzinfo=UTC),
        )  # fmt: skip
        store.spool.append(entry, [b"bytes"])
        store.spool.append(AssociationEnded("a", datetime(2026, 1, 2, tzinfo=UTC), released=True))


@pytest.mark.parametrize("action", ["force", "retry"])
def test_a_study_whose_instances_were_given_up_has_to_be_sent_again(run: Run, store: Store, action: str) -> None:
    with store.ledger.begin() as tx:
        retention.release(tx, STUDY, NOW)
    code, _out, err = run(action, STUDY)
    assert code == 3
    assert "send the study again" in err
    assert "given up by retention" in run("show", STUDY)[1]
    assert json.loads(run("show", STUDY, "--json")[1])["released_at"].startswith("2023-11-14")
    assert "released" in run("list")[1]
