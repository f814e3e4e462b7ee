"""A destination that is called by DICOMweb: STOW-RS, and QIDO-RS for the proof (PS3.18 10.5, 10.6)."""

from __future__ import annotations

import json
import secrets
import socket
import ssl
from collections.abc import Collection, Iterator, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from egfr_dls import client_tls, web_client
from egfr_dls.ledger.deliveries import DueDelivery
from egfr_dls.ledger.proofs import DueProof
from egfr_dls.settings_sections import Destination
from reporting.association import TLS_PARKS
from reporting.delivery_status import NO_ANSWER, rule_for
from reporting.transport import ASSOCIATE_SECONDS, Answered, Unreachable
from reporting.web_exchange import Request, WebExchange
from reporting.web_status import http_rule

JSON: Final = "application/dicom+json"
BLOCK_BYTES: Final = 1 << 16
# DICOM JSON keys (PS3.18 F.2): Failed SOP Sequence, Referenced SOP Sequence and what stands in their items
_FAILED, _REFERENCED, _INSTANCE = "00081198", "00081199", "00081155"
_FAILURE_REASON, _WARNING_REASON = "00081197", "00081196"
_FOUND_BY: Final = {"sop_instance_uid": "00080018", "series_instance_uid": "0020000E", "study_instance_uid": "0020000D"}


class StowTransport:
    """Calls one destination."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination

    def call(self, due: Sequence[DueDelivery]) -> WebLine | Unreachable:  # noqa: ARG002  # nothing is negotiated
        """Connect."""
        return self._call()

    def call_to_prove(self) -> WebLine | Unreachable:
        """Connect."""
        return self._call()

    def _call(self) -> WebLine | Unreachable:
        destination, url = self._destination, self._destination.url or ""
        try:
            headers = web_client.authorization(destination.authorization_file)
        except (OSError, ValueError):
            return Unreachable("AUTHORIZATION_UNREADABLE")
        try:
            exchange = WebExchange(web_client.connection(url, destination.tls, ASSOCIATE_SECONDS))
        except (OSError, ValueError):
            return Unreachable("TLS_FILE_UNREADABLE")
        reason = _opened(exchange)
        if reason:
            exchange.close()
            return Unreachable(reason, parks=reason in TLS_PARKS)
        return WebLine(exchange, urlsplit(url).path, headers)


class WebLine:
    """A connection on which objects are stored and looked for."""

    offers_proof = True
    commits = False
    finds = True
    accepted = None

    def __init__(self, exchange: WebExchange, path: str, headers: Mapping[str, str]) -> None:
        self._exchange = exchange
        self._path = path
        self._headers = {**headers, "Accept": JSON}

    @property
    def is_open(self) -> bool:
        """A connection that was closed opens again at the next request."""
        return True

    def accepts(self, due: DueDelivery) -> bool:  # noqa: ARG002  # the answer to each object says so
        """Whether it can be sent."""
        return True

    def store(self, due: DueDelivery, path: Path) -> Answered:
        """POST one object to its study, so that one answer is of one object."""
        boundary = secrets.token_hex(16)
        # Without its transfer syntax, of which the file's own meta information tells (PS3.18 8.7.3: Explicit VR Little
        # Endian where it is left out): Orthanc's plugin 1.7 answers 200 to a part with parameters, and stores nothing.
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        tail = f"\r\n--{boundary}--\r\n".encode()
        size = len(head) + path.stat().st_size + len(tail)
        headers = {
            **self._headers,
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            "Content-Length": str(size),
        }
        target = f"{self._path}/studies/{due.study_instance_uid}"
        with path.open("rb") as file:
            body = _parts(head, iter(lambda: file.read(BLOCK_BYTES), b""), tail)
            answer = self._exchange.ask(Request("POST", target, headers, body, size))
        return Answered(NO_ANSWER) if answer is None else stored(due.sop_instance_uid, answer.status, answer.content)

    def ask(self, transaction_uid: str, about: Collection[DueProof]) -> int | None:  # noqa: ARG002  # of DIMSE only
        """Ask nothing: the service has no storage commitment."""
        return None

    def is_there(self, one: DueProof) -> bool | None:
        """Search the instances of the object's series (PS3.18 10.6.1)."""
        query = urlencode({"SOPInstanceUID": one.sop_instance_uid})
        below = f"/studies/{one.study_instance_uid}/series/{one.series_instance_uid}/instances?{query}"
        answer = self._exchange.ask(Request("GET", self._path + below, self._headers))
        if answer is None:
            return None
        if answer.status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_FOUND):
            return False
        document = _document(answer.content)
        if answer.status != HTTPStatus.OK or not isinstance(document, list):
            return None
        return any(_is(match, one) for match in document)

    def close(self) -> None:
        """Close it."""
        self._exchange.close()


def stored(sop_instance_uid: str, status: int, content: bytes) -> Answered:
    """Return what a Store Instances Response Module says of an object (PS3.18 table I.2-1), else what its status says."""
    document = _document(content)
    failure = _reason(document, _FAILED, _FAILURE_REASON, sop_instance_uid)
    if failure is not None:
        return Answered(rule_for(failure), failure)
    warning = _reason(document, _REFERENCED, _WARNING_REASON, sop_instance_uid)
    if warning is not None and status in (HTTPStatus.OK, HTTPStatus.ACCEPTED):
        return Answered(rule_for(warning), warning)
    if status == HTTPStatus.ACCEPTED and _item(document, _REFERENCED, sop_instance_uid) is not None:
        return Answered(http_rule(HTTPStatus.OK))
    return Answered(http_rule(status))


def _opened(exchange: WebExchange) -> str:
    """Connect; return why not, else nothing."""
    try:
        exchange.open()
    except socket.gaierror:
        return "NAME_NOT_RESOLVED"
    except ssl.SSLError as error:
        return client_tls.reason_of(error)
    except OSError:
        return "UNREACHABLE"
    return ""


def _parts(head: bytes, content: Iterator[bytes], tail: bytes) -> Iterator[bytes]:
    yield head
    yield from content
    yield tail


def _document(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None


def _reason(document: Any, sequence: str, key: str, sop_instance_uid: str) -> int | None:
    value = _value(_item(document, sequence, sop_instance_uid), key)
    return value if isinstance(value, int) and 0 <= value <= 0xFFFF else None


def _item(document: Any, sequence: str, sop_instance_uid: str) -> Any:
    """Return the item of a sequence that is of this instance."""
    element = document.get(sequence) if isinstance(document, dict) else None
    items = element.get("Value") if isinstance(element, dict) else None
    of_it = (i for i in items if _value(i, _INSTANCE) == sop_instance_uid) if isinstance(items, list) else ()
    return next(iter(of_it), None)


def _value(item: Any, key: str) -> Any:
    """Return the first value of an element, None where the item has none."""
    element = item.get(key) if isinstance(item, dict) else None
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0] if isinstance(values, list) and values else None


def _is(match: Any, one: DueProof) -> bool:
    """Whether a match is the object, and where it should be."""
    found = {name: _value(match, key) for name, key in _FOUND_BY.items()}
    return found["sop_instance_uid"] == one.sop_instance_uid and all(
        uid in (None, getattr(one, name)) for name, uid in found.items()
    )
