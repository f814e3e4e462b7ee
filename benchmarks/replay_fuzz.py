"""Replays recordings of real associations, each changed at random, against a running listener.

    PYTHONPATH=. python benchmarks/replay_fuzz.py [--replays 5000] [--seed 1] [--callers 4] [--tls]

What storescu, dcmsend and echoscu (DCMTK, where installed) and pynetdicom say to the listener is recorded, then changed (bytes,
lengths, PDUs cut, doubled, swapped, removed: ``tests/fuzz/mutation.py``) and said again over loopback under UIDs of its own, by
several callers at once. After each the answers are held against a second reading of the protocol (``tests/fuzz/reference.py``):
every whole C-STORE has exactly one. At the end every data set that was acknowledged must be in the spool, byte for byte, and in
the ledger; nothing but what a caller sent may be there; memory, threads and descriptors must be what they were. One line is
printed; exit 1 if anything fails. With ``--tls`` the listener takes mutual TLS only, and some of what is said comes without it.
"""

from __future__ import annotations

import argparse
import random
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pydicom import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from benchmarks.durability.verdict import in_spool
from benchmarks.receive.certificates import certificates_beside
from benchmarks.receive.processes import GONE, Memory, tree
from benchmarks.receive.receivers import OURS, OURS_TLS, running
from egfr_dls.content_digest import content_digest
from listener.upper_layer.command_set import MAXIMUM_COMMAND_BYTES, Command
from listener.upper_layer.pdu import MAXIMUM_PDU_BYTES, PduType
from tests.builders import petct_study, secondary_capture, to_part10
from tests.fuzz.fuzz_pdu import accepted_contexts
from tests.fuzz.mutation import mutated
from tests.fuzz.reference import PEER_ABORTED, Heard, Limits, Message, commands, listen
from tests.system.waiting import wait_until

LIMIT_SECONDS = 60.0
DCMTK = (
    ("storescu", "+sd"),
    ("storescu", "+sd", "-pdu", "4096"),
    ("dcmsend", "+sd"),
    ("echoscu",),
    ("echoscu", "--propose-pc", "100"),
)
LIMITS = Limits(MAXIMUM_PDU_BYTES, MAXIMUM_COMMAND_BYTES, 1 << 32)
LARGE = 1600  # rows and columns of an object that does not fit the receive buffer (5 MB)
WARM_REPLAYS = 1000  # after which memory is looked at for the first time
SPARE_MB = 8.0  # that it may differ by
INSTANCE_MARK, STUDY_MARK = b"77777777", b"66666666"  # digits in UIDs that are other ones in each replay
REPLAYS_OF_A_STUDY = 500
SELDOM = 0.02  # share of replays of the large object
HANGS_UP = 0.1  # share of callers that do not wait for their answers, and reset the connection
PLAIN = 0.1  # share of callers that speak without TLS where it is needed
RESET = struct.pack("ii", 1, 0)  # struct linger: what is unsent is dropped, the close is a reset (socket(7))
STORE_ANSWER = Command.C_STORE_RQ | 0x8000


@dataclass
class Outcome:
    """What the replays came to; ``faults`` must be empty."""

    counts: Counter[str] = field(default_factory=Counter)
    acknowledged: set[tuple[str, str]] = field(default_factory=set)  # SOP Instance UID, digest of the data set
    sent: set[tuple[str, str]] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        """Take in what another one counted."""
        self.counts += other.counts
        self.acknowledged |= other.acknowledged
        self.sent |= other.sent
        self.faults += other.faults


@dataclass(frozen=True)
class Footprint:
    """Memory (PSS, and how much of it is anonymous, MB), threads and descriptors of the listener's processes."""

    pss: float
    anonymous: float
    threads: int
    descriptors: int


