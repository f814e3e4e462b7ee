"""What the ledger adds to an analysis: fetched series, and earlier results of the patient."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset

from egfr_dls.findings import ModelUse, PatientFinding, PriorFinding, StudyFindings
from egfr_dls.ledger import Ledger, patients, results, retrievals, studies
from egfr_dls.ledger.retrievals import DueRetrieval, FetchedSeries
from egfr_dls.listed_report import NotFetched
from egfr_dls.refusals import Remark
from inference.earlier import MAX_EARLIER
from inference.history import History, history, with_history
from tests.builders import STUDY_UID, to_part10
from tests.egfr_dls.test_findings import SCORED
from tests.reporting.report_cases import scored

KEY = b"k" * 32
NOW = replace(SCORED, study_instance_uid="9", reference_sop_instance_uid="9.1")
OLD_MODEL = ModelUse("egfr", "1.0.0", "ab" * 32, "research", 0.5, "onnxruntime-cpu")
OLD = replace(SCORED, model=OLD_MODEL, patient=PatientFinding(0.4321, 0.25, n_slices=3))
DEMONSTRATION_NOW = replace(NOW, model=replace(OLD_MODEL, status="demonstration"))
REPORTS: dict[str, bytes] = {}  # the object store
PRIOR = PriorFinding("2025-01-31", 0.4321, 0.25, "ledger", False, "egfr 1.0.0", "ab" * 32, 0.5)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger that knows the study of today."""
    opened = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    with opened.begin() as tx:
        studies.ensure(tx, "9", KEY, 0.0)
    yield opened
    opened.close()


def header(**attributes: Any) -> Dataset:
    """Return the instance from which the report copies the patient."""
    ds = Dataset()
    ds.SOPInstanceUID, ds.PatientID, ds.IssuerOfPatientID, ds.StudyDate, ds.StudyTime = (
        "9.1",
        "4711",
        "SITE",
        "20250601",
        "1200",
    )
    ds.PatientBirthDate, ds.PatientName = "19600101", "MUSTERMANN^ERIKA"
    for keyword, value in attributes.items():
        ds.add_new(keyword, "LO", value)  # takes what is no date, too
    return ds


def known(ledger: Ledger, found: StudyFindings = NOW, **attributes: Any) -> History:
    with ledger.read() as tx:
        return history(
            tx, found, [header(SOPInstanceUID="9.2", PatientID="other"), header(**attributes)], KEY, REPORTS.__getitem__
        )


def before(ledger: Ledger, found: StudyFindings = OLD, **attributes: Any) -> None:
    """Keep a result of an earlier study, as the inference stage does."""
    keep(ledger, found.to_json(), **attributes)


def keep(ledger: Ledger, document: str, **attributes: Any) -> None:
    study = attributes.pop("study", "1")
    attributes = {"StudyDate": "20250131", **attributes}
    whose = known(ledger, **attributes).whose
    assert whose is not None
    with ledger.begin() as tx:
        studies.ensure(tx, study, KEY, 0.0)
        patients.enter(tx, study, whose)
        results.add_findings(tx, study, "pet_ct_egfr", document, document, "evidence", 0.0)


def left_out(known: History) -> list[str]:
    """Return what is said of earlier results that are not shown."""
    assert {remark.code for remark in known.left_out} <= {"PRIORS_LEFT_OUT"}
    return [remark.message for remark in known.left_out]


def test_an_earlier_result_of_the_patient_stands_in_the_findings(ledger: Ledger) -> None:
    before(ledger)
    found = with_history(NOW, known(ledger))
    assert found.priors == (PRIOR,)
    assert found.inputs_sha256 != NOW.inputs_sha256  # the report shows it: another content, another UID
    assert StudyFindings.from_json(found.to_json()) == found


@pytest.mark.parametrize(
    "attributes",
    [
        {"PatientID": "4712"},
        {"IssuerOfPatientID": "ELSEWHERE"},
        {"PatientBirthDate": "19610101"},
        {"IssuerOfPatientID": ""},
        {"StudyDate": "20250131"},  # not earlier: the same moment
        {"StudyDate": "20250131", "StudyTime": "1159"},
        {"StudyDate": "20241231"},
        {"StudyDate": "2025"},
        {"StudyDate": "2025.06.01"},
        {"StudyDate": "202506010"},
        {"StudyDate": ""},
        {"PatientID": ""},
    ],
)
def test_another_patient_or_a_date_that_does_not_follow_has_none(ledger: Ledger, attributes: dict[str, Any]) -> None:
    before(ledger)
    assert with_history(NOW, known(ledger, **attributes)) == NOW


