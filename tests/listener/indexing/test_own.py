"""The loop guard: our own objects start nothing; a person's correction does."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import ComprehensiveSRStorage, SecondaryCaptureImageStorage, SegmentationStorage

from egfr_dls.study import ReceivedInstance
from egfr_dls.uids import CODING_SCHEME_UID, OBJECT_KINDS, series_uid
from listener.indexing.own import is_own
from tests.builders import STUDY_UID, base_dataset, to_part10

OURS = series_uid(STUDY_UID, "pet_ct_egfr", "report", demonstration=True)
FOREIGN = "1.2.3.4"


def entry_of(ds: Dataset) -> ReceivedInstance:
    return ReceivedInstance(
        sop_class_uid=str(ds.SOPClassUID), sop_instance_uid=str(ds.SOPInstanceUID), study_instance_uid=STUDY_UID,
        series_instance_uid=str(ds.SeriesInstanceUID), modality=str(ds.Modality), transfer_syntax_uid="1.2.840.10008.1.2.1",
        calling_ae_title="PACS", called_ae_title="EGFR_DLS", peer_address="127.0.0.1", association_id="a",
        received_at=datetime(2026, 1, 2, tzinfo=UTC),
    )  # fmt: skip


LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"  # Label Map Segmentation Storage


def sr(series: str, *, scheme: str = "") -> Dataset:
    ds = base_dataset(ComprehensiveSRStorage, "SR", series, "1.2.3.5")
    item = Dataset()
    item.CodingSchemeDesignator, item.CodingSchemeUID = "99EGFRDLS", scheme
    ds.CodingSchemeIdentificationSequence = [item] if scheme else []
    return ds


def seg(series: str, *algorithm_types: str, sop_class_uid: str = SegmentationStorage) -> Dataset:
    ds = base_dataset(sop_class_uid, "SEG", series, "1.2.3.6")
    ds.SegmentSequence = []
    for kind in algorithm_types:
        item = Dataset()
        item.SegmentAlgorithmType = kind
        ds.SegmentSequence.append(item)
    return ds


@pytest.mark.parametrize("kind", OBJECT_KINDS)
@pytest.mark.parametrize("demonstration", [False, True])
def test_our_series_are_known_without_the_ledger(kind: str, demonstration: bool) -> None:
    ours = series_uid(STUDY_UID, "pet_ct_egfr", kind, demonstration=demonstration)
    ds = base_dataset(SecondaryCaptureImageStorage, "OT", ours, "1.2.3")
    assert is_own(entry_of(ds), to_part10(ds))


@pytest.mark.parametrize(
    ("ds", "own"),
    [
        (sr(FOREIGN), False),
        (sr(FOREIGN, scheme=CODING_SCHEME_UID), True),
        (sr(FOREIGN, scheme="1.2.3"), False),
        (seg(OURS, "AUTOMATIC"), True),
        (seg(OURS, "AUTOMATIC", "AUTOMATIC"), True),
        (seg(OURS), True),
        (seg(OURS, "MANUAL"), False),  # a person's correction is an input
        (seg(OURS, "AUTOMATIC", "SEMIAUTOMATIC"), False),
        (seg(OURS, "MANUAL", sop_class_uid=LABEL_MAP), False),  # saved by a tool that writes label maps
        (seg(OURS, "AUTOMATIC", sop_class_uid=LABEL_MAP), True),
        (seg(FOREIGN, "AUTOMATIC"), False),  # another program's region of interest
    ],
)  # fmt: skip
def test_what_is_ours(ds: Any, own: bool) -> None:
    assert is_own(entry_of(ds), to_part10(ds)) is own


@pytest.mark.parametrize("n_bytes", [200, 400, 500, 900, 1000])
def test_a_front_that_ends_anywhere_is_decided_on(n_bytes: int) -> None:
    """However large an instance is, only its front is looked at."""
    ds = seg(OURS, "MANUAL")
    assert isinstance(is_own(entry_of(ds), to_part10(ds)[:n_bytes]), bool)


def test_a_deflated_segmentation_is_not_inflated() -> None:
    """Four MB of it could be four GB."""
    entry = replace(entry_of(seg(OURS, "MANUAL")), transfer_syntax_uid="1.2.840.10008.1.2.1.99")
    assert is_own(entry, b"no DICOM at all")


def test_what_pydicom_cannot_read_stops_nobody() -> None:
    """Found by fuzzing: a character set of a numeric VR raises an exception of pydicom's own, outside its data elements."""
    ds = seg(OURS, "MANUAL")
    ds.SpecificCharacterSet = "ISO_IR 100"
    broken = to_part10(ds).replace(b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100", b"\x08\x00\x05\x00US\x09\x00ISO_IR 10", 1)
    assert broken != to_part10(ds)
    assert is_own(entry_of(ds), broken)
