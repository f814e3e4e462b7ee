"""A source that is asked by QIDO-RS and WADO-RS (PS3.18 10.6, 10.4)."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlencode

from pydicom import Dataset
from pydicom.datadict import tag_for_keyword

from egfr_dls.settings_sections import Source
from listener.retrieve.inbox import Inbox
from listener.retrieve.multipart import Multipart
from listener.retrieve.plan import Request
from listener.retrieve.source import Dialogue, Match, SourceError, of_study, watched
from listener.retrieve.web_connection import Body, WebConnection
from listener.retrieve.web_part import instance_of

JSON: Final = "application/dicom+json"
JSON_TYPES: Final = (JSON, "application/json")
AS_STORED: Final = 'multipart/related; type="application/dicom"; transfer-syntax=*'  # PS3.18 8.7.3.5.2
PAGE_MATCHES = 500
PAGE_BYTES = 8 * 1024**2  # of one answer to a search; Orthanc writes 1.7 kB for an instance

# query level -> resource below the root (PS3.18 table 10.6.1-1), keys that stand in it, key that tells matches apart
_RESOURCES: Final[dict[str, tuple[str, tuple[str, ...], str]]] = {
    "STUDY": ("/studies", (), "StudyInstanceUID"),
    "SERIES": ("/studies/{}/series", ("StudyInstanceUID",), "SeriesInstanceUID"),
    "IMAGE": ("/studies/{}/series/{}/instances", ("StudyInstanceUID", "SeriesInstanceUID"), "SOPInstanceUID"),
}


class WebDialogue:
    """Asks over one connection."""

    brings = True

    def __init__(self, connection: WebConnection, inbox: Inbox) -> None:
        self._connection = connection
        self._inbox = inbox
        self._bytes_left = inbox.source.max_bytes

    def matches(self, wanted: Dataset, limit: int) -> list[Match]:
        """Return the matches of a search, asked for in pages until one brings nothing new (PS3.18 8.3.4.4)."""
        resource, in_path, unique = _RESOURCES[wanted.QueryRetrieveLevel]
        path = resource.format(*(wanted[keyword].value for keyword in in_path))
        found: dict[str, Match] = {}
        offset = 0
        while True:
            window = [("limit", str(min(PAGE_MATCHES, limit + 1))), ("offset", str(offset))]
            page = self._page(f"{path}?{urlencode([*_parameters(wanted, in_path), *window])}", wanted)
            new = {match[unique]: match for match in page if match[unique] and match[unique] not in found}
            found |= new
            offset += len(page)
            if len(found) > limit:
                raise SourceError("TOO_MANY_MATCHES", again=False)
            if not new:
                return of_study(list(found.values()), wanted)

    def fetch(self, requests: Sequence[Request], study_instance_uid: str) -> None:
        """Take what is requested, a series or an instance at a time, as the source holds it."""
        for request in requests:
            self._inbox.expect(request, study_instance_uid)
            series = f"/studies/{study_instance_uid}/series/{request.series_instance_uid}"
            one_by_one = [f"{series}/instances/{uid}" for uid in sorted(request.sop_instance_uids)]
            for path in [series] if request.whole else one_by_one:
                self._take(path)
        self._inbox.check_whole(requests)

    def _page(self, path: str, wanted: Dataset) -> list[Match]:
        with self._connection.got(path, JSON, PAGE_BYTES) as body:
            if body is None:
                return []
            if body.headers.get_content_type() not in JSON_TYPES:
                raise SourceError("CONTENT_TYPE")
            return _read(body.whole(), wanted)

    def _take(self, path: str) -> None:
        with self._connection.got(path, AS_STORED, self._bytes_left) as body:
            if body is None:
                return
            try:
                for _header, content in Multipart(body.read, _boundary(body)).parts():
                    command, data_set = instance_of(content)
                    self._inbox.take(command, data_set)
                    if self._inbox.too_much:
                        raise SourceError("SIZE_LIMIT", again=False)
            finally:
                self._bytes_left = body.left


@contextmanager
def web_dialogue(source: Source, inbox: Inbox, stop: threading.Event) -> Iterator[Dialogue]:
    """Be ready to ask a source; it is connected to with the first question.

    Raises
    ------
    SourceError
        a file of its configuration cannot be read
    """
    connection = WebConnection(source)
    try:
        with watched(connection.abort, source.max_seconds, stop):
            yield WebDialogue(connection, inbox)
    finally:
        connection.close()


def _parameters(wanted: Dataset, in_path: Sequence[str]) -> list[tuple[str, str]]:
    """Return what a search matches and what it asks for (PS3.18 8.3.4).

    Of several values none is sent: services differ in how they are parted, and who asks holds the matches against them.
    """
    elements = [e for e in wanted if e.keyword not in ("QueryRetrieveLevel", *in_path)]
    matched = [(e.keyword, str(e.value)) for e in elements if e.value and e.VM == 1]
    return matched + [("includefield", e.keyword) for e in elements if not e.value]


def _read(document: bytes, wanted: Dataset) -> list[Match]:
    """Return what was asked for of each match in a DICOM JSON array (PS3.18 F.2)."""
    try:
        found: Any = json.loads(document or b"[]")
    except (ValueError, RecursionError) as error:
        raise SourceError("ANSWER_UNREADABLE") from error
    if not isinstance(found, list) or not all(isinstance(match, dict) for match in found):
        raise SourceError("ANSWER_UNREADABLE")
    return [{e.keyword: _text(match, e.keyword) for e in wanted} for match in found]


def _text(match: dict[str, Any], keyword: str) -> str:
    """Return the first value of an attribute; "" where there is none, or none that is a text or a number."""
    attribute = match.get(f"{tag_for_keyword(keyword):08X}")
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    first = values[0] if isinstance(values, list) and values else None
    return str(first).strip() if isinstance(first, str | int) else ""


def _boundary(body: Body) -> str:
    """Return the boundary of a multipart/related body of DICOM instances."""
    boundary, kind = body.headers.get_boundary(""), body.headers.get_param("type", "application/dicom")
    if (
        body.headers.get_content_type() != "multipart/related"
        or not isinstance(kind, str)
        or kind.lower() != "application/dicom"
        or not boundary
    ):
        raise SourceError("CONTENT_TYPE")
    return boundary
