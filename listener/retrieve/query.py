"""Which series and instances a source has of a study."""

from __future__ import annotations

from collections.abc import Set

from pydicom import Dataset

from listener.indexing.own import our_series
from listener.retrieve.plan import ListedSeries
from listener.retrieve.source import Dialogue
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
    for series in source.matches(every, MAX_SERIES):
        uid, modality = series["SeriesInstanceUID"], series["Modality"]
        if modality not in modalities or uid in ours or not is_uid(uid):
            continue
        wanted = keys("IMAGE", StudyInstanceUID=study_instance_uid, SeriesInstanceUID=uid, SOPInstanceUID="")
        uids = [image["SOPInstanceUID"] for image in source.matches(wanted, max_instances - count)]
        count += len(uids)
        found.append(ListedSeries(uid, modality, tuple(uid for uid in uids if is_uid(uid))))
    return tuple(found)


def keys(level: str, **attributes: str | list[str]) -> Dataset:
    """Return the identifier of a query: what it matches, and empty what it asks for (PS3.4 C.4.1.1.3)."""
    ds = Dataset()
    ds.QueryRetrieveLevel = level
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds
