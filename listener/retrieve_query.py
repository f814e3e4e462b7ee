"""C-FIND: which series and instances a source has of a study (PS3.4 C.4.1, Study Root)."""

from __future__ import annotations

from collections.abc import Iterator, Set

from pydicom import Dataset

from listener.own import our_series
from listener.retrieve_plan import ListedSeries
from listener.retrieve_source import FIND, PENDING, SUCCESS, Dialogue, SourceError
from listener.transfer import is_uid

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
    found, count = [], 0
    ours = our_series(study_instance_uid)
    for series in _matches(source, _keys("SERIES", study_instance_uid, Modality="", SeriesInstanceUID=""), MAX_SERIES):
        uid, modality = str(series.get("SeriesInstanceUID", "")), str(series.get("Modality", ""))
        if modality not in modalities or uid in ours or not is_uid(uid):
            continue
        keys = _keys("IMAGE", study_instance_uid, SeriesInstanceUID=uid, SOPInstanceUID="")
        uids = [str(image.get("SOPInstanceUID", "")) for image in _matches(source, keys, max_instances - count)]
        count += len(uids)
        found.append(ListedSeries(uid, modality, tuple(uid for uid in uids if is_uid(uid))))
    return tuple(found)


def _keys(level: str, study_instance_uid: str, **further: str) -> Dataset:
    ds = Dataset()
    ds.QueryRetrieveLevel = level
    ds.StudyInstanceUID = study_instance_uid
    for keyword, value in further.items():
        setattr(ds, keyword, value)
    return ds


def _matches(source: Dialogue, keys: Dataset, limit: int) -> list[Dataset]:
    """Return the matches of a query that are of the study asked for.

    Raises
    ------
    SourceError
        more than ``limit`` (the association is aborted: nobody knows how many more there are), or no success at the end
    """
    matches: list[Dataset] = []
    for status, identifier in source.answers(lambda: _send(source, keys)):
        if status.Status in PENDING:
            if len(matches) >= limit:
                error = SourceError("TOO_MANY_MATCHES", again=False)
                source.abort(error)
                raise error
            matches.append(identifier or Dataset())
        elif status.Status != SUCCESS:
            raise SourceError(f"QUERY_STATUS_{status.Status:04X}")
    return [match for match in matches if match.get("StudyInstanceUID", keys.StudyInstanceUID) == keys.StudyInstanceUID]


def _send(source: Dialogue, keys: Dataset) -> Iterator[tuple[Dataset, Dataset | None]]:
    return source.assoc.send_c_find(keys, FIND)
