"""One patient's earlier studies are found by a keyed hash; nobody else's."""

from __future__ import annotations

from egfr_dls.ledger import Tx, patients, results, studies
from egfr_dls.ledger.patients import PatientStudy, StoredResult, patient_key

KEY = b"k" * 32
BIOMARKER = "pet_ct_egfr"
WHO = patient_key(KEY, "4711", "SITE", "19600101")


def result(tx: Tx, study: str, date: str, document: str, *, who: str = WHO, time: str = "") -> None:
    studies.ensure(tx, study, KEY, 0.0)
    patients.enter(tx, study, PatientStudy(who, date, time))
    results.add_findings(tx, study, BIOMARKER, document, document, "evidence", 0.0)


def test_the_patient_is_a_hash_of_id_and_issuer_under_the_sites_key() -> None:
    assert patient_key(KEY, "4711", "SITE", "19610101") != WHO
    others = {
        patient_key(KEY, "4712", "SITE", "19600101"),
        patient_key(KEY, "4711", "", "19600101"),
        patient_key(b"x" * 32, "4711", "SITE", "19600101"),
    }
    assert len({WHO, *others}) == 4
    assert "4711" not in WHO
    assert patient_key(KEY, "4711", "SITE", "19600101") == WHO


def test_earlier_studies_come_in_their_order_each_with_every_revision(tx: Tx) -> None:
    result(tx, "3", "20250301", "third")
    result(tx, "1", "20250101", "first", time="1000")
    result(tx, "2", "20250201", "second")
    result(tx, "2", "20250201", "second, revised")
    assert patients.earlier(tx, "9", PatientStudy(WHO, "20250301", "120000"), BIOMARKER) == [
        StoredResult("1", "20250101", "1000", 1, "first"),
        StoredResult("2", "20250201", "", 1, "second"),
        StoredResult("2", "20250201", "", 2, "second, revised"),
        StoredResult("3", "20250301", "", 1, "third"),
    ]


def test_neither_the_study_itself_nor_later_ones_nor_other_patients_nor_biomarkers(tx: Tx) -> None:
    result(tx, "1", "20250101", "itself")
    result(tx, "2", "20250102", "later")
    result(tx, "3", "20250101", "same moment", time="1000")
    result(tx, "4", "20240101", "another's", who=patient_key(KEY, "4712", "SITE", "19600101"))
    now = PatientStudy(WHO, "20250101", "1000")
    assert patients.earlier(tx, "1", now, BIOMARKER) == []
    assert patients.earlier(tx, "9", PatientStudy(WHO, "20260101", ""), "another") == []
    later = PatientStudy(WHO, "20250101", "1001")
    assert [found.document for found in patients.earlier(tx, "1", later, BIOMARKER)] == ["same moment"]


def test_a_corrected_patient_id_takes_the_study_along(tx: Tx) -> None:
    result(tx, "1", "20250101", "first")
    patients.enter(tx, "1", PatientStudy(patient_key(KEY, "4712", "SITE", "19600101"), "20250101", ""))
    assert patients.earlier(tx, "9", PatientStudy(WHO, "20260101", ""), BIOMARKER) == []


def test_a_notice_is_no_result_and_hides_none(tx: Tx) -> None:
    """Of a region that came too late: what was concluded before it stands."""
    result(tx, "1", "20250101", "first")
    results.add_findings(tx, "1", BIOMARKER, "notice", "notice", "evidence", 0.0, notice=True)
    assert [found.document for found in patients.earlier(tx, "9", PatientStudy(WHO, "20260101", ""), BIOMARKER)] == [
        "first"
    ]


def test_whose_a_study_is_is_known_once_it_was_entered(tx: Tx) -> None:
    assert patients.key_of(tx, "1") is None
    result(tx, "1", "20250101", "first")
    assert patients.key_of(tx, "1") == WHO
