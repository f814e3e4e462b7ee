"""What the running listener takes, refuses and waits for."""

from __future__ import annotations

import struct
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage

from egfr_dls.ledger.schema import association as association_rows
from egfr_dls.study import StudyState
from tests.builders import to_part10
from tests.system.pacs import ScriptedPacs
from tests.system.scanner import associate, association, rejection, send, send_whole, store, store_bytes
from tests.system.service import PACS, SCANNER, Service
from tests.system.study_data import of_modality, small_study, study_uid
from tests.system.waiting import wait_until

pytestmark = pytest.mark.system

REJECTED_PERMANENT, BY_USER, CALLING_UNKNOWN, CALLED_UNKNOWN = 1, 1, 3, 7  # PS3.8 table 9-21


def test_unknown_and_wrongly_called_are_rejected_and_a_peer_is_answered_an_echo(service: Service) -> None:
    for calling, called, diagnostic in (
        ("STRANGER", "EGFR_DLS", CALLING_UNKNOWN),
        (SCANNER, "SOMEBODY_ELSE", CALLED_UNKNOWN),
    ):
        assert rejection(service.port, calling, called) == (REJECTED_PERMANENT, BY_USER, diagnostic)
    assoc = associate(service.port)
    assert assoc.send_c_echo().Status == 0x0000
    assoc.release()


def test_twenty_associations_at_once_bring_one_study_and_one_result(service: Service, pacs: ScriptedPacs) -> None:
    """Twenty senders under two AE titles: within the shipped limit of 16 for each peer."""
    study = small_study(10)
    parts = [study[i::20] or study[:1] for i in range(20)]  # 17 instances: three senders repeat the first
    titles = [SCANNER, PACS] * 10
    opened = [associate(service.port, {(str(ds.SOPClassUID), str(ds.file_meta.TransferSyntaxUID)) for ds in study},
                        calling=title) for title in titles]  # fmt: skip
    assert all(assoc.is_established for assoc in opened)
    with ThreadPoolExecutor(20) as pool:
        statuses = list(pool.map(lambda pair: [store(pair[0], ds) for ds in pair[1]], zip(opened, parts, strict=True)))
    for assoc in opened:
        assoc.release()
    assert {status for sent in statuses for status in sent} == {0x0000}
    document = service.wait_for_state(study_uid(10), StudyState.DELIVERED)
    assert document["instances"] == len(study)
    assert [job["kind"] for job in document["jobs"]] == ["infer", "report"]
    assert len(pacs.reports(study_uid(10))) == 1


def test_the_seventeenth_association_of_one_peer_is_rejected_for_now_and_accepted_when_there_is_room(
    service: Service,
) -> None:
    opened = [associate(service.port) for _ in range(16)]
    assert all(assoc.is_established for assoc in opened)
    result, _source, _reason = rejection(service.port)
    assert result == 2  # transient: the sender may try again
    for assoc in opened:
        assoc.release()

    def accepted() -> bool:
        assoc = associate(service.port)
        established: bool = assoc.is_established
        if established:
            assoc.release()
        return established

    wait_until(accepted, "a place is free again", context=service.tail)


def test_two_series_with_equal_descriptions_and_instance_numbers_are_both_kept_whole(service: Service) -> None:
    first = of_modality(small_study(20, SeriesDescription="CHEST"), "CT")
    second = of_modality(small_study(20, SeriesDescription="CHEST"), "CT")
    for ds in second:
        ds.SeriesInstanceUID += ".2"
        ds.SOPInstanceUID += ".2"
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    send_whole(service.port, first + second)
    wanted = {str(ds.SOPInstanceUID) for ds in first + second}
    wait_until(lambda: service.study(study_uid(20)).get("instances") == len(wanted), "all are indexed")
    assert wanted <= service.durable_instances()


def test_a_study_without_pet_asks_for_nothing_and_gets_no_report(service: Service, pacs: ScriptedPacs) -> None:
    send_whole(service.port, of_modality(small_study(21), "CT"))
    service.wait_for_state(study_uid(21), StudyState.NOT_APPLICABLE)
    assert not pacs.of_study(study_uid(21), stored=False)


def test_the_same_study_twice_gives_nothing_new(service: Service, pacs: ScriptedPacs) -> None:
    study = small_study(30)
    send_whole(service.port, study)
    before = service.wait_for_state(study_uid(30), StudyState.DELIVERED)
    sent = pacs.of_study(study_uid(30), stored=False)
    released = len(service.rows(association_rows))
    send_whole(service.port, study)
    wait_until(lambda: len(service.rows(association_rows)) > released, "the second sending is indexed")
    _marker_study_is_done(service, 31)
    after = service.study(study_uid(30))
    assert after == before
    assert pacs.of_study(study_uid(30), stored=False) == sent


def test_a_pause_between_ct_and_pet_gives_one_result_of_the_whole(service: Service, pacs: ScriptedPacs) -> None:
    """CT in one association, a pause longer than the quiet time, the rest in another."""
    study = small_study(40)
    send_whole(service.port, of_modality(study, "CT"))
    _marker_study_is_done(service, 42)  # takes its own quiet time and more: the pause is over
    send_whole(service.port, of_modality(study, "PT", "SEG"))
    _assert_one_result_of_the_whole(service, pacs, 40)


def test_a_pause_inside_an_association_gives_one_result_of_the_whole(service: Service, pacs: ScriptedPacs) -> None:
    """Half of each series, a pause longer than the quiet time, then the rest: the open association holds the study."""
    study = small_study(41)
    halves = study[0::2], study[1::2]
    with association(service.port, study) as assoc:
        statuses = [store(assoc, ds) for ds in halves[0]]
        _marker_study_is_done(service, 43)
        statuses += [store(assoc, ds) for ds in halves[1]]
        assert set(statuses) == {0x0000}
    _assert_one_result_of_the_whole(service, pacs, 41)


