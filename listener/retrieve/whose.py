"""Whose the study is that is asked about: what a source brings for it must be of the same patient."""

from __future__ import annotations

from collections.abc import Iterable, Set
from itertools import islice

from egfr_dls.errors import EgfrDlsError
from egfr_dls.spool import Spool
from egfr_dls.study import SpoolRef
from listener.retrieve.web_part import instance_of
from listener.storage.facts import FactsReader, InstanceFacts

LOOKED_AT = 32  # instances
PIECE_BYTES = 1024**2


def patient_id_of(spool: Spool, places: Iterable[SpoolRef], modalities: Set[str]) -> str | None:
    """Return the PatientID (0010,0020) of the first instance in one of these modalities; None where none can be read."""
    for place in islice(places, LOOKED_AT):
        facts = _facts(spool, place)
        if facts is not None and facts.modality in modalities:
            return facts.patient_id
    return None


def _facts(spool: Spool, place: SpoolRef) -> InstanceFacts | None:
    """Return what an instance says of itself; None where it cannot be read, or no longer."""
    try:
        with spool.open(place) as part10:
            command, data_set = instance_of(iter(lambda: part10.read(PIECE_BYTES), b""))
            reader = FactsReader(command)
            for piece in data_set:
                reader.feed(memoryview(piece))
            return reader.finish()
    except EgfrDlsError:  # PET and CT are held against each other once more when they are scored
        return None
