"""What the ledger adds to an analysis: fetched series, and earlier results of the patient."""

from __future__ import annotations

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
from egfr_dls.refusals import Remark
from inference.history import History, history, with_history
from tests.builders import STUDY_UID, to_part10
from tests.egfr_dls.test_findings import SCORED
from tests.reporting.report_cases import scored

KEY = b"k" * 32
NOW = replace(SCORED, study_instance_uid="9", reference_sop_instance_uid="9.1")
OLD_MODEL = ModelUse("egfr", "1.0.0", "ab" * 32, "research", 0.5, "onnxruntime-cpu")
OLD = replace(SCORED, model=OLD_MODEL, patient=PatientFinding(0.4321, 0.25, n_slices=3))
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
    ds.PatientBirthDate = "19600101"
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
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
    attributes = {"StudyDate": "20250131", **attributes}
    whose = known(ledger, **attributes).whose
    assert whose is not None
    with ledger.begin() as tx:
        studies.ensure(tx, "1", KEY, 0.0)
        patients.enter(tx, "1", whose)
        results.add_findings(tx, "1", "pet_ct_egfr", "x", document, "evidence", 0.0)


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
        {"StudyDate": "20250131"},  # not earlier
        {"StudyDate": "20241231"},
        {"StudyDate": ""},
        {"PatientID": ""},
    ],
)
def test_another_patient_or_a_date_that_does_not_follow_has_none(ledger: Ledger, attributes: dict[str, Any]) -> None:
    before(ledger)
    assert with_history(NOW, known(ledger, **attributes)) == NOW


def test_a_study_without_patient_id_is_nobodys(ledger: Ledger) -> None:
    assert known(ledger, PatientID="").whose is None


def test_an_earlier_refusal_is_no_earlier_score(ledger: Ledger) -> None:
    before(ledger, replace(OLD, patient=PatientFinding()))
    assert known(ledger).priors == ()


def test_a_document_of_another_version_costs_no_study(ledger: Ledger) -> None:
    """After a roll-back the ledger holds keys that this version does not know, or lacks some that it needs."""
    document = {**json.loads(OLD.to_json()), "of_a_later_version": 1}
    document["patient"]["of_a_later_version"] = 1
    keep(ledger, json.dumps(document))
    assert known(ledger).priors == (PRIOR,)


@pytest.mark.parametrize("document", ["", "[]", "{}", '{"model": {}, "patient": {"egfr_dls": 0.5}}'])
def test_a_document_that_cannot_be_read_is_left_out(ledger: Ledger, document: str) -> None:
    keep(ledger, document)
    assert known(ledger).priors == ()


def test_demonstrations_and_results_never_stand_together(ledger: Ledger) -> None:
    before(ledger)
    assert NOW.model is not None
    demonstration = replace(NOW, model=replace(NOW.model, status="demonstration"))
    assert with_history(demonstration, known(ledger)).priors == ()
    shown = History(priors=(replace(PRIOR, demonstration=True),))
    assert with_history(demonstration, shown).priors == shown.priors
    assert with_history(NOW, shown).priors == ()


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


def fetched_report(ledger: Ledger, made: Dataset) -> None:
    """Keep a report that a source gave for today's study."""
    REPORTS[made.SOPInstanceUID] = to_part10(made)
    with ledger.begin() as tx:
        due = DueRetrieval("9", "key", "pacs", 1)
        retrievals.keep_reports(tx, due, {str(made.SOPInstanceUID): str(made.SOPInstanceUID)})


def report(**attributes: Any) -> Dataset:
    """Return a report of an earlier study of the patient, as PACS gives it."""
    made = deepcopy(scored().build()["report"].dataset)
    for keyword, value in {
        "PatientID": "4711",
        "IssuerOfPatientID": "SITE",
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
    ],
)
def test_a_report_of_another_patient_or_a_later_study_is_left_out(ledger: Ledger, attributes: dict[str, Any]) -> None:
    fetched_report(ledger, report(**attributes))
    assert known(ledger).priors == ()


def test_of_a_study_that_the_ledger_knows_the_ledger_counts(ledger: Ledger) -> None:
    whose = known(ledger, StudyDate="20240229").whose
    assert whose is not None
    with ledger.begin() as tx:
        studies.ensure(tx, STUDY_UID, KEY, 0.0)
        patients.enter(tx, STUDY_UID, whose)
        results.add_findings(tx, STUDY_UID, "pet_ct_egfr", "x", OLD.to_json(), "evidence", 0.0)
    fetched_report(ledger, report())
    assert [p.source for p in known(ledger).priors] == ["ledger"]
