"""What the receive benchmark reads from strace: an answer counts as covered only after a sync of all that was written for it."""

from __future__ import annotations

import pytest

from benchmarks.receive.syncs import read_trace

DATA = r"/spool/"


def shown(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in text.encode("latin-1"))


def write(file: str = "/spool/1", thread: int = 7) -> str:
    return f'{thread} pwritev(9<{shown(file)}>, [{{iov_base="\\x00", iov_len=1}}], 1, 0) = 1'


def sync(file: str = "/spool/1", thread: int = 7, code: str = "0") -> str:
    return f"{thread} fdatasync(9<{shown(file)}>)     = {code}"


def answer(thread: int = 7, status: str = "\0\0") -> str:
    command = "\0\0\0\1\2\0\0\0\1\x80" + "\0\0\0\x09\2\0\0\0" + status
    return f'{thread} sendto(5<{shown("socket:[1]")}>, "\\x04{shown(command)}", 90, 0, NULL, 0) = 90'


WRITE, SYNC, ANSWER = write(), sync(), answer()
UNFINISHED = SYNC.partition(")")[0] + " <unfinished ...>"
RESUMED = "7 <... fdatasync resumed>)        = 0"


@pytest.mark.parametrize(
    ("lines", "answers", "covered"),
    [
        pytest.param([WRITE, SYNC, ANSWER], 1, 1, id="written, synced, answered"),
        pytest.param([WRITE, SYNC, ANSWER, WRITE, ANSWER], 2, 1, id="the second was not synced"),
        pytest.param([WRITE, ANSWER, SYNC], 1, 0, id="synced after the answer"),
        pytest.param([WRITE, SYNC, WRITE, ANSWER], 1, 0, id="written again after the sync"),
        pytest.param([ANSWER], 1, 0, id="nothing was written"),
        pytest.param([WRITE, sync(code="-1 EIO (Input/output error)"), ANSWER], 1, 0, id="the sync failed"),
        pytest.param([WRITE, UNFINISHED, ANSWER, RESUMED], 1, 0, id="answered while the sync was running"),
        pytest.param([WRITE, UNFINISHED, RESUMED, ANSWER], 1, 1, id="the sync was interrupted in the trace"),
        pytest.param([WRITE, sync("/ledger"), ANSWER], 1, 0, id="another file was synced"),
        pytest.param([WRITE, sync("/spool/2"), ANSWER], 1, 0, id="another segment was synced"),
        pytest.param([WRITE, sync(thread=8), ANSWER], 1, 0, id="another thread synced"),
        pytest.param([WRITE, SYNC, write(thread=8), ANSWER], 1, 1, id="another thread's bytes are its own"),
        pytest.param([WRITE, SYNC, answer(status="\0\xa7")], 0, 0, id="a refusal promises nothing"),
    ],
)
def test_answers_are_covered(lines: list[str], answers: int, covered: int) -> None:
    found = read_trace(lines, DATA, by_thread=True)
    assert (found.answers, found.covered) == (answers, covered)


def test_followed_as_one_process_any_thread_may_answer() -> None:
    found = read_trace([WRITE, SYNC, answer(thread=8)], DATA, by_thread=False)
    assert (found.syncs, found.answers, found.covered) == (1, 1, 1)
