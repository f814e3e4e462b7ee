"""Object storage that fails, in every way that a network has: what was acknowledged is there, once."""

from __future__ import annotations

import http.server
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest

from egfr_dls.analysis import private_settings
from egfr_dls.errors import ConfigurationError
from egfr_dls.settings import Settings, load
from egfr_dls.settings_sections import S3, Storage
from egfr_dls.spool import DirectorySpool, SegmentFull, SpoolReadError, SpoolWriteError
from egfr_dls.store import open_spool
from egfr_dls.study import ReceivedInstance
from tests.egfr_dls.spool.entries import ENTRY, LISTENER, numbered
from tests.egfr_dls.spool.object_storage import BUCKET, Cable, S3Server

pytest.importorskip("obstore", reason="obstore (the extra s3) is not installed")

from egfr_dls.spool import bucket, objects  # the library is there
from egfr_dls.spool.bucket import Bucket
from egfr_dls.spool.s3 import S3Spool

LONG = bytes(12 * 1024 * 1024)  # three parts


@pytest.fixture
def prefix() -> str:
    """A part of the bucket for one test."""
    return f"tests/{uuid4()}"


@pytest.fixture
def spool(s3_server: S3Server, prefix: str) -> S3Spool:
    """A spool at the server itself."""
    return S3Spool(Bucket(BUCKET, s3_server.endpoint, prefix), LISTENER)


@pytest.fixture
def cable(s3_server: S3Server) -> Iterator[Cable]:
    """A connection to the server that can be cut."""
    made = Cable(s3_server)
    yield made
    made.close()


def present(spool: S3Spool) -> Counter[object]:
    """Return what is recorded, and how often."""
    found = spool.records(LISTENER, {}, everything=True)
    return Counter(r.entry for r in found if not isinstance(r.entry, SegmentFull))


def at_hour(monkeypatch: pytest.MonkeyPatch, hours: float) -> None:
    """Let the spool's clock go ahead."""
    monkeypatch.setattr(objects, "time", SimpleNamespace(time=lambda: time.time() + hours * 3600))


# --- what was acknowledged is there -----------------------------------------------------------------------------------


