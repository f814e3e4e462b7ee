"""A DICOMweb source is asked like another; whatever it answers, nothing that was not asked for is taken."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from copy import deepcopy
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
from pydicom import Dataset
from pydicom.uid import ExplicitVRBigEndian, RawDataStorage

from egfr_dls.settings_sections import Source
from egfr_dls.spool import AssociationEnded, DirectorySpool
from egfr_dls.study import ReceivedInstance
from listener.indexing.intake import data_set_offset
from listener.retrieve.ask import Asker, Lack, Outcome
from listener.retrieve.dicomweb import PAGE_BYTES
from listener.storage.reception import Reception
from tests.builders import CT_SERIES_UID, PET_SERIES_UID, STUDY_UID, ct_slices, petct_study, to_part10
from tests.listener.certificates import CLIENT, SERVER, Authority
from tests.listener.nodes import raw_data_set
from tests.listener.requester import free_port
from tests.listener.retrieve.reports import report_of
from tests.listener.web_archive import JSON_TYPE, MULTIPART, Answer, WebArchive, related, serving_web

OTHER_STUDY = "1.2.826.0.1.3680043.10.2.1"
CT_UIDS = frozenset(str(ds.SOPInstanceUID) for ds in ct_slices())
PET_UIDS = frozenset(str(ds.SOPInstanceUID) for ds in petct_study() if ds.Modality == "PT")
IMAGES = Lack(frozenset({"CT", "PT"}), PET_UIDS, images=True)  # the CT is missing


@dataclass
class Desk:
    """Asks sources on behalf of a node that has a spool, and nothing else."""

    spool: DirectorySpool
    stop: threading.Event

    def ask(self, url: str, lack: Lack = IMAGES, **keys: Any) -> Outcome:
        """Ask the service at ``url`` about the study."""
        source = Source(name="pacs", transport="dicomweb", url=url, **keys)
        return Asker("EGFR_DLS", Reception(self.spool, 0), self.stop).ask(source, STUDY_UID, lack)

    def entries(self) -> list[ReceivedInstance | AssociationEnded]:
        """Return what is in the spool."""
        return [record.entry for record in self.spool.records("desk", {}, everything=True)]  # type: ignore[misc]

    def kept(self) -> set[str]:
        """Return the SOP Instance UIDs in the spool."""
        return {entry.sop_instance_uid for entry in self.entries() if isinstance(entry, ReceivedInstance)}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    spool = DirectorySpool(tmp_path / "spool", "desk")
    with closing(spool):
        yield Desk(spool, threading.Event())


def reason(outcome: Outcome) -> str | None:
    return outcome.failure and outcome.failure.reason


def instead(status: int, headers: dict[str, str], body: bytes | Callable[[], Iterator[bytes]]) -> Any:
    """Return what replaces every answer of one kind."""
    return lambda _answer: (status, headers, body if isinstance(body, bytes) else body())


def without_end(piece: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: repeat(piece)


# -- what it gives


def test_a_missing_series_is_retrieved_as_one(desk: Desk) -> None:
    with serving_web(WebArchive(petct_study())) as archive:
        outcome = desk.ask(archive.url)
    assert outcome.failure is None
    assert desk.kept() == outcome.taken == CT_UIDS
    assert archive.retrieved() == [f"/studies/{STUDY_UID}/series/{CT_SERIES_UID}"]
    *instances, end = desk.entries()
    assert {(e.calling_ae_title, e.called_ae_title, e.peer_address) for e in instances} == {
        ("pacs", "EGFR_DLS", "127.0.0.1")
    }  # fmt: skip
    assert isinstance(end, AssociationEnded)
    assert end.released


def test_the_rest_of_a_series_is_retrieved_by_its_instances(desk: Desk) -> None:
    here, missing = sorted(CT_UIDS)[2:], sorted(CT_UIDS)[:2]
    lack = Lack(frozenset({"CT", "PT"}), PET_UIDS | set(here), images=True)
    with serving_web(WebArchive(petct_study())) as archive:
        outcome = desk.ask(archive.url, lack)
    assert outcome.failure is None
    assert desk.kept() == set(missing)
    assert archive.retrieved() == [f"/studies/{STUDY_UID}/series/{CT_SERIES_UID}/instances/{uid}" for uid in missing]


def test_an_instance_that_comes_in_many_pieces_is_kept_as_it_was(desk: Desk) -> None:
    hu = np.random.default_rng(0).integers(-1000, 1000, (2, 512, 512)).astype(np.float32)
    study = ct_slices(hu)
    with serving_web(WebArchive(study)) as archive:
        assert desk.ask(archive.url).failure is None
    records = list(desk.spool.records("desk", {}, everything=True))
    kept = {r.entry.sop_instance_uid: desk.spool.read(r.ref) for r in records if isinstance(r.entry, ReceivedInstance)}
    assert {uid: body[data_set_offset(body) :] for uid, body in kept.items()} == {
        ds.SOPInstanceUID: raw_data_set(ds) for ds in study
    }


def test_a_list_in_many_answers_is_read_to_its_end(desk: Desk) -> None:
    with serving_web(WebArchive(petct_study(), page=3)) as archive:
        assert desk.ask(archive.url).failure is None
    assert desk.kept() == CT_UIDS


def test_a_source_that_knows_no_offset_is_not_asked_for_ever(desk: Desk) -> None:
    with serving_web(WebArchive(petct_study(), pages=False)) as archive:
        assert desk.ask(archive.url).failure is None
    assert archive.searched().count(f"/studies/{STUDY_UID}/series") == 2


def test_every_question_names_its_media_type_and_asks_for_what_is_stored(desk: Desk) -> None:
    with serving_web(WebArchive(petct_study())) as archive:
        desk.ask(archive.url)
    accepted = {headers["Accept"] for _path, _keys, headers in archive.requests}
    assert accepted == {
        "application/dicom+json",
        'multipart/related; type="application/dicom"; transfer-syntax=*',
    }
    assert {headers.get("Accept-Encoding") for _path, _keys, headers in archive.requests} == {"identity"}


def test_an_empty_answer_is_no_content_and_no_fault(desk: Desk) -> None:
    with serving_web(WebArchive([], search=instead(204, {}, b""))) as archive:
        outcome = desk.ask(archive.url)
    assert (outcome.failure, outcome.requests, outcome.reports) == (None, (), {})


def test_a_connection_that_the_source_closed_meanwhile_is_opened_anew(desk: Desk) -> None:
    """It says nothing of it, as after a time-out of its own."""

    class Closing(WebArchive):
        def answer(self, target: str, headers: dict[str, str]) -> Answer:
            if len(self.requests) == 2 and not closed:
                closed.append(1)
                raise ConnectionResetError
            return super().answer(target, headers)

    closed: list[int] = []
    with serving_web(Closing(petct_study())) as archive:
        assert desk.ask(archive.url).failure is None
    assert closed
    assert desk.kept() == CT_UIDS


def test_the_newest_report_of_each_earlier_study_is_kept_beside_the_study(desk: Desk) -> None:
    reports = [report_of("1.2.77.1", 1), report_of("1.2.77.1", 2), report_of("1.2.77.2", 1)]
    strangers = [report_of("1.2.77.3", 1, patient_id="SOMEBODY"), report_of("1.2.77.4", 1, date="20991231")]
    with serving_web(WebArchive([*petct_study(), *reports, *strangers])) as archive:
        outcome = desk.ask(archive.url)
    assert outcome.failure is None
    assert set(outcome.reports) == {"1.2.77.1.9.2", "1.2.77.2.9.1"}
    assert outcome.reports["1.2.77.2.9.1"][128:132] == b"DICM"
    assert desk.kept() == CT_UIDS


def test_dates_and_revisions_that_are_none_lead_nowhere(desk: Desk) -> None:
    report = report_of("1.2.77.1", 1)

    def without_date(answer: Answer) -> Answer:
        status, headers, body = answer
        assert isinstance(body, bytes)
        return (
            status,
            headers,
            body.replace(b'"20250102"', b'"2025-01-02&x"').replace(b"[1]", b"[" + b"9" * 4000 + b"]"),
        )

    with serving_web(WebArchive([*petct_study(), report], search=without_date)) as archive:
        outcome = desk.ask(archive.url)
    assert outcome.failure is None


# -- what is not taken


def test_instances_of_another_study_are_not_taken(desk: Desk) -> None:
    strangers = [deepcopy(ds) for ds in ct_slices()]
    for ds in strangers:
        ds.StudyInstanceUID = OTHER_STUDY
    given = instead(200, MULTIPART, related(*map(to_part10, strangers)))
    with serving_web(WebArchive(petct_study(), retrieve=given)) as archive, structlog.testing.capture_logs() as events:
        assert reason(desk.ask(archive.url)) == "INCOMPLETE"
    assert desk.kept() == set()
    assert [e["event"] for e in events].count("instance_not_asked_for") == len(strangers)


def listed_later(ds: Dataset) -> Dataset:
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "1.2.826.0.1.3680043.10.9.9"
    return ds


def of_another_class(ds: Dataset) -> Dataset:
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = RawDataStorage
    return ds


def in_another_syntax(ds: Dataset) -> Dataset:
    ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    return ds


def test_a_flood_of_what_was_not_asked_for_is_broken_off(desk: Desk) -> None:
    def flood() -> Iterator[bytes]:
        stranger = to_part10(listed_later(ct_slices()[0]))
        return repeat(related(stranger).removesuffix(b"--\r\n") + b"\r\n")

    archive = WebArchive(petct_study(), retrieve=instead(200, MULTIPART, flood))
    with serving_web(archive), structlog.testing.capture_logs() as events:
        assert reason(desk.ask(archive.url, max_instances=50)) == "SIZE_LIMIT"
    assert [e["event"] for e in events].count("instance_not_asked_for") == 51


@pytest.mark.parametrize("change", [listed_later, of_another_class, in_another_syntax])
def test_what_was_not_listed_or_would_be_no_context_is_not_taken(desk: Desk, change: Any) -> None:
    files = [to_part10(ds) for ds in ct_slices()]
    odd = ct_slices()[0]
    wrong = to_part10(odd) if change is in_another_syntax else to_part10(change(odd))
    if change is in_another_syntax:
        wrong = wrong.replace(b"UI\x14\x001.2.840.10008.1.2.1\x00", b"UI\x14\x001.2.840.10008.1.2.2\x00", 1)
    given = instead(200, MULTIPART, related(wrong, *files[1:]))
    with serving_web(WebArchive(petct_study(), retrieve=given)) as archive:
        assert reason(desk.ask(archive.url)) == "INCOMPLETE"
    assert desk.kept() == CT_UIDS - {str(ct_slices()[0].SOPInstanceUID)}


def test_a_source_that_lists_another_study_is_asked_for_ours_only(desk: Desk) -> None:
    others = [deepcopy(ds) for ds in ct_slices()]
    for number, ds in enumerate(others):
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID = OTHER_STUDY, "1.2.99", f"1.2.99.{number}"

    def lists_all(answer: Answer) -> Answer:
        status, headers, body = answer
        assert isinstance(body, bytes)
        matches = json.loads(body)
        if matches and "0020000E" in matches[0] and len(matches) < 3:
            matches.append({"0020000D": {"vr": "UI", "Value": [OTHER_STUDY]}, "00080060": {"vr": "CS", "Value": ["CT"]},
                            "0020000E": {"vr": "UI", "Value": ["1.2.99"]}})  # fmt: skip
        return status, headers, json.dumps(matches).encode()

    with serving_web(WebArchive(petct_study(), search=lists_all)) as archive:
        desk.ask(archive.url)
    assert not [path for path, _keys, _headers in archive.requests if "1.2.99" in path]


def test_uids_that_are_none_never_become_part_of_a_path(desk: Desk) -> None:
    def poisoned(answer: Answer) -> Answer:
        status, headers, body = answer
        assert isinstance(body, bytes)
        return status, headers, body.replace(CT_SERIES_UID.encode(), b"../../../patients?x=")

    with serving_web(WebArchive(petct_study(), search=poisoned)) as archive:
        outcome = desk.ask(archive.url)
    assert not [path for path, _keys, _headers in archive.requests if ".." in path]
    assert outcome.requests == ()


# -- what it answers instead


BIG = b"[" + b'{"00080018": {"vr": "UI", "Value": ["1.2.3"]}},' * 100
FILE = to_part10(ct_slices()[0])


@pytest.mark.parametrize(
    ("kind", "answer", "said"),
    [
        ("search", instead(401, JSON_TYPE, b"{}"), "HTTP_401"),
        ("search", instead(302, {"Location": "http://127.0.0.1:1/"}, b""), "HTTP_302"),
        ("search", instead(200, {"Content-Type": "text/html"}, b"<html>please log in</html>"), "CONTENT_TYPE"),
        ("search", instead(200, {}, b"[]"), "CONTENT_TYPE"),
        ("search", instead(200, {**JSON_TYPE, "Content-Encoding": "gzip"}, b"\x1f\x8b"), "CONTENT_TYPE"),
        ("search", instead(200, JSON_TYPE, b"[{"), "ANSWER_UNREADABLE"),
        ("search", instead(200, JSON_TYPE, b"\xff\xfe\xff"), "ANSWER_UNREADABLE"),
        ("search", instead(200, JSON_TYPE, b"[" * 1_000_000), "ANSWER_UNREADABLE"),
        ("search", instead(200, JSON_TYPE, b"[" + b"9" * 100_000 + b"]"), "ANSWER_UNREADABLE"),
        ("search", instead(200, JSON_TYPE, b'{"00080018": {}}'), "ANSWER_UNREADABLE"),
        ("search", instead(200, JSON_TYPE, b"[1, 2]"), "ANSWER_UNREADABLE"),
        ("search", instead(200, JSON_TYPE, without_end(BIG)), "SIZE_LIMIT"),
        ("retrieve", instead(302, {"Location": "/elsewhere"}, b""), "HTTP_302"),
        ("retrieve", instead(500, JSON_TYPE, b"{}"), "HTTP_500"),
        ("retrieve", instead(200, JSON_TYPE, b"[]"), "CONTENT_TYPE"),
        ("retrieve", instead(200, {"Content-Type": "multipart/related"}, related(FILE)), "CONTENT_TYPE"),
        (
            "retrieve",
            instead(200, {"Content-Type": MULTIPART["Content-Type"].replace("dicom", "octet-stream")}, related(FILE)),
            "CONTENT_TYPE",
        ),
        ("retrieve", instead(200, MULTIPART, related(FILE, boundary="another")), "MULTIPART_BROKEN"),
        ("retrieve", instead(200, MULTIPART, related(FILE)[:-8]), "MULTIPART_BROKEN"),
        ("retrieve", instead(200, MULTIPART, related(b"no DICOM" * 99)), "PART_UNREADABLE"),
        ("retrieve", instead(200, MULTIPART, without_end(bytes(65536))), "SIZE_LIMIT"),
        ("retrieve", instead(200, MULTIPART, lambda: iter([related(FILE)[:-40], *repeat(bytes(65536), 999)])), "SIZE_LIMIT"),
        ("retrieve", instead(204, {}, b""), "INCOMPLETE"),
        ("retrieve", instead(200, MULTIPART, related()), "INCOMPLETE"),
    ],
)  # fmt: skip
def test_why_a_source_gives_nothing_is_said_by_name(desk: Desk, kind: str, answer: Any, said: str) -> None:
    archive = WebArchive(petct_study())
    setattr(archive, kind, answer)
    with serving_web(archive):
        outcome = desk.ask(archive.url, max_bytes=4_000_000)
    assert reason(outcome) == said
    assert outcome.failure is not None
    assert outcome.failure.again == (said != "SIZE_LIMIT")
    assert desk.kept() == set()
    assert desk.entries() == []


def test_an_answer_of_a_gigabyte_is_read_to_its_limit_only(desk: Desk) -> None:
    sent: list[int] = []

    def gigabyte() -> Iterator[bytes]:
        for _ in range(1024):
            sent.append(1)
            yield BIG.ljust(1024**2)

    with serving_web(WebArchive([], search=instead(200, JSON_TYPE, gigabyte))) as archive:
        assert reason(desk.ask(archive.url)) == "SIZE_LIMIT"
    assert len(sent) < PAGE_BYTES // 1024**2 + 16  # and what the sockets hold


def test_a_list_over_the_limit_is_not_fetched_from(desk: Desk) -> None:
    with serving_web(WebArchive(petct_study())) as archive:
        outcome = desk.ask(archive.url, max_instances=3)
    assert reason(outcome) == "TOO_MANY_MATCHES"
    assert archive.retrieved() == []


def test_the_bytes_of_all_answers_count_together(desk: Desk) -> None:
    whole = len(related(*map(to_part10, ct_slices())))
    lack = Lack(frozenset({"CT", "PT"}), frozenset(), images=True)
    with serving_web(WebArchive(petct_study())) as archive:
        outcome = desk.ask(archive.url, lack, max_bytes=whole + 1000)
    assert reason(outcome) == "SIZE_LIMIT"
    assert 0 < len(desk.kept()) < len(petct_study())


def test_what_came_before_it_broke_off_stays_and_the_end_is_a_lost_one(desk: Desk) -> None:
    body = related(*map(to_part10, ct_slices()))
    with serving_web(WebArchive(petct_study(), retrieve=instead(200, MULTIPART, body[: len(body) // 2]))) as archive:
        assert reason(desk.ask(archive.url)) == "MULTIPART_BROKEN"
    assert 0 < len(desk.kept()) < len(CT_UIDS)
    end = desk.entries()[-1]
    assert isinstance(end, AssociationEnded)
    assert not end.released


def test_a_body_shorter_than_its_length_is_no_answer(desk: Desk) -> None:
    class Short(WebArchive):
        def answer(self, target: str, headers: dict[str, str]) -> Answer:
            status, given, _body = super().answer(target, headers)
            return status, {**given, "Content-Length": "1000"}, iter([b"[]"])

    with serving_web(Short(petct_study())) as archive:
        assert reason(desk.ask(archive.url)) == "NO_ANSWER"


# -- when it does not answer


def test_a_source_that_is_down_is_unreachable(desk: Desk) -> None:
    assert reason(desk.ask(f"http://127.0.0.1:{free_port()}")) == "UNREACHABLE"


def test_a_name_that_is_none_is_not_resolved(desk: Desk) -> None:
    for url in ("http://archive.invalid", f"https://{'a' * 64}.example"):
        assert reason(desk.ask(url)) == "NAME_NOT_RESOLVED"


def test_a_source_that_drips_is_broken_off_at_its_time_limit(desk: Desk) -> None:
    over = threading.Event()

    def drip() -> Iterator[bytes]:
        while not over.wait(0.05):
            yield b" "

    started = time.monotonic()
    with serving_web(WebArchive([], search=instead(200, JSON_TYPE, drip))) as archive:
        assert reason(desk.ask(archive.url, max_seconds=0.5)) == "TIME_LIMIT"
        over.set()
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_source_that_says_nothing_is_broken_off(desk: Desk, scheme: str) -> None:
    """Also within the handshake of TLS."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}"
        assert reason(desk.ask(url, max_seconds=0.5)) == "TIME_LIMIT"


