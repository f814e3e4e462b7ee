"""The listener over the network: real associations on 127.0.0.1, one scenario a test."""

from __future__ import annotations

import io
import resource
import socket
import struct
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.encaps import encapsulate
from pydicom.uid import (
    AllTransferSyntaxes,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)
from pynetdicom import AE, AllStoragePresentationContexts, build_context

from egfr_dls.dimse_status import StoreStatus
from egfr_dls.errors import ConfigurationError, TemporaryFailureError
from egfr_dls.ledger import instances, studies
from egfr_dls.spool import DirectorySpool
from egfr_dls.study import StudyState
from listener.scp import TRANSFER_SYNTAXES
from tests.builders import FRAME_OF_REFERENCE_UID, STUDY_UID, ct_slices, petct_study, secondary_capture
from tests.listener.nodes import Node, node_settings, raw_data_set, running, store_raw, until

CT = str(CTImageStorage)
UNREADABLE, MISMATCH, RESOURCES = (
    StoreStatus.CANNOT_UNDERSTAND,
    StoreStatus.DATA_SET_DOES_NOT_MATCH_SOP_CLASS,
    StoreStatus.OUT_OF_RESOURCES,
)


def rejection(assoc: Any) -> tuple[int, int, int]:
    answer = assoc.acceptor.primitive
    return answer.result, answer.result_source, answer.diagnostic


# --- who may send (PS3.8 table 9-21) ---


def test_an_unknown_calling_ae_title_is_rejected(node: Node) -> None:
    assoc = node.associate(calling="STRANGER")
    assert assoc.is_rejected
    assert rejection(assoc) == (1, 1, 3)
    assert until(lambda: node.logged("association_rejected"), "event")[0]["reason"] == "calling_ae_title"


def test_a_known_ae_title_from_another_host_is_rejected(tmp_path: Path) -> None:
    elsewhere = node_settings(tmp_path, listener={"peers": [{"ae_title": "SCANNER", "host": "192.0.2.0/24"}]})
    with running(elsewhere) as node:
        assert rejection(node.associate()) == (1, 1, 3)


def test_a_wrong_called_ae_title_is_rejected(node: Node) -> None:
    assert rejection(node.associate(called="SOMEONE_ELSE")) == (1, 1, 7)


def test_without_the_check_any_called_ae_title_is_taken(tmp_path: Path) -> None:
    with running(node_settings(tmp_path, listener={"check_called_ae_title": False})) as node:
        assoc = node.associate(called="SOMEONE_ELSE")
        assert assoc.is_established
        assoc.release()


def test_any_peer_may_call_where_the_settings_say_so_and_that_is_logged(tmp_path: Path) -> None:
    with running(node_settings(tmp_path, listener={"peers": [], "accept_any_peer": True})) as node:
        assert node.send(ct_slices()[:1], calling="STRANGER") == [0]
        assert node.logged("any_peer_accepted")


def test_c_echo_is_answered_under_the_same_rules(node: Node) -> None:
    assoc = node.associate()
    assert assoc.send_c_echo().Status == 0
    assoc.release()
    assert node.associate(calling="STRANGER").is_rejected


def test_the_limits_per_peer_and_in_all(tmp_path: Path) -> None:
    with running(node_settings(tmp_path, listener={"max_associations": 3, "max_associations_per_peer": 2})) as node:
        opened = [node.associate() for _ in range(2)]
        assert rejection(node.associate()) == (2, 3, 2)
        opened.append(node.associate(calling="PACS"))
        assert all(a.is_established for a in opened)
        assert rejection(node.associate(calling="PACS")) == (2, 3, 2)
        opened[0].release()
        again = node.associate()
        assert again.is_established, "a released association's place is free at once"
        for assoc in (*opened[1:], again):
            assoc.release()


def test_a_place_is_free_again_after_an_abort_and_after_a_lost_connection(tmp_path: Path) -> None:
    with running(node_settings(tmp_path, listener={"max_associations": 1})) as node:
        node.associate().abort()
        second = until(lambda: established(node), "place free after an abort")
        second.dul.socket.close()
        until(lambda: established(node), "place free after a lost connection").release()


def established(node: Node) -> Any:
    assoc = node.associate()
    return assoc if assoc.is_established else None


