"""What of a source's list is asked for: pure."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ListedSeries:
    """A series as a source lists it (C-FIND at SERIES and IMAGE level, PS3.4 C.6.2.1)."""

    series_instance_uid: str
    modality: str
    sop_instance_uids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for of one series; ``whole``: nothing of it is here, so it is asked for as a series."""

    series_instance_uid: str
    modality: str
    sop_instance_uids: frozenset[str]
    whole: bool


def plan(listed: Sequence[ListedSeries], here: Set[str]) -> tuple[Request, ...]:
    """Return the requests for what is not here yet, in the source's order.

    Of a series that is here in part only the missing instances are asked for: the source may have changed the headers of
    those that are here, and the first content of an instance counts.
    """
    requests = (
        Request(
            series.series_instance_uid,
            series.modality,
            frozenset(series.sop_instance_uids) - here,
            whole=here.isdisjoint(series.sop_instance_uids),
        )
        for series in listed
    )
    return tuple(request for request in requests if request.sop_instance_uids)