def test_a_stop_breaks_off(desk: Desk) -> None:
    asked, over = threading.Event(), threading.Event()

    def silence() -> Iterator[bytes]:
        asked.set()
        over.wait(20)
        yield b"[]"

    with serving_web(WebArchive([], search=instead(200, JSON_TYPE, silence))) as archive:
        stopper = threading.Thread(target=lambda: asked.wait(20) and desk.stop.set())
        stopper.start()
        assert reason(desk.ask(archive.url)) == "STOPPED"
        over.set()
        stopper.join()


# -- who it is, and who we are


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


def server_context(authority: Authority, alternatives: str = "IP:127.0.0.1") -> ssl.SSLContext:
    issued = authority.issue("archive", SERVER, alternatives=alternatives)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.certificate, issued.key)
    return context


def test_a_source_is_asked_by_tls_with_the_authority_of_its_configuration(desk: Desk, authority: Authority) -> None:
    with serving_web(WebArchive(petct_study()), server_context(authority)) as archive:
        assert desk.ask(archive.url, tls={"ca": authority.certificate}).failure is None
    assert desk.kept() == CT_UIDS


def test_a_certificate_of_another_authority_or_name_is_not_trusted(
    desk: Desk, authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other", "other")
    with serving_web(WebArchive(petct_study()), server_context(authority)) as archive:
        assert reason(desk.ask(archive.url, tls={"ca": other.certificate})) == "CERTIFICATE_NOT_TRUSTED"
        assert reason(desk.ask(archive.url)) == "CERTIFICATE_NOT_TRUSTED"
    with serving_web(WebArchive([]), server_context(authority, "DNS:elsewhere.example")) as archive:
        assert reason(desk.ask(archive.url, tls={"ca": authority.certificate})) == "CERTIFICATE_NOT_TRUSTED"
    assert archive.requests == []


def test_a_source_that_asks_for_a_certificate_gets_ours(desk: Desk, authority: Authority) -> None:
    context = server_context(authority)
    context.load_verify_locations(authority.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    ours = authority.issue("node", CLIENT)
    with serving_web(WebArchive(petct_study()), context) as archive:
        keys = {"ca": authority.certificate, "certificate": ours.certificate, "key": ours.key}
        assert desk.ask(archive.url, tls=keys).failure is None
        assert reason(desk.ask(archive.url, tls={"ca": authority.certificate})) in ("NO_ANSWER", "TLS_FAILED")


def test_a_service_without_tls_is_no_https_one(desk: Desk) -> None:
    with serving_web(WebArchive(petct_study())) as archive:
        assert reason(desk.ask(archive.url.replace("http:", "https:"))) == "TLS_FAILED"


def test_files_that_cannot_be_read_are_said_and_nobody_is_asked(desk: Desk, tmp_path: Path) -> None:
    (empty := tmp_path / "empty").touch()
    for ca in (tmp_path / "none.pem", empty):
        assert reason(desk.ask("https://127.0.0.1:1", tls={"ca": ca})) == "TLS_FILE_UNREADABLE"
    for authorization in (tmp_path / "none", empty):
        failed = desk.ask("https://127.0.0.1:1", authorization_file=authorization)
        assert reason(failed) == "AUTHORIZATION_UNREADABLE"


def test_the_authorization_is_that_of_the_file_with_each_study_and_in_no_event(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "token"
    with serving_web(WebArchive([])) as archive, structlog.testing.capture_logs() as events:
        for token in ("Bearer s3cret-one", "Basic s3cret-two"):
            file.write_text(f"{token}\n")
            outcome = desk.ask(archive.url, authorization_file=file)
            assert archive.requests[-1][2]["Authorization"] == token
            assert "s3cret" not in repr(outcome)
        archive.search = instead(403, JSON_TYPE, b"{}")
        refused = desk.ask(archive.url, authorization_file=file)
    assert reason(refused) == "HTTP_403"
    assert "s3cret" not in repr((events, refused))


@pytest.mark.parametrize("value", ["Bearer a\r\nX-More: 1", "Bearer \x00", "Bearer \u00e4"])
def test_an_authorization_that_is_no_header_value_is_not_sent(desk: Desk, tmp_path: Path, value: str) -> None:
    (file := tmp_path / "token").write_bytes(value.encode())
    with serving_web(WebArchive([])) as archive:
        assert reason(desk.ask(archive.url, authorization_file=file)) == "AUTHORIZATION_UNREADABLE"
    assert archive.requests == []


def test_the_pet_is_not_fetched_when_it_is_here(desk: Desk) -> None:
    with serving_web(WebArchive(petct_study())) as archive:
        desk.ask(archive.url)
    assert not [path for path in archive.retrieved() if PET_SERIES_UID in path]