def test_twenty_associations_at_once_from_two_peers_are_all_accepted(node: Node) -> None:
    ct = ct_slices()
    together = threading.Barrier(20)

    def one(n: int) -> list[int]:
        ds = deepcopy(ct[0])
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{n + 1}"
        together.wait()
        assoc = node.associate([ds], "SCANNER" if n % 2 else "PACS")
        assert assoc.is_established
        together.wait()
        status = assoc.send_c_store(ds).Status
        assoc.release()
        return status

    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(one, range(20))) == [0] * 20
    until(lambda: len(node.indexed()) == 20, "all indexed")


def test_a_load_balancers_look_is_no_refusal_and_no_error(node: Node) -> None:
    """A connection that closes before its first byte leaves no line in the log."""
    with socket.create_connection(("127.0.0.1", node.port)):
        pass
    node.send(ct_slices()[:1])
    assert {e["event"] for e in node.events if e["log_level"] in ("warning", "error")} == set()


def test_a_caller_that_stalls_inside_a_pdu_is_hung_up_on(tmp_path: Path) -> None:
    with (
        running(node_settings(tmp_path, listener={"idle_seconds": 0.5, "max_associations": 1})) as node,
        socket.create_connection(("127.0.0.1", node.port)) as stalled,
    ):
        stalled.sendall(struct.pack(">BBI", 1, 0, 1000))
        stalled.settimeout(20)
        assert stalled.recv(1) == b""


def test_an_association_without_traffic_is_aborted_and_the_study_counts_as_interrupted(tmp_path: Path) -> None:
    with running(node_settings(tmp_path, listener={"idle_seconds": 0.5})) as node:
        ct = ct_slices()[:1]
        assoc = node.associate(ct)
        assert assoc.send_c_store(ct[0]).Status == 0
        until(lambda: assoc.is_aborted, "aborted")
        until(lambda: node.state(STUDY_UID) is StudyState.NOT_APPLICABLE, "decided")


# --- what is taken ---


def test_every_storage_class_and_transfer_syntax_is_accepted(node: Node) -> None:
    classes = [str(c.abstract_syntax) for c in AllStoragePresentationContexts]
    proposals = [[build_context(uid, TRANSFER_SYNTAXES) for uid in some] for some in (classes[:128], classes[128:])]
    proposals.append([build_context(classes[0], syntax) for syntax in TRANSFER_SYNTAXES])
    for contexts in proposals:
        ae = AE("SCANNER")
        ae.requested_contexts = contexts
        assoc = ae.associate("127.0.0.1", node.port, ae_title="EGFR_DLS")
        assert len(assoc.accepted_contexts) == len(contexts)
        assoc.release()
    assert len(TRANSFER_SYNTAXES) == len(AllTransferSyntaxes) - 5


def test_a_class_that_is_no_storage_class_is_not_accepted_beside_one_that_is(node: Node) -> None:
    ae = AE("SCANNER")
    ae.requested_contexts = [build_context("1.2.840.10008.5.1.4.1.2.2.1"), build_context("1.2.3.4"), build_context(CT)]
    assoc = ae.associate("127.0.0.1", node.port, ae_title="EGFR_DLS")
    assert [c.abstract_syntax for c in assoc.accepted_contexts] == [CT]
    assert [c.result for c in assoc.rejected_contexts] == [3, 3]  # abstract-syntax-not-supported (PS3.8 table 9-18)
    assoc.release()


def test_the_callers_first_transfer_syntax_wins(node: Node) -> None:
    """What a sender proposes first is what it holds; it need not convert."""
    ae = AE("SCANNER")
    ae.add_requested_context(CT, [RLELossless, ImplicitVRLittleEndian, ExplicitVRLittleEndian])
    assoc = ae.associate("127.0.0.1", node.port, ae_title="EGFR_DLS")
    assert assoc.accepted_contexts[0].transfer_syntax == [RLELossless]
    assoc.release()


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


# --- what is refused, and with which status ---


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


# --- a full disk ---


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
    with running(node_settings(tmp_path, storage={"root": tmp_path, "min_free_bytes": 5_000})) as node:
        ct = ct_slices()[:2]
        assoc = node.associate(ct)
        assert assoc.send_c_store(ct[0]).Status == 0
        free[0] = 4_999
        assert assoc.send_c_store(ct[1]).Status == RESOURCES
        assert rejection(node.associate()) == (2, 3, 2)
        free[0] = 5_000
        assert assoc.send_c_store(ct[1]).Status == 0
        assoc.release()


