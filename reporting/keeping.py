"""Keeps the bytes of a built object, once and for ever: what is sent is read from there."""

from __future__ import annotations

from egfr_dls.ledger.results import BuiltObject
from egfr_dls.objectstore import ObjectStore
from reporting.build import ReportObject, to_bytes


def keep(made: ReportObject, objects: ObjectStore, series_at: float) -> BuiltObject:
    """Keep an object and return what the ledger says of it; ``series_at``: UTC seconds of its series, if it is the first."""
    return BuiltObject(
        sop_instance_uid=str(made.sop_instance_uid),
        series_instance_uid=str(made.dataset.SeriesInstanceUID),
        sop_class_uid=str(made.sop_class_uid),
        transfer_syntax_uid=str(made.dataset.file_meta.TransferSyntaxUID),
        kind=made.kind,
        sha256=objects.put(to_bytes(made)),
        series_at=series_at,
    )