def test_a_study_of_the_same_day_is_earlier_by_its_time(ledger: Ledger) -> None:
    before(ledger)
    found = known(ledger, StudyDate="20250131", StudyTime="1201")
    assert [prior.study_date for prior in found.priors] == ["2025-01-31"]


def test_a_study_without_patient_id_is_nobodys(ledger: Ledger) -> None:
    assert known(ledger, PatientID="").whose is None


NOBODY: dict[str, str] = {"PatientBirthDate": "", "PatientName": ""}
NO_MARK = (
    "No earlier results are shown: PatientBirthDate (0010,0030) and PatientName (0010,0010) do not tell this patient from "
    "others of the same PatientID (0010,0020). Needed: one of them."
)


def test_two_patients_of_one_id_without_a_birth_date_are_not_mixed(ledger: Ledger) -> None:
    before(ledger, PatientBirthDate="")
    assert known(ledger, PatientBirthDate="").priors == (PRIOR,)
    assert known(ledger, PatientBirthDate="", PatientName="SOMEBODY^ELSE").priors == ()
    assert known(ledger, PatientBirthDate="19600101").priors == ()  # the ledger keeps one hash


def test_who_cannot_be_told_from_others_has_no_history_and_the_reason_is_said(ledger: Ledger) -> None:
    nobody = known(ledger, **NOBODY)
    assert (nobody.whose, nobody.priors, left_out(nobody)) == (None, (), [NO_MARK])
    found = with_history(NOW, nobody)
    assert found.warnings == (*NOW.warnings, Remark("PRIORS_LEFT_OUT", NO_MARK))
    assert found.inputs_sha256 != NOW.inputs_sha256


def test_an_earlier_refusal_is_no_earlier_score(ledger: Ledger) -> None:
    before(ledger, replace(OLD, patient=PatientFinding()))
    assert (known(ledger).priors, left_out(known(ledger))) == ((), [])


def test_a_study_that_was_refused_anew_has_no_earlier_score(ledger: Ledger) -> None:
    before(ledger)
    before(ledger, replace(OLD, patient=PatientFinding()))
    assert known(ledger).priors == ()


def test_only_the_newest_revision_of_a_study_counts(ledger: Ledger) -> None:
    before(ledger)
    before(ledger, replace(OLD, patient=PatientFinding(0.5, 0.25, n_slices=3)))
    assert [prior.egfr_dls for prior in known(ledger).priors] == [0.5]


def test_a_document_of_another_version_costs_no_study(ledger: Ledger) -> None:
    """After a roll-back the ledger holds keys that this version does not know, or lacks some that it needs."""
    document = {**json.loads(OLD.to_json()), "of_a_later_version": 1}
    document["patient"]["of_a_later_version"] = 1
    keep(ledger, json.dumps(document))
    assert known(ledger).priors == (PRIOR,)


@pytest.mark.parametrize("document", ["", "[]", "{}", '{"model": {}, "patient": {"egfr_dls": 0.5}}'])
def test_a_document_that_cannot_be_read_is_left_out(ledger: Ledger, document: str) -> None:
    before(ledger)
    keep(ledger, document, study="2", StudyDate="20250201")
    found = known(ledger)
    assert found.priors == (PRIOR,)  # it costs no other
    assert left_out(found) == ["1 earlier result of the patient from ledger left out: cannot be read."]


DEMONSTRATION = replace(OLD, model=replace(OLD_MODEL, status="demonstration"))


def test_demonstrations_and_results_never_stand_together(ledger: Ledger) -> None:
    before(ledger)
    shown = known(ledger, DEMONSTRATION_NOW)
    assert shown.priors == ()
    assert left_out(shown) == [
        "1 earlier result of the patient from ledger left out: real ones never stand beside a demonstration's."
    ]
    before(ledger, DEMONSTRATION)
    assert known(ledger).priors == (PRIOR,)  # a later demonstration of the study hides it no more
    assert known(ledger, DEMONSTRATION_NOW).priors == (replace(PRIOR, demonstration=True),)