def test_a_defect_costs_one_instance_and_is_told_as_processing_failure(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    ct = ct_slices()[:1]
    assoc = node.associate(ct)
    with monkeypatch.context() as broken:
        broken.setattr("listener.reception.read_facts", lambda *_: 1 / 0)
        assert assoc.send_c_store(ct[0]).Status == 0x0110
    assert node.logged("instance_refused")[0]["error_class"] == "ZeroDivisionError"
    assert assoc.send_c_store(ct[0]).Status == 0
    assoc.release()


def test_a_policy_that_breaks_rejects(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """pynetdicom swallows what a notification handler raises and would accept: ours fails closed."""
    monkeypatch.setattr("listener.association.PeerTable.knows", lambda *_: 1 / 0)
    assert rejection(node.associate()) == (2, 1, 1)


# --- what becomes of a study ---


def test_a_study_is_complete_after_its_release_and_has_one_job(node: Node) -> None:
    assert set(node.send(petct_study())) == {0}
    until(lambda: node.state(STUDY_UID) is StudyState.COMPLETE, "complete")
    assert jobs_of(node) == [("infer", '{"biomarker": "pet_ct_egfr", "forced": null}')]


def jobs_of(node: Node) -> list[tuple[str, str]]:
    with node.store.ledger.read() as tx:
        return [(job.kind, job.payload) for job in studies.jobs_of(tx, STUDY_UID)]


def test_an_open_association_holds_its_study_back(node: Node) -> None:
    """The sender pauses between CT and PT, and again before its release: one job, of the whole."""
    study = petct_study()
    assoc = node.associate(study)
    for ds in study:
        assert assoc.send_c_store(ds).Status == 0
    until(lambda: len(node.indexed()) == len(study), "indexed")
    stepped(node)
    assert node.state(STUDY_UID) is StudyState.RECEIVING
    assoc.release()
    until(lambda: node.state(STUDY_UID) is StudyState.COMPLETE, "complete")


def stepped(node: Node) -> None:
    """Wait until the indexer has made two more turns."""
    for calling in ("SCANNER", "PACS"):
        marker = secondary_capture(StudyInstanceUID=generate_uid(), SOPInstanceUID=generate_uid())
        node.send([marker], calling)
        until(lambda uid=marker.StudyInstanceUID: node.state(uid) is StudyState.NOT_APPLICABLE, "turn of the indexer")


def test_a_sender_that_dies_half_way_gets_no_result_of_the_part(node: Node) -> None:
    """Pair present, last association aborted: it waits; the whole, sent again, completes it with one job."""
    study = petct_study()
    assoc = node.associate(study)
    for ds in (*study[:8], *study[8:12]):
        assert assoc.send_c_store(ds).Status == 0
    assoc.abort()
    until(lambda: len(node.indexed()) == 12, "indexed")
    stepped(node)
    assert node.state(STUDY_UID) is StudyState.RECEIVING
    assert set(node.send(study)) == {0}
    until(lambda: node.state(STUDY_UID) is StudyState.COMPLETE, "complete")
    assert len(jobs_of(node)) == 1
    assert len(node.indexed()) == 16 + 2  # and two markers


def test_a_sender_that_never_comes_back_is_decided_at_the_force_time(tmp_path: Path) -> None:
    with running(node_settings(tmp_path, study={"quiet_seconds": 0, "force_seconds": 1})) as node:
        study = petct_study()
        assoc = node.associate(study)
        for ds in study:
            assoc.send_c_store(ds)
        assoc.abort()
        until(lambda: node.state(STUDY_UID) is StudyState.COMPLETE, "forced")
        assert jobs_of(node) == [("infer", '{"biomarker": "pet_ct_egfr", "forced": "refuse"}')]


def test_the_same_study_twice_is_nothing_new(node: Node) -> None:
    study = petct_study()
    node.send(study)
    until(lambda: node.state(STUDY_UID) is StudyState.COMPLETE, "complete")
    node.send(study)
    stepped(node)
    assert node.state(STUDY_UID) is StudyState.COMPLETE
    assert len(jobs_of(node)) == 1
    assert len(node.indexed()) == 16 + 2


def test_an_other_content_under_a_known_uid_is_kept_and_flags_the_study(node: Node) -> None:
    study = petct_study()
    node.send(study)
    until(lambda: node.state(STUDY_UID) is StudyState.COMPLETE, "complete")
    changed = deepcopy(study[0])
    changed.PixelData = bytes(len(changed.PixelData))
    assert node.send([changed]) == [0]
    until(lambda: conflicts(node), "flagged")
    with node.store.ledger.read() as tx:
        assert instances.count(tx, STUDY_UID) == 17
        refs = instances.locations(tx, STUDY_UID)
        row = studies.find(tx, STUDY_UID)
    assert row.conflict
    assert len(refs) == 16
    assert changed.PixelData not in {dcmread(io.BytesIO(node.store.spool.read(ref))).PixelData for ref in refs.values()}
    assert node.state(STUDY_UID) is StudyState.COMPLETE, "the first content counts: nothing to analyse again"
    assert len(jobs_of(node)) == 1


def conflicts(node: Node) -> bool:
    with node.store.ledger.read() as tx:
        return bool(studies.find(tx, STUDY_UID).conflict)


def test_two_series_with_equal_description_and_numbers_are_both_held(node: Node) -> None:
    one = ct_slices(SeriesDescription="SAME", SeriesNumber=2)
    other = ct_slices(series_uid="1.2.826.0.1.3680043.10.1.5", SeriesDescription="SAME", SeriesNumber=2)
    assert set(node.send(one + other)) == {0}
    until(lambda: len(node.indexed()) == 16, "all held")


def test_an_instance_after_the_end_reopens_the_study(node: Node) -> None:
    study = petct_study()
    node.send(study[:-1])
    until(lambda: node.state(STUDY_UID) is StudyState.COMPLETE, "complete")
    node.send(study[-1:])
    until(lambda: len(jobs_of(node)) == 2, "a second job, of the whole")
    with node.store.ledger.read() as tx:
        assert [job.state for job in studies.jobs_of(tx, STUDY_UID)] == ["cancelled", "ready"]


# --- the end ---


def test_draining_lets_open_associations_finish_and_accepts_no_new_ones(node: Node) -> None:
    ct = ct_slices()[:2]
    assoc = node.associate(ct)
    assert assoc.send_c_store(ct[0]).Status == 0
    node.stop.set()
    until(lambda: not reachable(node.port), "no longer listening")
    assert assoc.send_c_store(ct[1]).Status == 0
    assoc.release()
    assert until(lambda: node.logged("drained"), "drained")[0]["count"] == 0
    assert len(node.indexed()) == 2, "what was received is indexed before the end"


def test_draining_aborts_what_is_open_after_the_limit(tmp_path: Path) -> None:
    with running(node_settings(tmp_path, listener={"drain_seconds": 0.2})) as node:
        ct = ct_slices()[:1]
        assoc = node.associate(ct)
        assert assoc.send_c_store(ct[0]).Status == 0
        node.stop.set()
        until(lambda: assoc.is_aborted, "aborted")
        assert until(lambda: node.logged("drained"), "drained")[0]["count"] == 1
        assert len(node.indexed()) == 1


def test_draining_does_not_wait_for_callers_that_stall(tmp_path: Path) -> None:
    """One in the middle of its request, one that has said nothing: neither holds up the end, whatever the idle time."""
    with running(node_settings(tmp_path, listener={"drain_seconds": 0.2, "idle_seconds": 600})) as node:
        before = set(threading.enumerate())
        with (
            socket.create_connection(("127.0.0.1", node.port)) as half,
            socket.create_connection(("127.0.0.1", node.port)),
        ):
            half.sendall(struct.pack(">BBI", 1, 0, 1000))
            until(lambda: len(set(threading.enumerate()) - before) >= 3, "both are being served")
            node.stop.set()
            until(lambda: node.logged("drained"), "drained")
            until(
                lambda: not [t for t in set(threading.enumerate()) - before if not t.daemon],
                "no thread left that holds the exit",
            )


def reachable(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_a_second_listener_on_the_same_root_does_not_start(node: Node) -> None:
    with pytest.raises(ConfigurationError, match="another listener"), running(node.settings):
        pass


def test_a_port_that_is_taken_is_a_configuration_error(node: Node, tmp_path: Path) -> None:
    taken = node_settings(tmp_path / "other", listener={"port": node.port})
    with pytest.raises(ConfigurationError, match=r"listener\.port"), running(taken):
        pass


def test_a_ledger_that_fails_does_not_stop_the_receiver(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The promise of 0000H is the spool's; the indexer tries again."""
    with monkeypatch.context() as broken:
        broken.setattr(instances, "watermarks", unavailable)
        assert node.send(ct_slices()[:2]) == [0, 0]
        until(lambda: node.logged("index_failed"), "the trouble is logged")
        assert node.indexed() == []
    until(lambda: len(node.indexed()) == 2, "indexed once the ledger is back")


def unavailable(_tx: object) -> dict[str, int]:
    raise TemporaryFailureError("the ledger's database is locked, full or failing")
