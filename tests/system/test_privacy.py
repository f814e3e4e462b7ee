"""Nothing that names a patient, a study or an object reaches standard error, whatever goes wrong on the way."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage

from egfr_dls.study import StudyState
from egfr_dls.telemetry import ALLOWED_KEYS
from tests.system.pacs import ABORT, SUCCESS, ScriptedPacs, answers
from tests.system.scanner import association, rejection, send_whole, store, store_bytes
from tests.system.service import Service
from tests.system.study_data import of_modality, small_study, study_uid
from tests.system.waiting import wait_until

pytestmark = pytest.mark.system

MARK = "ZQX"  # in every planted value, so that a part of one is found too
PLANTED = {
    "PatientName": f"{MARK}NAME^MARKED",
    "PatientID": f"{MARK}-ID-4711",
    "OtherPatientIDs": f"{MARK}-OTHER",
    "PatientBirthDate": "19310713",
    "PatientAddress": f"{MARK} Street 1",
    "PatientComments": f"{MARK} comment",
    "AccessionNumber": f"{MARK}ACC0815",
    "StudyID": f"{MARK}STUDY",
    "StudyDescription": f"{MARK} study",
    "SeriesDescription": f"{MARK} series",
    "ReferringPhysicianName": f"{MARK}REFERRER^R",
    "InstitutionName": f"{MARK} Hospital",
    "OperatorsName": f"{MARK}OPERATOR^O",
    "RequestingPhysician": f"{MARK}REQUESTER^R",
    "StationName": f"{MARK}STATION",
}  # fmt: skip
SCAN_DATE = "20250102"  # of the builders


@pytest.fixture(autouse=True)
def plain_answers(pacs: ScriptedPacs) -> Iterator[None]:
    """Put the plain answers back after each test."""
    yield
    pacs.answer = lambda _request: SUCCESS


def test_no_output_names_a_patient_through_a_whole_study_and_every_fault(
    service: Service, pacs: ScriptedPacs, tmp_path: Path
) -> None:
    _ordinary(service)
    _refused(service)
    _hostile(service)
    _half(service)
    _unhappy_pacs(service, pacs)
    _unreadable(service)
    _killed(service, pacs)
    text = service.log_file.read_text(encoding="utf-8")
    assert len(text.splitlines()) > 40
    for what, pattern in _forbidden().items():
        assert not re.search(pattern, text), f"{what} in the log: {re.search(f'.*{pattern}.*', text)}"
    assert {key for line in service.log() for key in line} <= ALLOWED_KEYS
    names = [p.name for p in service.settings.storage.root.rglob("*")]
    assert not [n for n in names for pattern in _forbidden().values() if re.search(pattern, n)]


def test_a_planted_value_would_be_found() -> None:
    """The search itself can fail: each planted value, each date and each UID is caught by a pattern."""
    (ds, *_) = _marked(99)
    for value in (*PLANTED.values(), ds.SOPInstanceUID, ds.SeriesInstanceUID, ds.StudyInstanceUID, "2.25.123456"):
        assert any(re.search(pattern, f"... {value} ...") for pattern in _forbidden().values()), value


def _forbidden() -> dict[str, str]:
    return {
        "a planted value": MARK,
        "the birth date": PLANTED["PatientBirthDate"],
        "the scan date": SCAN_DATE,
        "a UID of the study": r"1\.2\.826\.0\.1\.3680043\.10\.1",
        "a UID of ours": r"2\.25\.\d",
        "an error's text": "Traceback",
    }


def _marked(number: int) -> list[Dataset]:
    return small_study(number, **PLANTED)


def _ordinary(service: Service) -> None:
    send_whole(service.port, _marked(1))
    service.wait_for_state(study_uid(1), StudyState.DELIVERED)


def _refused(service: Service) -> None:
    """A refusal's message holds header values: Units of the PET are counts."""
    study = _marked(2)
    for ds in of_modality(study, "PT"):
        ds.Units, ds.PatientWeight = "CNTS", None
    send_whole(service.port, study)
    document = service.wait_for_state(study_uid(2), StudyState.DELIVERED)
    assert document["findings"]["warnings"] or document["findings"]["refusal"]


def _hostile(service: Service) -> None:
    (ds, *_) = _marked(3)
    assert rejection(service.port, calling=f"{MARK}AE")
    for content in (b"\xff" * 300, f"{MARK}".encode() * 40):
        with association(service.port, [ds]) as assoc:
            assert store_bytes(assoc, CTImageStorage, str(ds.SOPInstanceUID), content) != SUCCESS
    service.wait_for_event("instance_refused", count=2)


def _half(service: Service) -> None:
    """An association that breaks off."""
    study = _marked(4)
    with association(service.port, study) as assoc:
        assert store(assoc, study[0]) == SUCCESS
        assoc.abort()
    wait_until(lambda: service.study(study_uid(4)), "the instance is indexed", context=service.tail)


def _unhappy_pacs(service: Service, pacs: ScriptedPacs) -> None:
    pacs.answer = answers(0xA700, ABORT, 0xC000, 0x0122, 0x0124)
    send_whole(service.port, _marked(5))
    service.wait_for_event("delivery_parked", level="error")
    pacs.stop()
    service.cli("studies", "retry", study_uid(5))
    service.wait_for_event("destination_unreachable")
    pacs.answer = lambda _request: SUCCESS
    pacs.start()
    service.wait_for_state(study_uid(5), StudyState.DELIVERED)


def _unreadable(service: Service) -> None:
    """Pixels that no decoder takes, and header values that are not what their VR says."""
    study = _marked(6)
    for ds in of_modality(study, "CT"):
        ds.PixelData = ds.PixelData[:100]
    send_whole(service.port, study)
    service.wait_for_state(study_uid(6), StudyState.DELIVERED, StudyState.FAILED)
    study = _marked(7)
    for ds in of_modality(study, "PT"):
        ds["SeriesTime"].VR = "LO"  # so that pydicom writes what is no time
        ds.SeriesTime = f"{MARK}"
    send_whole(service.port, study)
    service.wait_for_state(study_uid(7), StudyState.DELIVERED, StudyState.FAILED)


def _killed(service: Service, pacs: ScriptedPacs) -> None:
    """Each stage dies with a study in hand."""
    asked, go_on = threading.Event(), threading.Event()

    def slow_the_first_time(_request: object) -> int:
        asked.set()
        assert go_on.wait(60)
        return SUCCESS

    pacs.answer = slow_the_first_time
    send_whole(service.port, _marked(8))
    assert asked.wait(60), service.tail()
    for stage in ("reporter", "inference", "listener"):
        service.kill(stage)
    go_on.set()
    service.wait_for_state(study_uid(8), StudyState.DELIVERED)
