"""`egfr-dls studies withdraw`, `confirm` and `replay`: what each does to a result, and when it is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from egfr_dls import settings, stages
from egfr_dls.errors import ExitCode
from egfr_dls.findings import PatientFinding, StudyFindings
from egfr_dls.ledger import completion, confirmations, retention, studies
from egfr_dls.ledger.schema import delivery
from egfr_dls.refusals import Remark
from egfr_dls.store import open_store
from egfr_dls.study import RoiSource, StudyState
from tests.egfr_dls.steering import NOW, PROPOSALS, PROPOSED, STUDY, Node, configuration
from tests.egfr_dls.test_cli import end

REFUSED = replace(PROPOSALS, lesions=(), refusal=Remark("NO_ROI", "no lesion"), status="refused")
DRAWN = replace(PROPOSALS, lesions=(replace(PROPOSED, roi_source=RoiSource.STORED_SEG, confirmed=True),))


@pytest.fixture
def node(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    """A store with one study that has no result yet; the commands are run by "operator"."""
    monkeypatch.setattr("getpass.getuser", lambda: "operator")
    config = configuration(tmp_path)
    loaded = settings.load(config)
    with open_store(loaded) as store:
        with store.ledger.begin() as tx:
            studies.ensure(tx, STUDY, store.site_key, NOW)
        yield Node(loaded, store, lambda *a: end(["studies", *a, "--config", str(config)], capsys))


def refused(node: Node, *arguments: str) -> str:
    """Run a command that is refused; return the code of the reason, which both forms of output tell."""
    code, out, err = node.run(*arguments)
    assert (code, out) == (ExitCode.REFUSED, "")
    refusal = node.document(*arguments, code=ExitCode.REFUSED)["refusal"]
    assert refusal["message"] in err
    return str(refusal["code"])


# withdraw


def test_withdraw_cancels_what_waits_and_orders_the_note(node: Node) -> None:
    node.result()
    node.stored("pacs")
    done = node.document(
        "withdraw", STUDY, "--reason", "The region lies\non the heart.", "--by", "Rita", "--title", "safety"
    )
    assert done["schema"] == "egfr-dls-study-action/1"
    assert (done["action"], done["revision"], done["destinations"], done["refusal"]) == ("withdraw", 1, ["pacs"], None)
    assert node.states("pacs") == ["stored", "stored"]
    assert node.states("second") == ["withdrawn", "withdrawn"]
    assert node.jobs() == [("report", {"withdrawal_id": 1})]
    shown = node.show()
    assert shown["withdrawal"] == {
        "at": done["withdrawn_at"],
        "by": "Rita",
        "title": "safety",
        "reason": "The region lies on the heart.",
    }
    assert shown["state"] == "DELIVERED", "nothing more of it is awaited"
    assert node.audited() == [("withdraw", done["done"])]
    assert "WITHDRAWN" in node.run("show", STUDY)[1]
    assert "withdrawn" in node.run("list")[1]


def test_withdrawn_twice_is_withdrawn_once(node: Node) -> None:
    node.result()
    node.stored()
    first = node.document("withdraw", STUDY, "--by", "Rita")
    again = node.document("withdraw", STUDY, "--by", "Somebody")
    assert "already" in again["done"]
    assert (again["withdrawn_at"], again["destinations"]) == (first["withdrawn_at"], ["pacs"])
    assert len(node.jobs()) == 1
    assert node.show()["withdrawal"]["by"] == "Rita"


def test_a_withdrawn_result_is_waited_for_by_nobody(node: Node) -> None:
    """Forced or analysed to the same again, the study is over at once: retention may give it up."""
    node.result()
    node.document("withdraw", STUDY)
    with node.store.ledger.begin() as tx:
        studies.move(tx, STUDY, StudyState.COMPLETE, NOW)
        completion.return_to_result(tx, STUDY, "pet_ct_egfr", node.settings, NOW)
    assert node.show()["state"] == "DELIVERED"


def test_where_nothing_was_sent_there_is_no_note(node: Node) -> None:
    node.result()
    assert "no note" in node.document("withdraw", STUDY)["done"]
    assert node.jobs() == []
    assert node.show()["withdrawal"]["by"] == "operator"
    assert node.run("retry", STUDY)[0] == 0
    assert set(node.states()) == {"withdrawn"}


def test_a_held_study_says_when_its_note_goes(node: Node) -> None:
    node.result()
    node.stored()
    node.run("hold", STUDY)
    assert "after `studies release`" in node.run("withdraw", STUDY, "--yes")[1]


def test_a_refusal_can_be_withdrawn_too(node: Node) -> None:
    node.result(REFUSED)
    assert node.run("withdraw", STUDY)[0] == 0
    assert node.show()["state"] == "DELIVERED"


def test_a_study_without_a_result_has_nothing_to_withdraw_confirm_or_send(node: Node) -> None:
    for command in (("withdraw", STUDY), ("confirm", STUDY), ("replay", STUDY), ("replay", STUDY, "--to", "pacs")):
        assert refused(node, *command) == "NO_RESULT"
    assert node.audited() == []


@pytest.mark.parametrize(
    "arguments", [("--reason", " . "), ("--by", "^"), ("--title", "retention")], ids=["reason", "by", "title"]
)
def test_a_note_needs_words_and_a_person(node: Node, arguments: tuple[str, str]) -> None:
    node.result()
    assert node.run("withdraw", STUDY, *arguments)[0] == ExitCode.USAGE
    assert node.show()["withdrawal"] is None


@pytest.mark.parametrize(("answer", "code"), [("y", ExitCode.DONE), ("n", ExitCode.REFUSED)])
def test_on_a_terminal_it_asks_first(node: Node, monkeypatch: pytest.MonkeyPatch, answer: str, code: ExitCode) -> None:
    node.result()
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _prompt="": answer)
    assert node.run("withdraw", STUDY)[0] == code
    assert (node.show()["withdrawal"] is not None) == (code is ExitCode.DONE)


def test_yes_asks_nothing(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.result()
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    assert node.run("withdraw", STUDY, "--yes")[0] == 0


# confirm


def test_confirm_orders_the_next_revision_with_the_proposals_confirmed(node: Node) -> None:
    node.result(state=StudyState.DELIVERED)
    done = node.document("confirm", STUDY, "--by", "Rita")
    assert (done["revision"], done["lesions"]) == (1, ["Lesion 1", "Lesion 2"])
    assert node.jobs() == [("infer", {"biomarker": "pet_ct_egfr", "forced": None, "unless_withdrawn": 1})]
    assert node.show()["state"] == "COMPLETE"
    with node.store.ledger.read() as tx:
        assert [(c.tracking_uid, c.by) for c in confirmations.of_study(tx, STUDY)] == [
            ("2.25.1", "Rita"),
            ("2.25.2", "Rita"),
        ]
    assert node.audited() == [("confirm", "Lesion 1, Lesion 2 confirmed by Rita; revision 2 follows")]


def test_a_withdrawal_takes_a_confirmation_back_that_nothing_reported_yet(node: Node) -> None:
    """Else the rejected score would come back, confirmed, behind the rejection note."""
    node.result(state=StudyState.DELIVERED)
    node.document("confirm", STUDY, "--by", "Rita")
    node.document("withdraw", STUDY, "--by", "Rita")
    with node.store.ledger.read() as tx:
        assert confirmations.of_study(tx, STUDY) == ()


def test_a_name_of_which_the_note_could_keep_nothing_withdraws_nothing(node: Node) -> None:
    """The first 64 letters are kept, and a Person Name (PS3.5 6.2) keeps no delimiter."""
    node.result(state=StudyState.DELIVERED)
    assert node.run("withdraw", STUDY, "--by", "=" * 64 + "Rita")[0] == 2
    assert node.show()["withdrawal"] is None


def test_one_lesion_at_a_time(node: Node) -> None:
    node.result()
    assert node.document("confirm", STUDY, "--lesion", "2", "--revision", "1")["lesions"] == ["Lesion 2"]
    half = replace(PROPOSED, label="Lesion 2", tracking_uid="2.25.2", confirmed=True, roi_confirmed_by="operator")
    node.result(replace(PROPOSALS, lesions=(PROPOSED, half)))
    assert "confirmed already by operator" in node.document("confirm", STUDY, "--lesion", "2")["done"]
    assert "Lesion 1 confirmed" in node.document("confirm", STUDY)["done"]
    assert len(node.jobs()) == 2


@pytest.mark.parametrize(
    ("found", "arguments", "code"),
    [
        (REFUSED, (), "NO_PROPOSAL"),
        (DRAWN, (), "NO_PROPOSAL"),
        (DRAWN, ("--lesion", "1"), "NO_PROPOSAL"),
        (PROPOSALS, ("--revision", "2"), "CHANGED"),
    ],
    ids=["not scored", "drawn", "drawn, by number", "another revision"],
)
def test_there_has_to_be_a_proposal_that_was_looked_at(
    node: Node, found: StudyFindings, arguments: tuple[str, ...], code: str
) -> None:
    node.result(found)
    assert refused(node, "confirm", STUDY, *arguments) == code
    assert node.jobs() == []


def test_a_lesion_that_is_not_there_is_a_wrong_command_line(node: Node) -> None:
    node.result()
    code, _, err = node.run("confirm", STUDY, "--lesion", "3")
    assert (code, "it has" in err or "Lesion 1, Lesion 2" in err) == (ExitCode.USAGE, True)


@pytest.mark.parametrize("state", [StudyState.RECEIVING, StudyState.COMPLETE, StudyState.FAILED])
def test_a_study_that_changes_is_looked_at_again_first(node: Node, state: StudyState) -> None:
    node.result(state=state)
    assert refused(node, "confirm", STUDY) == "CHANGED"


def test_what_was_confirmed_and_found_otherwise_is_not_promised_again(node: Node) -> None:
    node.result()
    assert node.run("confirm", STUDY)[0] == 0
    with node.store.ledger.begin() as tx:
        studies.move(tx, STUDY, StudyState.SCORED, NOW)  # and no region of the new analysis is the confirmed one
    assert refused(node, "confirm", STUDY) == "CHANGED"


def test_without_pixels_nothing_is_confirmed_or_computed_again(node: Node) -> None:
    node.result(state=StudyState.DELIVERED)
    with node.store.ledger.begin() as tx:
        retention.release(tx, STUDY, NOW)
    assert refused(node, "confirm", STUDY) == "RELEASED"
    assert refused(node, "replay", STUDY) == "RELEASED"
    with node.store.ledger.read() as tx:
        assert confirmations.of_study(tx, STUDY) == ()


def test_a_withdrawn_result_is_neither_confirmed_nor_sent_again(node: Node) -> None:
    node.result()
    node.stored()
    node.run("withdraw", STUDY)
    assert refused(node, "confirm", STUDY) == "WITHDRAWN"
    assert refused(node, "replay", STUDY, "--to", "pacs") == "WITHDRAWN"
    assert node.states() == ["stored", "stored"]


# replay


def test_replay_to_queues_what_was_there_once(node: Node) -> None:
    node.result()
    node.stored("pacs")
    node.stored("second")
    done = node.document("replay", STUDY, "--to", "pacs")
    assert (done["revision"], done["queued"], done["waiting"]) == (1, 2, 0)
    assert (node.states("pacs"), node.states("second")) == (["queued", "queued"], ["stored", "stored"])
    again = node.document("replay", STUDY, "--to", "pacs")
    assert (again["queued"], again["waiting"]) == (0, 2)
    assert node.jobs() == [], "nothing is built anew"
    assert [action for action, _ in node.audited()] == ["replay", "replay"]


def test_only_the_present_revision_goes_again(node: Node) -> None:
    node.result()
    node.stored()
    node.result(replace(PROPOSALS, inputs_sha256="other"))
    node.stored()
    node.run("replay", STUDY, "--to", "pacs")
    assert node.states() == ["stored", "stored", "queued", "queued"]


def test_what_never_arrived_is_not_replayed(node: Node) -> None:
    node.result()
    with node.store.ledger.begin() as tx:
        tx.execute(delivery.update().values(state="parked"))
    assert refused(node, "replay", STUDY, "--to", "pacs") == "NEVER_THERE"
    assert "studies retry" in node.run("replay", STUDY, "--to", "pacs")[2]


@pytest.mark.parametrize("damage", [lambda p: p.unlink(), lambda p: p.write_bytes(b"x")], ids=["gone", "changed"])
def test_bytes_that_are_not_as_they_were_are_not_sent(node: Node, damage: object) -> None:
    node.result()
    node.stored()
    for path in (node.settings.storage.root / "objects").iterdir():
        damage(path)  # type: ignore[operator]  # a lambda of the table
    assert refused(node, "replay", STUDY, "--to", "pacs") == "OBJECTS_GONE"
    assert node.states() == ["stored", "stored"]


def test_an_unknown_destination_is_a_wrong_command_line(node: Node) -> None:
    node.result()
    code, _, err = node.run("replay", STUDY, "--to", "archive")
    assert (code, "there are pacs, second" in err) == (ExitCode.USAGE, True)


@pytest.mark.parametrize(
    ("again", "code", "said"),
    [
        (PROPOSALS, ExitCode.DONE, "same"),
        (replace(PROPOSALS, product_version="9"), ExitCode.DONE, "same (version changed)"),
        (replace(PROPOSALS, patient=PatientFinding(0.5, 0.25)), ExitCode.REFUSED, "differs by "),
        (REFUSED, ExitCode.REFUSED, "differs: scored then, NO_ROI now"),
    ],
    ids=["same", "another version", "another score", "refused now"],
)
def test_replay_says_whether_the_score_is_the_same(
    node: Node, monkeypatch: pytest.MonkeyPatch, again: StudyFindings, code: ExitCode, said: str
) -> None:
    monkeypatch.setattr(stages, "findings_again", lambda *_: again)
    node.result(replace(PROPOSALS, patient=PatientFinding(0.75, 0.25)) if code and again is not REFUSED else PROPOSALS)
    ended, out, err = node.run("replay", STUDY)
    assert ended == code
    assert said in out + err
    document = node.document("replay", STUDY, code=code)
    assert document["same"] is (code is ExitCode.DONE)
    assert (document["refusal"] is None) == (code is ExitCode.DONE)
    assert said in node.audited()[-1][1]
