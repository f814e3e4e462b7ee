"""The facts of a data set, and the table of statuses they can lead to."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import Dataset, dcmread

from egfr_dls.dimse_status import StoreStatus
from listener.indexing.intake import data_set_offset
from listener.status import FAULTS, Fault, InstanceRefusedError, Rejection
from listener.storage.facts import FactsReader, InstanceFacts, StoreCommand, is_uid
from tests.builders import CT_SERIES_UID, FRAME_OF_REFERENCE_UID, STUDY_UID, ct_slices, secondary_capture
from tests.conftest import REPOSITORY
from tests.listener.nodes import raw_data_set

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"


def read_facts(data: bytes, command: StoreCommand, *, cut_every: int | None = None) -> InstanceFacts:
    reader = FactsReader(command)
    for start in range(0, len(data), cut_every or len(data)):
        reader.feed(memoryview(data)[start : start + (cut_every or len(data))])
    return reader.finish()


def command_of(ds: Dataset) -> StoreCommand:
    return StoreCommand(ds.SOPClassUID, ds.SOPInstanceUID, ds.SOPClassUID, str(ds.file_meta.TransferSyntaxUID))


def test_the_facts_are_those_of_the_data_set() -> None:
    ds = ct_slices()[0]
    facts = read_facts(raw_data_set(ds), command_of(ds))
    assert (facts.sop_class_uid, facts.sop_instance_uid) == (CT, ds.SOPInstanceUID)
    assert (facts.study_instance_uid, facts.series_instance_uid) == (STUDY_UID, CT_SERIES_UID)
    assert (facts.modality, facts.patient_id) == ("CT", ds.PatientID)
    assert ds.PatientID not in repr(facts)


@pytest.mark.parametrize(("modality", "kept"), [(None, ""), ("", ""), ("CT\\PT", ""), ("../../x", ""), ("PT ", "PT")])
def test_a_modality_that_is_no_code_string_is_none(modality: str | None, kept: str) -> None:
    ds = ct_slices()[0]
    raw = raw_data_set(ds)
    old = b"CS\x02\x00CT"
    written = (modality or "").encode()
    written += b" " * (len(written) % 2)
    raw = raw.replace(old, b"CS" + len(written).to_bytes(2, "little") + written, 1)
    assert read_facts(raw, command_of(ds)).modality == kept


def test_a_class_other_than_the_contexts_is_not_supported() -> None:
    ds = ct_slices()[0]
    with pytest.raises(InstanceRefusedError) as refused:
        StoreCommand(CT, ds.SOPInstanceUID, "1.2.840.10008.5.1.4.1.1.4", EXPLICIT).check()
    assert FAULTS[refused.value.fault].status is StoreStatus.SOP_CLASS_NOT_SUPPORTED


def test_the_frame_of_reference_is_read_and_may_be_absent() -> None:
    ct, capture = ct_slices()[0], secondary_capture()
    assert read_facts(raw_data_set(ct), command_of(ct)).frame_of_reference_uid == FRAME_OF_REFERENCE_UID
    assert read_facts(raw_data_set(capture), command_of(capture)).frame_of_reference_uid == ""


def test_a_frame_of_reference_of_bad_form_still_pairs_its_series() -> None:
    """GE and others have written components with a leading zero; the study is not refused for it."""
    ds, odd = ct_slices()[0], FRAME_OF_REFERENCE_UID[:-3] + ".01"
    data = raw_data_set(ds).replace(FRAME_OF_REFERENCE_UID.encode(), odd.encode())
    assert read_facts(data, command_of(ds)).frame_of_reference_uid == odd


@pytest.mark.parametrize("text", ["1", "1.2.3", "0.0", "2.25." + "9" * 39, "1." + "2" * 62])
def test_uids(text: str) -> None:
    assert is_uid(text)


@pytest.mark.parametrize(
    "text", ["", ".", "1.", ".1", "1..2", "1.02", "1.a", "1/2", "1. 2", "1." + "2" * 63, "1\n", "１.２"]
)
def test_what_is_no_uid(text: str) -> None:
    """PS3.5 9.1: digits and points, no empty component, no leading zero, 64 characters."""
    assert not is_uid(text)


def test_every_fault_has_a_failure_status_and_a_comment_that_fits() -> None:
    """Error Comment (0000,0902) is an LO: 64 characters, no backslash."""
    assert set(FAULTS) == set(Fault)
    for answer in FAULTS.values():
        assert answer.status is not StoreStatus.SUCCESS
        assert 0 < len(answer.comment) <= 64
        assert "\\" not in answer.comment


def test_what_a_full_disk_gives_the_scanner() -> None:
    assert FAULTS[Fault.DISK_FULL].status == FAULTS[Fault.DISK_FLOOR].status == 0xA700


def test_rejections_are_codes_of_the_standard() -> None:
    """PS3.8 table 9-21."""
    reasons = {(1, 1), (1, 2), (1, 3), (1, 7), (2, 1), (2, 2), (3, 1), (3, 2)}
    assert {rejection.codes[1:] for rejection in Rejection} <= reasons
    assert len({rejection.reason for rejection in Rejection}) == len(Rejection)


def test_the_documentation_has_every_answer() -> None:
    """docs/reference/receiving.md is what an operator reads when a scanner shows a status."""
    page = (REPOSITORY / "docs" / "reference" / "receiving.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    for fault, answer in FAULTS.items():
        assert any(row.startswith(f"| {answer.status:04X}H") and row.endswith(f"`{fault}` |") for row in rows), fault
    for rejection in Rejection:
        codes = ", ".join(str(code) for code in rejection.codes)
        assert any(f"| {codes} | `{rejection.reason}` |" in row for row in rows), rejection


@pytest.mark.shared_data
def test_the_facts_of_real_instances_are_what_pydicom_reads(shared_data: Path) -> None:
    """The first file of each series: CT, PET, SEG, RWV, compressed and not, of several vendors; cut as they might arrive."""
    seen = 0
    for folder in sorted(path for path in shared_data.rglob("*") if path.is_dir()):
        for path in sorted(folder.glob("*.dcm"))[:1]:
            part10, ds = path.read_bytes(), dcmread(path, stop_before_pixels=True)
            facts = read_facts(part10[data_set_offset(part10) :], command_of(ds), cut_every=65_521)
            assert (facts.study_instance_uid, facts.series_instance_uid) == (ds.StudyInstanceUID, ds.SeriesInstanceUID)
            assert (facts.modality, facts.frame_of_reference_uid) == (ds.Modality, ds.get("FrameOfReferenceUID", ""))
            seen += 1
    assert seen