def main() -> int:
    """Record, replay, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replays", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--tls", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        with running(OURS, Path(name) / "recorder") as (_, port):
            recordings = recorded(port, Path(name))
        folder, outcome = Path(name) / "node", Outcome()
        with running(OURS_TLS if options.tls else OURS, folder) as (pid, port):
            replay = partial(_replay, _connecting(port, folder if options.tls else None), recordings, options.seed)
            outcome.add(_replayed(replay, range(WARM_REPLAYS), options.callers))
            before = _at_rest(pid)
            outcome.add(_replayed(replay, range(WARM_REPLAYS, options.replays), options.callers))
            after = _at_rest(pid)
            _judge_footprint(outcome, before, after)
            _judge_kept(outcome, folder)
        _judge_log(outcome, folder / "receiver.log")
    print(summary(options.replays, len(recordings), options.seed, outcome, before, after))
    print("\n".join(outcome.faults[:20]), file=sys.stderr)
    return 1 if outcome.faults else 0


def summary(replays: int, recordings: int, seed: int, outcome: Outcome, before: Footprint, after: Footprint) -> str:
    """Return the figures as one line."""
    n = outcome.counts
    return (
        f"{replays} replays of {recordings} recordings, seed {seed}: {n['established']} associations, "
        f"{n['released']} released, {n['aborted']} aborted, {n['rejected']} rejected or aborted before; "
        f"{n['whole']} whole C-STOREs, {n['answered']} answered, {n['success']} with success "
        f"({len(outcome.acknowledged)} different data sets, all durable); "
        f"PSS {before.pss:.1f} to {after.pss:.1f} MB, anonymous {before.anonymous:.1f} to {after.anonymous:.1f} MB, "
        f"threads {before.threads} to {after.threads}, descriptors {before.descriptors} to {after.descriptors}; "
        f"faults {len(outcome.faults)}"
    )


# --- recording ---


def recorded(port: int, folder: Path) -> list[bytes]:
    """Return what real senders say in one association each; the first sends an object that does not fit the receive buffer."""
    study, large = petct_study()[:6], secondary_capture(Rows=LARGE, Columns=LARGE, PixelData=bytes(2 * LARGE * LARGE))
    large.BitsAllocated = large.BitsStored = 16
    large.HighBit = 15
    files = folder / "study"
    files.mkdir()
    for number, ds in enumerate([*study, large]):
        ds.StudyInstanceUID = f"1.2.826.0.1.3680043.10.1.{STUDY_MARK.decode()}"
        ds.SOPInstanceUID = f"1.2.826.0.1.3680043.10.1.{INSTANCE_MARK.decode()}.{number}"
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    for number, ds in enumerate(study):
        (files / f"{number}.dcm").write_bytes(to_part10(ds))
    aets = ("-aet", "SCANNER", "-aec", "EGFR_DLS", "127.0.0.1")
    senders: list[Callable[[int], None]] = [
        partial(_pynetdicom, [large]),
        partial(_pynetdicom, study),
        partial(_pynetdicom, study, implicit=True),
        partial(_pynetdicom, study[:2], pdu_bytes=4096),
    ]
    for program, *more in DCMTK:
        if shutil.which(program):
            said = [] if program == "echoscu" else [str(files)]
            senders.append(partial(_dcmtk, [program, *more, *aets], said))
    return [_overheard(port, sender) for sender in senders]


def _overheard(port: int, sender: Callable[[int], None]) -> bytes:
    """Return what a sender says to the listener, with us between them."""
    said = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as server:
        between = threading.Thread(target=_forward, args=(server, port, said))
        between.start()
        sender(server.getsockname()[1])
        between.join(LIMIT_SECONDS)
    return bytes(said)


def _forward(server: socket.socket, port: int, said: bytearray) -> None:
    caller, _ = server.accept()
    with caller, socket.create_connection(("127.0.0.1", port)) as listener:
        back = threading.Thread(target=_pump, args=(listener, caller, bytearray()))
        back.start()
        _pump(caller, listener, said)
        back.join(LIMIT_SECONDS)


def _pump(source: socket.socket, target: socket.socket, said: bytearray) -> None:
    with suppress(OSError):
        while part := source.recv(1 << 16):
            said += part
            target.sendall(part)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _pynetdicom(study: Sequence[Dataset], port: int, *, implicit: bool = False, pdu_bytes: int = 131072) -> None:
    ae = AE("SCANNER")
    ae.maximum_pdu_size = pdu_bytes
    ae.add_requested_context(Verification)
    for ds in study:
        syntax = ImplicitVRLittleEndian if implicit else ds.file_meta.TransferSyntaxUID
        if (ds.SOPClassUID, [syntax]) not in [(c.abstract_syntax, c.transfer_syntax) for c in ae.requested_contexts]:
            ae.add_requested_context(ds.SOPClassUID, syntax)
    assoc = ae.associate("127.0.0.1", port, ae_title="EGFR_DLS", max_pdu=pdu_bytes)
    assoc.send_c_echo()
    for ds in study:
        assoc.send_c_store(ds)
    assoc.release()


def _dcmtk(command: list[str], files: list[str], port: int) -> None:
    subprocess.run([*command, str(port), *files], check=True, capture_output=True, timeout=LIMIT_SECONDS)


# --- replaying ---


def _replayed(replay: Callable[[int], Outcome], numbers: range, callers: int) -> Outcome:
    outcome = Outcome()
    with ThreadPoolExecutor(callers) as pool:
        for one in pool.map(replay, numbers):
            outcome.add(one)
    return outcome


def _connecting(port: int, folder: Path | None) -> Callable[[bool], socket.socket]:
    """Return what connects: with TLS, or without where it is to be or where there are no keys beside a folder."""
    context = None
    if folder is not None:
        keys = certificates_beside(folder)
        context = ssl.create_default_context(cafile=keys / "ca.pem")
        context.check_hostname = False
        context.load_cert_chain(keys / "client.pem")

    def connect(plain: bool) -> socket.socket:
        caller = socket.create_connection(("127.0.0.1", port), timeout=LIMIT_SECONDS)
        return caller if plain or context is None else context.wrap_socket(caller)

    return connect


def _replay(connect: Callable[[bool], socket.socket], recordings: Sequence[bytes], seed: int, number: int) -> Outcome:
    """Say one changed recording, and hold the answers against the rules."""
    chosen = random.Random(f"{seed}/{number}")
    large, *small = recordings
    recording = large if chosen.random() < SELDOM else chosen.choice(small)
    for mark, own in ((INSTANCE_MARK, number), (STUDY_MARK, number // REPLAYS_OF_A_STUDY)):
        recording = recording.replace(mark, b"7%07d" % own)
    stream = mutated(recording, chosen)
    outcome, waits = Outcome(), chosen.random() >= HANGS_UP and not _aborts(stream)
    try:
        with connect(chosen.random() < PLAIN) as caller:
            answered = _say(caller, stream, waits=waits)
        _judge_answers(outcome, stream, answered)
    except (AssertionError, OSError, KeyError) as error:
        outcome.faults.append(f"replay {number}: {type(error).__name__} {error}")
    return outcome


def _say(caller: socket.socket, stream: bytes, *, waits: bool) -> bytes | None:
    """Return all that is answered to a stream, up to the end of the connection; None where the caller hangs up at once."""
    answered = bytearray()
    try:
        caller.sendall(stream)
        if waits:
            socket.socket.shutdown(caller, socket.SHUT_WR)  # of a TLS socket its own would drop the encryption
    except (BrokenPipeError, ConnectionResetError):
        pass  # it was aborted in the middle
    if not waits:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    while waits and (part := caller.recv(1 << 16)):
        answered += part
    return bytes(answered) if waits else None


def _judge_answers(outcome: Outcome, stream: bytes, answered: bytes | None) -> None:
    """Count what was answered, and note what should not have been, or should."""
    if answered is None:  # what it sent may be there, and nothing is known of it
        outcome.sent |= {_identity(message) for message in _messages(stream)}
        outcome.counts["hung up"] += 1
        return
    if answered[:1] != bytes([PduType.ASSOCIATE_AC]):
        outcome.counts["rejected"] += 1
        return
    accept = 6 + int.from_bytes(answered[2:6], "big")
    heard = listen(stream[_request_end(stream) :], accepted_contexts(answered[74:accept]), LIMITS)
    answers, last = commands(answered[accept:])
    asked = [message for message in heard.answered if message.command_field == Command.C_STORE_RQ]
    statuses = [a.elements[0x0900] for a in answers if a.command_field == STORE_ANSWER]
    assert len(answers) == len(heard.answered), f"{len(heard.answered)} whole requests, {len(answers)} answers"
    stored = [message for message, status in zip(asked, statuses, strict=True) if status == b"\0\0"]
    outcome.sent |= {_identity(message) for message in asked}
    outcome.acknowledged |= {_identity(message) for message in stored}
    outcome.counts.update(established=1, whole=len(asked), answered=len(statuses), success=len(stored))
    outcome.counts.update(
        {PduType.RELEASE_RP: ["released"], PduType.ABORT: ["aborted"]}.get(last[0] if last else 0, [])
    )


def _messages(stream: bytes) -> list[Message]:
    """Return what is said, whatever the contexts that are accepted."""
    return _heard(stream).messages


def _aborts(stream: bytes) -> bool:
    """Whether there is an A-ABORT in it: then the connection is closed at once, and answers may be lost (PS3.8 9.2, AA-3)."""
    return _heard(stream).end == PEER_ABORTED


def _heard(stream: bytes) -> Heard:
    return listen(stream[_request_end(stream) :], range(1, 256, 2), LIMITS)


def _request_end(stream: bytes) -> int:
    """Return where the A-ASSOCIATE-RQ ends."""
    return 6 + int.from_bytes(stream[2:6], "big")


def _identity(message: Message) -> tuple[str, str]:
    return message.uid(0x1000), content_digest([message.data])


# --- judging ---


def _at_rest(pid: int) -> Footprint:
    """Return the footprint once nothing moves any more: no association is open and all is indexed."""
    seen: list[tuple[int, int]] = []

    def unchanged() -> bool:
        seen.append((_threads(pid), _descriptors(pid)))
        return len(seen) > 10 and len(set(seen[-10:])) == 1

    wait_until(unchanged, "at rest", every_seconds=0.5)
    memory = Memory()
    memory.note(pid)
    return Footprint(memory.pss, memory.anonymous, *seen[-1])


def _threads(pid: int) -> int:
    return _entries(pid, "task")


def _descriptors(pid: int) -> int:
    return _entries(pid, "fd")


def _entries(pid: int, folder: str) -> int:
    total = 0
    for process in tree(pid):
        with suppress(*GONE):
            total += len(list(Path(f"/proc/{process}/{folder}").iterdir()))
    return total


def _judge_footprint(outcome: Outcome, before: Footprint, after: Footprint) -> None:
    if after.anonymous - before.anonymous > SPARE_MB:  # PSS also changes with who else has the same libraries open
        outcome.faults.append(f"{before.anonymous:.1f} MB of anonymous memory, then {after.anonymous:.1f} MB")
    if after.threads > before.threads:
        outcome.faults.append(f"{before.threads} threads, then {after.threads}")
    if after.descriptors > before.descriptors:
        outcome.faults.append(f"{before.descriptors} descriptors, then {after.descriptors}")


def _judge_kept(outcome: Outcome, folder: Path) -> None:
    kept = {(uid, digest) for uid, digests in in_spool(folder / "root" / "spool").items() for digest in digests}
    outcome.faults += [f"acknowledged and lost: {digest}" for _, digest in outcome.acknowledged - kept]
    outcome.faults += [f"kept and never sent: {digest}" for _, digest in kept - outcome.sent]
    assert OURS.digests is not None
    indexed = OURS.digests(folder)
    outcome.faults += [f"not in the ledger: {digest}" for _, digest in outcome.acknowledged if digest not in indexed]


def _judge_log(outcome: Outcome, log: Path) -> None:
    lines = log.read_text(encoding="utf-8").splitlines()
    outcome.faults += [
        line for line in lines if '"level": "error"' in line or "Traceback" in line or '"defect"' in line
    ]


if __name__ == "__main__":
    sys.exit(main())