def test_a_demonstration_alone_is_left_out_and_said(ledger: Ledger) -> None:
    before(ledger, DEMONSTRATION)
    companion = replace(OLD, companion_model=replace(OLD_MODEL, status="demonstration"))
    before(ledger, companion, study="2")
    found = known(ledger)
    assert found.priors == ()
    assert left_out(found) == [
        "2 earlier results of the patient from ledger left out: of a demonstration network, which says nothing about the "
        "patient."
    ]


def test_how_a_result_was_made_is_read_back(ledger: Ledger) -> None:
    before(ledger, replace(OLD, model=replace(OLD_MODEL, preprocessing_sha256="ef" * 32)))
    assert [prior.preprocessing_sha256 for prior in known(ledger).priors] == ["ef" * 32]


def test_what_was_fetched_is_a_warning(ledger: Ledger) -> None:
    with ledger.begin() as tx:
        retrievals.ask(tx, "9", [("pacs", 1.0)], 0.0)
        due = retrievals.claim(tx, "listener-1", 0.0, 1.0)
        assert due is not None
        retrievals.conclude(
            tx, due, [FetchedSeries("9.3", "CT", "pacs", 47), FetchedSeries("9.4", "SEG", "pacs", 1)], 0
        )
    found = with_history(NOW, known(ledger))
    assert found.warnings == (
        Remark("SERIES_FETCHED", "47 instances of CT series 9.3 had not been sent and were fetched from source pacs."),
        Remark("SERIES_FETCHED", "1 instance of SEG series 9.4 had not been sent and was fetched from source pacs."),
    )
    assert found.inputs_sha256 != NOW.inputs_sha256


def fetched_report(ledger: Ledger, made: Dataset | None = None, part10: bytes = b"", source: str = "pacs") -> None:
    """Keep what a source gave for today's study: a report, or else these bytes."""
    content = part10 if made is None else to_part10(made)
    digest = hashlib.sha256(content).hexdigest()
    REPORTS[digest] = content
    with ledger.begin() as tx:
        due = DueRetrieval("9", "key", source, 1)
        retrievals.keep_reports(tx, due, {digest if made is None else str(made.SOPInstanceUID): digest}, came=True)


def report(**attributes: Any) -> Dataset:
    """Return a report of an earlier study of the patient, as PACS gives it."""
    made = deepcopy(scored().build()["report"].dataset)
    for keyword, value in {
        "PatientID": "4711",
        "IssuerOfPatientID": "SITE",
        "PatientName": "MUSTERMANN^ERIKA",
        "StudyDate": "20240229",
        **attributes,
    }.items():
        setattr(made, keyword, value)
    return made