def test_half_the_pair_waits_for_the_other_half(service: Service, pacs: ScriptedPacs) -> None:
    """PET alone, a pause, then CT: nothing is made of the half."""
    study = small_study(45)
    send_whole(service.port, of_modality(study, "PT"))
    _marker_study_is_done(service, 46)
    waiting = service.study(study_uid(45))
    assert (waiting["state"], waiting["jobs"]) == (StudyState.RECEIVING, [])
    send_whole(service.port, of_modality(study, "CT", "SEG"))
    document = service.wait_for_state(study_uid(45), StudyState.DELIVERED)
    assert document["findings"]["status"] == "scored"
    assert len(pacs.reports(study_uid(45))) == 1


def test_a_sender_that_dies_half_way_gives_no_result_of_a_part(service: Service, pacs: ScriptedPacs) -> None:
    """Both modalities are there in part when the sender aborts; the rest, sent later, gives one result of the whole."""
    study = small_study(50)
    order = [ds for pair in zip(of_modality(study, "CT"), of_modality(study, "PT"), strict=True) for ds in pair]
    with association(service.port, study) as assoc:
        assert {store(assoc, ds) for ds in order[:10]} == {0x0000}
        assoc.abort()
    _marker_study_is_done(service, 51)
    waiting = service.study(study_uid(50))
    assert (waiting["state"], waiting["instances"], waiting["jobs"]) == (StudyState.RECEIVING, 10, [])
    send_whole(service.port, study)
    document = service.wait_for_state(study_uid(50), StudyState.DELIVERED)
    assert (document["instances"], document["findings"]["status"]) == (len(study), "scored")
    assert len(pacs.reports(study_uid(50))) == 1


def test_hostile_objects_are_refused_and_the_listener_stays_up(service: Service) -> None:
    """Nesting without end, pixel data cut short, a header cut short, no Study Instance UID: none is answered 0000H."""
    whole = of_modality(small_study(60), "CT")[0]
    data = _encoded(whole)
    nameless = _encoded(whole, without="StudyInstanceUID")
    hostile = {
        "nested": _encoded(whole, without="PixelData") + _nested(5000),
        "pixels cut": data[:-1000],
        "header cut": data[:203],
        "no study": nameless,
        "garbage": b"\xff" * 1000,
    }
    uid = str(whole.SOPInstanceUID)
    pid = service.pids()["listener"]
    for what, content in hostile.items():
        with association(service.port, [whole]) as assoc:
            status = store_bytes(assoc, CTImageStorage, uid, content)
            assert status is not None, what
            assert status & 0xF000 in (0xA000, 0xC000), f"{what}: {status:04X}"
    assert uid not in service.durable_instances()
    assert send(service.port, [whole]) == [0x0000]
    assert service.pids()["listener"] == pid
    assert not service.events("stage_died")


def test_paths_in_header_values_name_no_file(service: Service, pacs: ScriptedPacs) -> None:
    study = small_study(70)
    for ds in study:
        ds.SeriesDescription, ds.PatientID, ds.PatientName = "../../../../x", "../victim", "../../name"
        ds.AccessionNumber = "/etc/passwd"
    victim = service.settings.storage.root.parent / "victim"
    victim.mkdir()
    (victim / "file").write_text("untouched", encoding="ascii")
    send_whole(service.port, study)
    service.wait_for_state(study_uid(70), StudyState.DELIVERED)
    assert (victim / "file").read_text(encoding="ascii") == "untouched"
    assert [p.name for p in victim.iterdir()] == ["file"]
    written = [p.relative_to(service.folder).parts for p in service.folder.rglob("*") if p.is_file()]
    assert {parts[0] for parts in written} == {"egfr-dls.toml", "service.log", "root", "victim"}
    ledger = {"ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"}
    ours = {"spool", "objects", "listeners", "service.lock", "site.key"} | ledger
    assert {parts[1] for parts in written if parts[0] == "root"} <= ours
    (report,) = pacs.reports(study_uid(70))
    assert report.dataset.PatientID == "../victim"


def _assert_one_result_of_the_whole(service: Service, pacs: ScriptedPacs, number: int) -> None:
    document = service.wait_for_state(study_uid(number), StudyState.DELIVERED)
    assert document["instances"] == len(small_study(number))
    assert [job["kind"] for job in document["jobs"]] == ["infer", "report"]
    assert document["findings"]["status"] == "scored"
    assert len(pacs.reports(study_uid(number))) == 1


def _marker_study_is_done(service: Service, number: int) -> None:
    """Send a study that is complete and wait for its delivery: by then every older study has been decided on, too."""
    send_whole(service.port, small_study(number))
    service.wait_for_state(study_uid(number), StudyState.DELIVERED)


def _encoded(ds: Dataset, without: str = "") -> bytes:
    kept = Dataset({tag: element for tag, element in ds.items() if element.keyword != without})
    kept.file_meta = ds.file_meta
    part10 = to_part10(kept)
    meta_length = struct.unpack_from("<I", part10, 140)[0]
    return part10[144 + meta_length :]


def _nested(depth: int) -> bytes:
    """Return a private element of ``depth`` sequences inside one another, each of undefined length, none closed."""
    head = struct.pack("<HH2sHI", 0x0099, 0x1001, b"SQ", 0, 0xFFFFFFFF)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    return (head + item) * depth
