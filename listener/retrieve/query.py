"""C-FIND: which series and instances a source has of a study (PS3.4 C.4.1, Study Root)."""

from __future__ import annotations

from collections.abc import Iterator, Set

from pydicom import Dataset

from listener.indexing.own import our_series
from listener.retrieve.plan import ListedSeries
from listener.retrieve.source import FIND, PENDING, SUCCESS, Dialogue, SourceError
from listener.storage.facts import is_uid

MAX_SERIES = 1000  # of one study


def listed_series(
    source: Dialogue, study_instance_uid: str, modalities: Set[str], max_instances: int
) -> tuple[ListedSeries, ...]:
    """Return what a source lists of a study in these modalities; what is ours or another study's is left out.

    Raises
    ------
    SourceError
        it does not answer, or lists more than is taken
    """
    if not modalities:
        return ()
    found, count = [], 0
    ours = our_series(study_instance_uid)
    every = keys("SERIES", StudyInstanceUID=study_instance_uid, Modality="", SeriesInstanceUID="")
    for series in matches(source, every, MAX_SERIES):
        uid, modality = str(series.get("SeriesInstanceUID", "")), str(series.get("Modality", ""))
        if modality not in modalities or uid in ours or not is_uid(uid):
            continue
        wanted = keys("IMAGE", StudyInstanceUID=study_instance_uid, SeriesInstanceUID=uid, SOPInstanceUID="")
        uids = [str(image.get("SOPInstanceUID", "")) for image in matches(source, wanted, max_instances - count)]
        count += len(uids)
        found.append(ListedSeries(uid, modality, tuple(uid for uid in uids if is_uid(uid))))
    return tuple(found)


def keys(level: str, **attributes: str | list[str]) -> Dataset:
    """Return the identifier of a query: what it matches, and empty what it asks for."""
    ds = Dataset()
    ds.QueryRetrieveLevel = level
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def matches(source: Dialogue, wanted: Dataset, limit: int) -> list[Dataset]:
    """Return the matches of a query; those of another study than the one asked for are left out.

    Raises
    ------
    SourceError
        more than ``limit`` (the association is aborted: nobody knows how many more there are), or no success at the end
    """
    found: list[Dataset] = []
    for status, identifier in source.answers(lambda: _send(source, wanted)):
        if status.Status in PENDING:
            if len(found) >= limit:
                error = SourceError("TOO_MANY_MATCHES", again=False)
                source.abort(error)
                raise error
            found.append(identifier or Dataset())
        elif status.Status != SUCCESS:
            raise SourceError(f"QUERY_STATUS_{status.Status:04X}")
    study = wanted.StudyInstanceUID
    return [match for match in found if not study or match.get("StudyInstanceUID", study) == study]


def _send(source: Dialogue, wanted: Dataset) -> Iterator[tuple[Dataset, Dataset | None]]:
    return source.assoc.send_c_find(wanted, FIND)
