"""Which of our results were withdrawn: what the rejection notes name that lie beside them (TID 2010, PS3.3 A.35.4)."""

from __future__ import annotations

import io
from collections.abc import Iterator

from pydicom import Dataset, dcmread

from listener.retrieve.inbox import Inbox
from listener.retrieve.plan import Request
from listener.retrieve.query import keys
from listener.retrieve.source import Dialogue, SourceError
from listener.storage.facts import is_uid

MAX_NOTES = 50  # of one study


def rejected(source: Dialogue, inbox: Inbox, study_instance_uid: str, series_instance_uid: str) -> frozenset[str]:
    """Return the SOP Instance UIDs that the notes in a series of ours name; the notes themselves are not kept.

    Raises
    ------
    SourceError
        the source does not give them; NOTE_UNREADABLE: what one names cannot be told
    """
    wanted = keys(
        "IMAGE", StudyInstanceUID=study_instance_uid, SeriesInstanceUID=series_instance_uid, SOPInstanceUID=""
    )
    notes = frozenset(m["SOPInstanceUID"] for m in source.matches(wanted, MAX_NOTES) if is_uid(m["SOPInstanceUID"]))
    request = Request(series_instance_uid, "KO", notes, whole=False)
    inbox.expect_report(request)
    try:
        source.fetch([request], study_instance_uid)
    finally:
        brought = [inbox.reports.pop(uid) for uid in notes & inbox.reports.keys()]
    return frozenset(uid for part10 in brought for uid in _named(part10))


def _named(part10: bytes) -> frozenset[str]:
    try:
        return frozenset(_references(dcmread(io.BytesIO(part10))))
    except Exception as error:
        raise SourceError("NOTE_UNREADABLE") from error


def _references(note: Dataset) -> Iterator[str]:
    """Yield what a Key Object Selection names, as its evidence lists it (PS3.3 C.17.6.2.1)."""
    for study in note.CurrentRequestedProcedureEvidenceSequence:
        for series in study.ReferencedSeriesSequence:
            for item in series.ReferencedSOPSequence:
                yield str(item.ReferencedSOPInstanceUID)
