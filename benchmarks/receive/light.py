"""A sender that costs almost nothing: prepared P-DATA-TF PDUs, one ``sendmsg`` an object, then its answer is read.

    python -m benchmarks.receive.light PORT [--copies N] [--tls CA] < file names

One association. It prints "ready" when the association stands and everything is prepared, waits for a line on standard input
(the one after the empty line that ends the file names), sends, and prints JSON: the moments of the first request and the last
answer (CLOCK_MONOTONIC, s) and the seconds from each request to its answer.
"""

from __future__ import annotations

import argparse
import json
import mmap
import socket
import ssl
import struct
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID
from pynetdicom import build_context
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)

from benchmarks.receive.studies import INSTANCE_DIGITS, STUDY_DIGITS, dataset_offset

CALLING, CALLED = "SCANNER", "EGFR_DLS"
PDU_BYTES = 131072
IOVECTORS = 1000  # Linux takes 1,024 a call
INSTANCES_OF_A_STUDY = 1000
SUCCESS = struct.pack("<HHLH", 0, 0x0900, 2, 0)  # Status (0000,0900), PS3.7 C
P_DATA_TF, COMMAND_LAST, DATA, DATA_LAST = 4, 3, 0, 2  # PDU type, PS3.8 9.3.5; message control header, PS3.8 E.2
RELEASE_REQUEST = struct.pack(">BBLL", 5, 0, 4, 0)  # PS3.8 table 9-24
Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True)
class Prepared:
    """One C-STORE as buffers; ``digits`` are the places of the counters: (buffer, offset, whether of the instance)."""

    buffers: Sequence[Buffer]
    n_bytes: int
    digits: tuple[tuple[bytearray, int, bool], ...] = ()

    def joined(self) -> Prepared:
        """Return the same in one buffer: TLS cannot gather."""
        return Prepared([b"".join(self.buffers)], self.n_bytes)

    def renumber(self, number: int) -> None:
        """Make it another instance."""
        for buffer, offset, of_instance in self.digits:
            value = number if of_instance else number // INSTANCES_OF_A_STUDY
            buffer[offset : offset + 8] = b"%08d" % value