def test_reports_from_pacs_and_own_results_are_one_time_line(ledger: Ledger) -> None:
    before(ledger)
    fetched_report(ledger, report())
    assert [(p.study_date, p.source) for p in with_history(NOW, known(ledger)).priors] == [
        ("2024-02-29", "pacs"), ("2025-01-31", "ledger"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "attributes",
    [
        {"PatientID": "4712"},
        {"PatientBirthDate": "19610101"},
        {"IssuerOfPatientID": "ELSEWHERE"},
        {"StudyDate": "20260101"},
        {"StudyDate": "20250601", "StudyTime": "1200"},
        {"PatientBirthDate": "", "PatientName": "SOMEBODY^ELSE"},
    ],
)
def test_a_report_of_another_patient_or_a_later_study_is_left_out(ledger: Ledger, attributes: dict[str, Any]) -> None:
    fetched_report(ledger, report(**attributes))
    assert (known(ledger).priors, left_out(known(ledger))) == ((), [])


def test_a_report_of_the_same_day_is_earlier_by_its_time(ledger: Ledger) -> None:
    fetched_report(ledger, report(StudyDate="20250601", StudyTime="1159"))
    assert [prior.study_date for prior in known(ledger).priors] == ["2025-06-01"]


def test_a_report_without_birth_date_is_of_the_patient_by_the_name(ledger: Ledger) -> None:
    fetched_report(ledger, report(PatientBirthDate=""))
    assert [prior.source for prior in known(ledger).priors] == ["pacs"]


def test_a_report_of_which_nothing_but_the_id_can_be_compared_is_left_out_and_said(ledger: Ledger) -> None:
    fetched_report(ledger, report(**NOBODY))
    found = known(ledger)
    assert found.priors == ()
    assert left_out(found) == [
        "1 earlier result of the patient from pacs left out: neither PatientBirthDate (0010,0030) nor PatientName (0010,0010) "
        "shows whose they are."
    ]


def of_revision(number: int) -> Dataset:
    made = report(InstanceNumber=number)
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = f"2.25.7{number}"
    return made


def test_two_revisions_of_a_study_are_one_earlier_result(ledger: Ledger) -> None:
    """Two sources, or two attempts, may give two."""
    newest = of_revision(2)
    for element in newest.iterall():
        if element.keyword == "NumericValue":
            element.value = "0.125"
    for made, source in ((newest, "archive"), (of_revision(1), "pacs")):
        fetched_report(ledger, made, source=source)
    assert [(prior.egfr_dls, prior.source) for prior in known(ledger).priors] == [(0.125, "archive")]


def test_what_cannot_be_read_or_was_not_fetched_is_said_and_costs_no_other(ledger: Ledger) -> None:
    fetched_report(ledger, report())
    fetched_report(ledger, part10=to_part10(report())[:3000])
    fetched_report(ledger, part10=NotFetched("1.2.77.1", "RETRIEVE_STATUS_A702").to_bytes())
    found = known(ledger)
    assert [prior.source for prior in found.priors] == ["pacs"]
    assert left_out(found) == [
        "1 earlier result of the patient from pacs left out: cannot be read.",
        "1 earlier result of the patient from pacs left out: not fetched (RETRIEVE_STATUS_A702).",
    ]


def test_what_came_from_another_source_or_is_in_the_ledger_was_not_missed(ledger: Ledger) -> None:
    fetched_report(ledger, report())
    fetched_report(ledger, part10=NotFetched(STUDY_UID, "RETRIEVE_STATUS_A702").to_bytes())
    before(ledger)
    fetched_report(ledger, part10=NotFetched("1", "LIMIT").to_bytes())
    assert (len(known(ledger).priors), left_out(known(ledger))) == (2, [])


@pytest.mark.parametrize(("reason", "is_said"), [("TIME_LIMIT", True), ("NOT_THERE", False)])
def test_a_source_that_failed_may_have_more(ledger: Ledger, reason: str, is_said: bool) -> None:
    with ledger.begin() as tx:
        retrievals.ask(tx, "9", [("pacs", 1.0), ("archive", 1.0)], 0.0)
        due = retrievals.claim(tx, "listener-1", 0.0, 1.0)
        assert due is not None
        retrievals.put_off(tx, due, reason, [], 0.0, again=False)
    expected = [f"Earlier results of the patient may be missing: source pacs answered {reason}."] if is_said else []
    assert left_out(known(ledger)) == expected


def test_the_limit_is_of_what_is_shown_not_of_what_is_there(ledger: Ledger) -> None:
    for number in range(MAX_EARLIER + 1):
        before(ledger, study=f"1.{number}", StudyDate=f"202401{number + 1:02d}")
        before(ledger, DEMONSTRATION, study=f"2.{number}", StudyDate=f"202501{number + 1:02d}")
    found = known(ledger)
    assert len(found.priors) == MAX_EARLIER
    assert left_out(found)[1] == "1 earlier result of the patient from ledger left out: only the newest 20 are shown."


def test_of_a_study_that_the_ledger_knows_the_ledger_counts(ledger: Ledger) -> None:
    whose = known(ledger, StudyDate="20240229").whose
    assert whose is not None
    with ledger.begin() as tx:
        studies.ensure(tx, STUDY_UID, KEY, 0.0)
        patients.enter(tx, STUDY_UID, whose)
        results.add_findings(tx, STUDY_UID, "pet_ct_egfr", "x", OLD.to_json(), "evidence", 0.0)
    fetched_report(ledger, report())
    assert [p.source for p in known(ledger).priors] == ["ledger"]