def test_answers_that_are_lost_cost_no_acknowledged_record_and_double_none(
    spool: S3Spool, cable: Cable, prefix: str
) -> None:
    """Four writers; the connection breaks three times, after requests that the server has carried out."""
    writer = S3Spool(Bucket(BUCKET, cable.endpoint, prefix), LISTENER)
    acknowledged: list[ReceivedInstance] = []
    failed: list[ReceivedInstance] = []

    def write(k: int) -> None:
        for n in range(12):
            entry = numbered(100 * k + n)
            try:
                writer.append(entry, [b"x" * 1000])
                acknowledged.append(entry)
            except SpoolWriteError:
                failed.append(entry)
                cable.mend()

    for round_ in range(3):
        cable.cut_after(7)
        threads = [threading.Thread(target=write, args=(10 * round_ + k,)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    there = present(spool)
    assert failed
    assert set(acknowledged) <= set(there)
    assert set(there) <= set(acknowledged) | set(failed)
    assert set(there.values()) == {1}


def test_a_server_that_hangs_is_given_up_in_time_and_what_arrives_late_takes_no_place(
    s3_server: S3Server, spool: S3Spool, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "REQUEST_SECONDS", 1)
    writer = S3Spool(Bucket(BUCKET, s3_server.endpoint, prefix), LISTENER)
    before = writer.append(numbered(1), [b"before"])
    with s3_server.frozen():
        begun = time.monotonic()
        with pytest.raises(SpoolWriteError, match=f"bucket {BUCKET} at .* does not answer; needed: the network"):
            writer.append(numbered(2), [b"late"])
        assert time.monotonic() - begun < 8
    after = writer.append(numbered(3), [b"after"])
    assert (spool.read(before), spool.read(after)) == (b"before", b"after")
    assert (after.segment, after.offset) == (before.segment, before.offset + 2)
    assert set(present(spool).values()) == {1}


def test_a_killed_process_has_stored_what_it_acknowledged(spool: S3Spool, s3_server: S3Server, prefix: str) -> None:
    program = (
        "import sys\n"
        "from egfr_dls.spool.bucket import Bucket\n"
        "from egfr_dls.spool.s3 import S3Spool\n"
        "from tests.egfr_dls.spool.entries import LISTENER, numbered\n"
        f"spool = S3Spool(Bucket({BUCKET!r}, {s3_server.endpoint!r}, {prefix!r}), LISTENER)\n"
        "for n in range(100000):\n"
        "    spool.append(numbered(n), [b'x'])\n"
        "    print(n, flush=True)\n"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]
    )
    assert writer.stdout
    acknowledged = [int(writer.stdout.readline()) for _ in range(20)]
    writer.send_signal(signal.SIGKILL)
    acknowledged += [int(line) for line in writer.stdout.read().splitlines()]
    writer.stdout.close()
    writer.wait()
    there = present(spool)
    assert {numbered(n) for n in acknowledged} <= set(there)
    assert set(there) <= {numbered(n) for n in range(len(acknowledged) + 1)}


def test_a_broken_upload_is_said_and_the_next_one_succeeds(spool: S3Spool, cable: Cable, prefix: str) -> None:
    through = S3Spool(Bucket(BUCKET, cable.endpoint, prefix), LISTENER)
    writer = through.begin()
    cable.cut_after(1)  # of the request that begins the upload
    with pytest.raises(SpoolWriteError, match="does not answer"):
        for _ in range(6):  # parts are on their way while others are written: not the first one hears of it
            writer.write([LONG])
    with pytest.raises(SpoolWriteError, match="the record is over"):
        writer.commit(ENTRY)
    writer.discard()
    cable.mend()
    again = through.begin()
    again.write([LONG])
    assert spool.read(again.commit(ENTRY)) == LONG
    assert list(present(spool).values()) == [1]


def test_an_upload_that_was_given_up_leaves_nothing_in_the_bucket(
    spool: S3Spool, s3_server: S3Server, prefix: str
) -> None:
    writer = spool.begin()
    for _ in range(2):
        writer.write([LONG])
    writer.discard()
    with urllib.request.urlopen(f"{s3_server.endpoint}/{BUCKET}?uploads", timeout=10) as answer:
        assert prefix not in answer.read().decode()
    assert not present(spool)


# --- segments of processes that are gone ------------------------------------------------------------------------------


def test_a_segment_takes_records_for_an_hour_and_counts_as_closed_after_a_day(
    spool: S3Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = spool.append(numbered(1), [b"x"]).segment
    other = S3Spool(spool._bucket, LISTENER)  # another process, which is killed: nobody closes its segment
    killed = other.append(numbered(2), [b"y"]).segment
    at_hour(monkeypatch, 1.1)
    assert spool.append(numbered(3), [b"z"]).segment != left
    ends = {r.ref.segment for r in spool.records(LISTENER, {}) if isinstance(r.entry, SegmentFull)}
    assert left in ends
    assert killed not in ends
    with pytest.raises(ValueError, match="not full"):
        spool.archive(killed)
    at_hour(monkeypatch, 24.1)
    assert killed in {r.ref.segment for r in spool.records(LISTENER, {}) if isinstance(r.entry, SegmentFull)}
    spool.archive(killed)
    assert killed not in {r.ref.segment for r in spool.records(LISTENER, {})}


def test_a_record_that_took_half_a_day_is_not_taken(spool: S3Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = spool.begin()
    at_hour(monkeypatch, 12.1)
    with pytest.raises(SpoolWriteError, match="half a day"):
        writer.commit(ENTRY)
    writer.discard()
    assert not present(spool)


def test_what_is_no_record_of_ours_is_passed_by_and_a_damaged_one_is_said(spool: S3Spool) -> None:
    ref = spool.append(numbered(1), [b"abc"])
    whole = bytes(spool._bucket.get(objects.record_key(ref.segment, 0), 0, 2000) or b"")
    spool._bucket.put(objects.record_key(ref.segment, 7), b"short")
    spool._bucket.put(objects.record_key(ref.segment, 8), bytes(5000))
    spool._bucket.put(objects.record_key(ref.segment, 0), b"abd" + whole[3:])
    assert set(present(spool)) == {numbered(1)}
    with pytest.raises(SpoolReadError, match="is not what was stored"):
        spool.read(ref)


# --- what an operator is told -----------------------------------------------------------------------------------------


def settings(tmp_path: Path, endpoint: str, name: str = BUCKET, prefix: str = "spool") -> Settings:
    """Return a configuration with this bucket."""
    return Settings(
        storage=Storage(root=tmp_path, engine="s3", s3=S3(bucket=name, endpoint=endpoint, prefix=prefix)),
    )


def test_a_bucket_that_is_not_there_is_a_fault_of_the_configuration(s3_server: S3Server, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"bucket no-such at {s3_server.endpoint} does not exist"):
        open_spool(settings(tmp_path, s3_server.endpoint, "no-such"), LISTENER, check=True)


def test_a_prefix_belongs_to_one_installation(s3_server: S3Server, tmp_path: Path, prefix: str) -> None:
    for _ in range(2):
        open_spool(settings(tmp_path / "one", s3_server.endpoint, prefix=prefix), LISTENER, check=True)
    with pytest.raises(ConfigurationError, match="another installation's; needed: a prefix of its own"):
        open_spool(settings(tmp_path / "two", s3_server.endpoint, prefix=prefix), "listener-b", check=True)


def test_a_server_that_is_gone_is_no_fault_of_the_configuration(tmp_path: Path, s3_server: S3Server) -> None:
    nobody = "http://127.0.0.1:1"
    with pytest.raises(SpoolReadError, match=f"bucket {BUCKET} at {nobody} does not answer; needed: the network"):
        open_spool(settings(tmp_path, nobody), LISTENER, check=True)


@contextmanager
def answering(status: int) -> Iterator[str]:
    """Run a server that answers everything so; give its endpoint."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_PUT = do_GET  # noqa: N815  # names of http.server

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "expected", "words"),
    [
        (401, ConfigurationError, "refuses our credentials; needed: valid ones"),
        (403, ConfigurationError, "refuses our credentials; needed: the right to list, get, put and delete"),
        (301, ConfigurationError, "AWS_REGION"),
        (503, SpoolReadError, "answers HTTP 503"),
    ],
)
def test_each_refusal_says_what_is_needed(
    s3_server: S3Server, tmp_path: Path, status: int, expected: type[Exception], words: str
) -> None:
    with answering(status) as endpoint, pytest.raises(expected, match=words):
        open_spool(settings(tmp_path, endpoint), LISTENER, check=True)


@pytest.mark.parametrize("lines", ["engine = 's3'", "[storage.s3]\nbucket = 'abc'"])
def test_engine_and_section_belong_together(tmp_path: Path, lines: str) -> None:
    file = tmp_path / "egfr-dls.toml"
    file.write_text(f"[storage]\nroot = '/srv'\n{lines}\n")
    with pytest.raises(ConfigurationError, match=r"\[storage.s3\] belong together"):
        load(file)


def test_what_works_on_a_store_of_its_own_leaves_the_bucket_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "egfr-dls.toml"
    file.write_text("[storage]\nroot = '/srv'\nengine = 's3'\n[storage.s3]\nbucket = 'abc'\n")
    monkeypatch.setenv("EGFR_DLS_STORAGE__S3__PREFIX", "site/spool")
    with private_settings(lambda overrides: load(file, overrides)) as private:
        assert isinstance(open_spool(private), DirectorySpool)
    loaded = load(file).storage.s3
    assert loaded is not None
    assert loaded.prefix == "site/spool"


def test_half_a_credential_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(ConfigurationError, match="AccessKeyId"):
        open_spool(settings(tmp_path, "http://127.0.0.1:1"), LISTENER)


def test_credentials_come_from_the_profile_where_the_environment_gives_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "credentials"
    file.write_text(
        "[default]\naws_access_key_id = a\naws_secret_access_key = b%\n"
        "[site]\naws_access_key_id = c\naws_secret_access_key = d\naws_session_token = e\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    assert bucket._credentials() == {"access_key_id": "a", "secret_access_key": "b%"}
    monkeypatch.setenv("AWS_PROFILE", "site")
    assert bucket._credentials() == {"access_key_id": "c", "secret_access_key": "d", "session_token": "e"}
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    assert bucket._credentials() == {}


def test_without_the_extra_the_configuration_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    for name in [name for name in sys.modules if name.startswith(("egfr_dls.spool.s3", "egfr_dls.spool.bucket"))]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ConfigurationError, match=r"pip install 'egfr-dls\[s3\]'"):
        open_spool(settings(tmp_path, ""), LISTENER)


def test_a_fork_before_the_first_request_works_and_one_after_it_is_said(s3_server: S3Server, prefix: str) -> None:
    """The library's threads do not survive a fork: without a word the child would wait for ever."""
    program = (
        "import os\n"
        "from egfr_dls.spool.bucket import Bucket\n"
        "from egfr_dls.spool.s3 import S3Spool\n"
        "from tests.egfr_dls.spool.entries import ENTRY, LISTENER\n"
        f"spool = S3Spool(Bucket({BUCKET!r}, {s3_server.endpoint!r}, {prefix!r}), LISTENER)\n"
        "for _ in range(2):\n"
        "    if not os.fork():\n"
        "        try:\n"
        "            spool.append(ENTRY)\n"
        "        except RuntimeError as error:\n"
        "            os.write(1, str(error).encode())\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
        "    spool.append(ENTRY)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[3],
        check=True,
    )
    assert done.stdout == "object storage was used before this process was forked; fork first"
    assert sum(present(S3Spool(Bucket(BUCKET, s3_server.endpoint, prefix))).values()) == 3


def test_state_is_counted_once_in_a_while(spool: S3Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    before = spool.state()
    assert before.free_bytes is None
    spool.append(ENTRY, [b"x"])
    assert spool.state() == before
    assert spool.free_bytes() > 1 << 60