def main() -> None:
    """Associate, prepare, wait for the word, send, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int)
    parser.add_argument("--copies", type=int, default=1, help="send each file under that many UIDs")
    parser.add_argument("--first", type=int, default=0, help="number of the first copy")
    parser.add_argument("--tls", type=Path, help="certificate of the authority")
    options = parser.parse_args()
    paths = [Path(line.rstrip("\n")) for line in iter(sys.stdin.readline, "\n")]
    sock = _connect(options.port, options.tls)
    contexts, pdu_bytes = _associate(sock, paths)
    prepared = [_prepare(path, contexts, pdu_bytes, options.copies > 1) for path in paths]
    if options.tls:
        prepared = [message.joined() for message in prepared]
    print("ready", flush=True)
    sys.stdin.readline()
    moments = _send(sock, prepared, range(options.first, options.first + options.copies))
    print(json.dumps(moments), flush=True)
    sock.sendall(RELEASE_REQUEST)
    sock.recv(10)


def _send(sock: socket.socket, prepared: Iterable[Prepared], numbers: range) -> dict[str, object]:
    latencies = []
    secure = isinstance(sock, ssl.SSLSocket)
    start = last = time.monotonic()
    for message in prepared:
        for number in numbers:
            message.renumber(number)
            if secure:
                sock.sendall(message.buffers[0])
            else:
                _send_whole(sock, message)
            _read_success(sock)
            now = time.monotonic()
            latencies.append(now - last)
            last = now
    return {"start": start, "end": last, "latencies": latencies}


def _send_whole(sock: socket.socket, message: Prepared) -> None:
    sent = 0
    for begin in range(0, len(message.buffers), IOVECTORS):
        sent += sock.sendmsg(message.buffers[begin : begin + IOVECTORS])
    if sent != message.n_bytes:  # a blocking socket sends all, or the peer is gone
        raise ConnectionError(f"{sent} of {message.n_bytes} bytes were sent")


def _read_success(sock: socket.socket) -> None:
    """Read one C-STORE-RSP PDU (PS3.7 9.3.1.2); anything but 0000H ends the measurement."""
    answer = sock.recv(4096)
    while len(answer) < 6 or len(answer) < 6 + int.from_bytes(answer[2:6], "big"):
        more = sock.recv(4096)
        if not more:
            raise ConnectionError("the receiver closed the connection instead of answering")
        answer += more
    if answer[0] != P_DATA_TF or SUCCESS not in answer:
        raise ConnectionError(f"no success: {answer.hex()}")


def _prepare(path: Path, contexts: dict[str, int], pdu_bytes: int, counted: bool) -> Prepared:
    meta = read_file_meta_info(path)
    with path.open("rb") as file:
        whole = memoryview(mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE | mmap.MAP_POPULATE, prot=mmap.PROT_READ))
    data: Buffer = whole[dataset_offset(whole) :]
    if counted:
        data = bytearray(data)
    context = contexts[meta.MediaStorageSOPClassUID]
    command = bytearray(_store_request(meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID))
    buffers: list[Buffer] = [_headers(len(command), context, COMMAND_LAST), command]
    buffers += _fragments(memoryview(data), context, pdu_bytes - 6)
    digits = tuple(
        (buffer, buffer.index(word.encode()), word == INSTANCE_DIGITS)
        for buffer in (command, data)
        for word in (INSTANCE_DIGITS, STUDY_DIGITS)
        if counted and isinstance(buffer, bytearray) and word.encode() in buffer
    )
    return Prepared(buffers, sum(map(len, buffers)), digits)


def _fragments(data: memoryview, context: int, size: int) -> Iterator[Buffer]:
    for begin in range(0, len(data), size):
        part = data[begin : begin + size]
        yield _headers(len(part), context, DATA_LAST if begin + size >= len(data) else DATA)
        yield part


def _headers(length: int, context: int, control: int) -> bytes:
    """Return the headers of a P-DATA-TF PDU with one PDV (PS3.8 tables 9-22 and 9-23)."""
    return struct.pack(">BBLLBB", P_DATA_TF, 0, length + 6, length + 2, context, control)


def _store_request(sop_class_uid: str, sop_instance_uid: str) -> bytes:
    """Return the command set of a C-STORE-RQ (PS3.7 9.3.1.1), implicit VR little endian."""
    elements = [
        (0x0002, _uid(sop_class_uid)),
        (0x0100, struct.pack("<H", 0x0001)),  # Command Field
        (0x0110, struct.pack("<H", 1)),  # Message ID
        (0x0700, struct.pack("<H", 0)),  # Priority
        (0x0800, struct.pack("<H", 0)),  # Command Data Set Type: there is one
        (0x1000, _uid(sop_instance_uid)),
    ]
    body = b"".join(struct.pack("<HHL", 0, element, len(value)) + value for element, value in elements)
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


def _uid(text: str) -> bytes:
    return text.encode() + b"\0" * (len(text) % 2)  # PS3.5 6.2, UI


def _connect(port: int, authority: Path | None) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if authority is None:
        return sock
    context = ssl.create_default_context(cafile=authority)
    context.check_hostname = False
    context.load_cert_chain(authority.with_name("client.pem"))
    return context.wrap_socket(sock)


def _associate(sock: socket.socket, paths: Iterable[Path]) -> tuple[dict[str, int], int]:
    """Return the context ID of each SOP class and the PDU size that both sides want."""
    metas = map(read_file_meta_info, paths)
    wanted = sorted({(str(m.MediaStorageSOPClassUID), str(m.TransferSyntaxUID)) for m in metas})
    request = A_ASSOCIATE()
    request.application_context_name = UID("1.2.840.10008.3.1.1.1")  # PS3.7 A.2.1
    request.calling_ae_title, request.called_ae_title = CALLING, CALLED
    size, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    size.maximum_length_received = PDU_BYTES
    implementation.implementation_class_uid = UID("1.2.826.0.1.3680043.10.1")
    request.user_information = [size, implementation]
    request.presentation_context_definition_list = [build_context(*pair) for pair in wanted]
    for number, context in enumerate(request.presentation_context_definition_list):
        context.context_id = 2 * number + 1
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(request)
    sock.sendall(pdu.encode())
    accepted = A_ASSOCIATE_AC()
    accepted.decode(_read_pdu(sock))
    answer = accepted.to_primitive()
    if any(context.result != 0 for context in answer.presentation_context_definition_results_list):
        raise ConnectionError("a presentation context was not accepted")
    limit = answer.maximum_length_received or PDU_BYTES
    return {pair[0]: 2 * number + 1 for number, pair in enumerate(wanted)}, min(limit, PDU_BYTES)


def _read_pdu(sock: socket.socket) -> bytes:
    data = b""
    while len(data) < 6 or len(data) < 6 + int.from_bytes(data[2:6], "big"):
        more = sock.recv(65536)
        if not more:
            raise ConnectionError("no answer to the A-ASSOCIATE-RQ")
        data += more
    return data


if __name__ == "__main__":
    main()
