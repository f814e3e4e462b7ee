"""What is taken, what is refused and with which status: instances over the network, one scenario a test."""

from __future__ import annotations

import io
import resource
import struct
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from egfr_dls.dimse_status import StoreStatus
from egfr_dls.ledger import studies
from egfr_dls.spool import DirectorySpool
from egfr_dls.study import StudyState
from tests.builders import FRAME_OF_REFERENCE_UID, STUDY_UID, ct_slices
from tests.listener.nodes import Node, node_settings, raw_data_set, running, store_raw, until

CT = str(CTImageStorage)
UNREADABLE, MISMATCH, RESOURCES = (
    StoreStatus.CANNOT_UNDERSTAND,
    StoreStatus.DATA_SET_DOES_NOT_MATCH_SOP_CLASS,
    StoreStatus.OUT_OF_RESOURCES,
)


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_bytes_are_kept_as_they_came(node: Node, syntax: str) -> None:
    ds = encoded(ct_slices()[0], syntax)
    assert node.send([ds]) == [0]
    (record,) = (r for r in node.records() if hasattr(r.entry, "sop_instance_uid"))
    kept = dcmread(io.BytesIO(node.store.spool.read(record.ref)))
    assert kept.file_meta.TransferSyntaxUID == syntax
    assert kept.PixelData == ds.PixelData
    assert record.entry.transfer_syntax_uid == syntax
    assert until(lambda: frame_of(node), "indexed") == FRAME_OF_REFERENCE_UID


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_compressed_pixels_are_kept_as_they_came(node: Node, syntax: str) -> None:
    ds = ct_slices()[0]
    ds.PixelData = encapsulate([b"fragment one", b"fragment two!!"])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = syntax
    assert node.send([ds]) == [0]
    (record,) = (r for r in node.records() if hasattr(r.entry, "sop_instance_uid"))
    assert dcmread(io.BytesIO(node.store.spool.read(record.ref))).PixelData == ds.PixelData


@pytest.mark.shared_data
def test_the_real_study_is_taken_as_it_is_stored(node: Node, shared_data: Path) -> None:
    """412 instances, most of them JPEG-LS; nothing is converted and nothing is refused."""
    files = sorted((shared_data / "petct_lung_acrin042").rglob("*.dcm"))
    heads = [dcmread(path, stop_before_pixels=True) for path in files]
    assoc = node.associate(heads)
    assert {assoc.send_c_store(path).Status for path in files} == {0}
    assoc.release()
    until(lambda: node.state(heads[0].StudyInstanceUID) is StudyState.COMPLETE, "complete")
    assert node.indexed() == sorted(ds.SOPInstanceUID for ds in heads)
    assert len(files) == 412


def frame_of(node: Node) -> str:
    with node.store.ledger.read() as tx:
        rows = studies.series_of(tx, STUDY_UID)
    return rows[0].frame_of_reference_uid if rows else ""


def encoded(ds: Dataset, syntax: str) -> Dataset:
    """Return a dataset as a reader of that transfer syntax gives it."""
    buffer = io.BytesIO()
    if syntax == ExplicitVRBigEndian:
        ds["PixelData"].VR = "OW"
        ds.PixelData = ds.PixelData  # zero and even length whatever the order of bytes
    ds.file_meta.TransferSyntaxUID = syntax
    dcmwrite(buffer, ds, enforce_file_format=True)
    buffer.seek(0)
    return dcmread(buffer)


def without(ds: Dataset, keyword: str) -> Dataset:
    changed = deepcopy(ds)
    delattr(changed, keyword)
    return changed


def swapped(old: str, new: str) -> Callable[[Dataset, bytes], bytes]:
    """Replace the first place of a value by another of equal length."""
    return lambda _ds, raw: raw.replace(old.encode(), new.encode().ljust(len(old), b"x"), 1)


