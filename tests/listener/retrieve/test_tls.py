"""A DIMSE source by TLS, as destinations are: who is trusted, who we are, and what is said where either is not believed."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from egfr_dls.settings_sections import Source
from egfr_dls.spool import DirectorySpool
from listener.retrieve.ask import Asker, Lack, Outcome
from listener.retrieve.association import FIND, MOVE
from listener.storage.reception import Reception
from tests.builders import STUDY_UID, ct_slices, petct_study
from tests.listener.archive import AE_TITLE, Archive, serving
from tests.listener.certificates import SERVER, Authority, Issued, mutual
from tests.listener.retrieve.reports import report_of

CT_UIDS = frozenset(str(ds.SOPInstanceUID) for ds in ct_slices())
IMAGES = Lack(frozenset({"CT"}), frozenset(), images=True)
# pynetdicom drops a socket that the peer has reset without closing it (transport.py, AssociationSocket._shutdown_socket).
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("dropped_here"),
]


def ask(root: Path, archive: Archive, tls: dict[str, Any] | None) -> Outcome:
    source = Source(name="pacs", ae_title=AE_TITLE, host="127.0.0.1", port=archive.port, tls=tls)
    with closing(DirectorySpool(root / "spool", "desk")) as spool:
        return Asker("EGFR_DLS", Reception(spool, 0), threading.Event()).ask(source, STUDY_UID, IMAGES)


def reason(outcome: Outcome) -> str | None:
    assert not outcome.taken
    return outcome.failure and outcome.failure.reason


def keys(authority: Authority, ours: Issued) -> dict[str, Any]:
    return {"ca": authority.certificate, "certificate": ours.certificate, "key": ours.key}


def test_both_sides_are_believed(tmp_path: Path, authority: Authority, pacs_certificate: Issued, ours: Issued) -> None:
    """C-FIND and C-GET, of images and earlier reports."""
    archive = Archive([*petct_study(), report_of("1.2.77.1", 1)])
    with serving(archive, mutual(pacs_certificate, authority)):
        outcome = ask(tmp_path, archive, keys(authority, ours))
    assert outcome.failure is None
    assert (outcome.taken, set(outcome.reports)) == (CT_UIDS, {"1.2.77.1.9.1"})


def test_by_c_move_the_source_is_told_by_tls_to_send(
    tmp_path: Path, authority: Authority, pacs_certificate: Issued, ours: Issued
) -> None:
    """What it sends then is an association of its own, to our listener."""
    archive = Archive(petct_study(), models=(FIND, MOVE))
    with (
        serving(Archive([])) as listener,
        serving(archive, mutual(pacs_certificate, authority)),
    ):
        archive.move_to = listener.port
        ask(tmp_path, archive, keys(authority, ours))
    assert archive.retrievals != []


@pytest.mark.parametrize("alternatives", ["DNS:other.example", "IP:127.0.0.2"])
def test_a_source_of_another_name_is_asked_nothing(
    tmp_path: Path, authority: Authority, ours: Issued, alternatives: str
) -> None:
    other = authority.issue("other", SERVER, alternatives=alternatives)
    archive = Archive(petct_study())
    with serving(archive, mutual(other, authority)):
        assert reason(ask(tmp_path, archive, keys(authority, ours))) == "CERTIFICATE_NOT_TRUSTED"
    assert archive.queries == []


def test_a_source_of_an_unknown_authority_is_asked_nothing(
    tmp_path: Path, authority: Authority, pacs_certificate: Issued, ours: Issued
) -> None:
    elsewhere = Authority(tmp_path / "elsewhere", "elsewhere")
    archive = Archive(petct_study())
    with serving(archive, mutual(pacs_certificate, authority)):
        assert reason(ask(tmp_path, archive, keys(elsewhere, ours))) == "CERTIFICATE_NOT_TRUSTED"
    assert archive.queries == []


def test_a_source_that_misses_our_certificate_gives_nothing(
    tmp_path: Path, authority: Authority, pacs_certificate: Issued
) -> None:
    archive = Archive(petct_study())
    with serving(archive, mutual(pacs_certificate, authority)):
        said = reason(ask(tmp_path, archive, {"ca": authority.certificate}))
    assert said in ("CERTIFICATE_REFUSED", "UNREACHABLE")  # its alert may be lost with the connection
    assert archive.queries == []


def test_a_source_without_tls_is_no_secure_one(tmp_path: Path, authority: Authority, ours: Issued) -> None:
    archive = Archive(petct_study())
    with serving(archive):
        assert reason(ask(tmp_path, archive, keys(authority, ours))) in ("TLS_FAILED", "UNREACHABLE")
    assert archive.queries == []


def test_a_secure_source_is_none_without_tls(tmp_path: Path, authority: Authority, pacs_certificate: Issued) -> None:
    archive = Archive(petct_study())
    with serving(archive, mutual(pacs_certificate, authority)):
        assert reason(ask(tmp_path, archive, None)) is not None
    assert archive.queries == []


def test_a_file_that_is_none_is_named(tmp_path: Path, authority: Authority, ours: Issued) -> None:
    wrong = tmp_path / "ca.pem"
    for content in (None, "no certificate"):
        if content is not None:
            wrong.write_text(content, encoding="utf-8")
        tls = {**keys(authority, ours), "ca": wrong}
        assert reason(ask(tmp_path, Archive([]), tls)) == "TLS_FILE_UNREADABLE"