SOP_UID = ct_slices()[0].SOPInstanceUID
UNKEPT: dict[str, tuple[Callable[[Dataset, bytes], bytes], StoreStatus, str]] = {
    "no Study UID": (lambda ds, _: raw_data_set(without(ds, "StudyInstanceUID")), MISMATCH, "no_study_uid"),
    "no Series UID": (lambda ds, _: raw_data_set(without(ds, "SeriesInstanceUID")), MISMATCH, "no_series_uid"),
    "a path as UID": (swapped(STUDY_UID, "../../../../x"), MISMATCH, "uid_form"),
    "another instance": (swapped(SOP_UID, SOP_UID[:-1] + "9"), MISMATCH, "instance_mismatch"),
    "another class": (swapped(CT, CT[:-1] + "3"), MISMATCH, "class_mismatch"),
    "pixels cut": (lambda _, raw: raw[: len(raw) // 2 + 1000], UNREADABLE, "cut_short"),
    "last byte cut": (lambda _, raw: raw[:-1], UNREADABLE, "cut_short"),
    "header cut": (lambda _, raw: raw[:300], UNREADABLE, "cut_short"),
    "a VR that is none": (lambda _, raw: raw[:4] + b"??" + raw[6:], UNREADABLE, "malformed"),
    "100,000 sequences in sequences": (lambda _, raw: nested(100_000) + raw, UNREADABLE, "nested_too_deep"),
    "100 sequences in sequences": (lambda _, raw: nested(100) + raw, UNREADABLE, "nested_too_deep"),
    "padding only": (lambda *_: bytes(6), MISMATCH, "no_sop_uid"),
}


@pytest.mark.parametrize(("make", "status", "reason"), UNKEPT.values(), ids=UNKEPT.keys())
def test_what_cannot_be_kept_is_refused_and_the_service_goes_on(
    node: Node, make: Any, status: StoreStatus, reason: str
) -> None:
    ds = ct_slices()[0]
    assoc = node.associate([ds])
    raw = raw_data_set(ds)
    assert store_raw(assoc, ds, make(ds, raw)) == status
    assert node.logged("instance_refused")[-1]["reason"] == reason
    assert assoc.send_c_store(ds).Status == 0, "the same association goes on"
    assoc.release()
    assert node.spooled() == [ds.SOPInstanceUID]


def nested(depth: int) -> bytes:
    """Return a sequence (0008,0005) of undefined length that holds itself, ``depth`` deep; closed as it should be."""
    sequence = struct.pack("<HH2sHI", 0x0008, 0x0006, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    ends = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    return sequence * depth + ends * depth


def test_encapsulated_pixels_without_their_end_are_refused(node: Node) -> None:
    ds = ct_slices()[0]
    ds.PixelData = encapsulate([b"fragment"])
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    ds.file_meta.TransferSyntaxUID = RLELossless
    assoc = node.associate([ds])
    raw = raw_data_set(ds)
    assert store_raw(assoc, ds, raw[:-8]) == UNREADABLE
    assert store_raw(assoc, ds, raw[:-10]) == UNREADABLE
    assert store_raw(assoc, ds, raw) == 0
    assoc.release()


def test_an_object_over_the_limit_aborts_the_association_and_nothing_of_it_is_kept(tmp_path: Path) -> None:
    with running(node_settings(tmp_path, listener={"max_object_bytes": 200_000})) as node:
        small, large = ct_slices()[:2]
        large.PixelData, large.Rows, large.Columns = bytes(2 * 512 * 512), 512, 512
        assoc = node.associate([small, large])
        assert assoc.send_c_store(small).Status == 0
        assert "Status" not in assoc.send_c_store(large)
        until(lambda: assoc.is_aborted, "aborted")
        assert node.logged("association_aborted")[0]["reason"] == "object_too_large"
        assert node.spooled() == [small.SOPInstanceUID]
        assert node.send([small]) == [0]


def test_strings_with_path_characters_are_harmless(node: Node, tmp_path: Path) -> None:
    """No string of a sender becomes part of a path."""
    victim = tmp_path / "victim"
    victim.mkdir()
    before = sorted(p.name for p in tmp_path.iterdir())
    names = {
        "PatientID": "../victim",
        "PatientName": "../../x",
        "SeriesDescription": "../../../../x",
        "StudyID": "/etc/x",
    }
    assert node.send(ct_slices(**names)[:2]) == [0, 0]
    until(lambda: len(node.indexed()) == 2, "indexed")
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    segments = [p for p in (node.settings.storage.root / "spool").rglob("*") if p.is_file()]
    assert segments
    assert all(set(p.name) <= set("0123456789abcdef-.seg") for p in segments)


def test_nothing_of_the_patient_is_logged(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    ds = ct_slices(PatientName="SECRET^NAME", PatientID="SECRETID")[0]
    node.send([ds])
    until(node.indexed, "indexed")
    node.stop.set()
    text = repr(node.events) + caplog.text
    assert not [word for word in ("SECRET", ds.SOPInstanceUID, STUDY_UID, "19600101") if word in text]


def test_a_full_disk_gives_the_scanner_a700_and_the_service_goes_on(node: Node) -> None:
    """The file size limit of the process stands for the disk; the kernel writes a part of the record and then fails."""
    small, large = ct_slices()[:2]
    large.PixelData, large.Rows, large.Columns = bytes(2 * 2048 * 2048), 2048, 2048
    assoc = node.associate([small, large])
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (7 * 1024 * 1024, old[1]))
    try:
        answer = assoc.send_c_store(large)
        assert (answer.Status, answer.ErrorComment) == (RESOURCES, "Not stored: the disk is full or failing")
        assert assoc.send_c_store(small).Status == 0
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert assoc.send_c_store(large).Status == 0, "space is back"
    assoc.release()
    until(lambda: len(node.indexed()) == 2, "both indexed")


def test_below_the_floor_open_associations_hear_a700_and_new_ones_are_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [10_000]
    monkeypatch.setattr(DirectorySpool, "free_bytes", lambda self: free[0])
    monkeypatch.setattr("listener.storage.reception.FLOOR_SECONDS", 0.0)
    with running(node_settings(tmp_path, storage={"root": tmp_path, "min_free_bytes": 5_000})) as node:
        ct = ct_slices()[:2]
        assoc = node.associate(ct)
        assert assoc.send_c_store(ct[0]).Status == 0
        free[0] = 4_999
        assert assoc.send_c_store(ct[1]).Status == RESOURCES
        assert node.rejected() == (2, 3, 2)
        free[0] = 5_000
        assert assoc.send_c_store(ct[1]).Status == 0
        assoc.release()


def test_a_defect_costs_one_instance_and_is_told_as_processing_failure(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    ct = ct_slices()[:1]
    assoc = node.associate(ct)
    with monkeypatch.context() as broken:
        broken.setattr("listener.storage.reception.Incoming._keep", lambda *_: 1 / 0)
        assert assoc.send_c_store(ct[0]).Status == 0x0110
    assert node.logged("instance_refused")[0]["error_class"] == "ZeroDivisionError"
    assert assoc.send_c_store(ct[0]).Status == 0
    assoc.release()
