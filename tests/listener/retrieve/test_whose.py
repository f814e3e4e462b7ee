"""Whose the study is that is asked about, and that nothing of another patient is taken for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom import Dataset

from egfr_dls.settings_sections import Source
from egfr_dls.spool import DirectorySpool
from egfr_dls.study import ReceivedInstance, SpoolRef
from listener.retrieve.inbox import NOT_ASKED_FOR, Inbox
from listener.retrieve.plan import Request
from listener.retrieve.whose import LOOKED_AT, patient_id_of
from listener.storage.reception import Reception
from tests.builders import CT_SERIES_UID, STUDY_UID, ct_slices, pet_slices, rtstruct, to_part10
from tests.listener.nodes import raw_data_set
from tests.listener.storage.test_reception import COMMAND, UID

IMAGES = frozenset({"PT", "CT"})


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[DirectorySpool]:
    with closing(DirectorySpool(tmp_path / "spool", "desk")) as opened:
        yield opened


def put(spool: DirectorySpool, ds: Dataset, part10: bytes | None = None) -> SpoolRef:
    entry = ReceivedInstance(
        str(ds.SOPClassUID), str(ds.SOPInstanceUID), STUDY_UID, str(ds.SeriesInstanceUID), str(ds.Modality),
        str(ds.file_meta.TransferSyntaxUID), "SCANNER", "EGFR_DLS", "127.0.0.1", "a", datetime.now(UTC),
    )  # fmt: skip
    return spool.append(entry, [to_part10(ds) if part10 is None else part10])


def region(patient_id: str) -> Dataset:
    ds = rtstruct(ct_slices(), {"tumour": [[0.0, 0.0, 0.0, 9.0, 0.0, 0.0, 9.0, 9.0, 0.0]]})
    ds.PatientID = patient_id
    return ds


def test_the_first_image_says_whose_it_is(spool: DirectorySpool) -> None:
    """A region may lie in the wrong folder."""
    first, second = ct_slices()[:2]
    broken = put(spool, first, to_part10(first)[:700])
    here = [put(spool, region("SOMEBODY")), broken, put(spool, pet_slices(PatientID="4711 ")[0]), put(spool, second)]
    assert patient_id_of(spool, here, IMAGES) == "4711"


def test_where_no_image_can_be_read_nobody_knows(spool: DirectorySpool) -> None:
    gone = SpoolRef("desk/gone", 0, 10)
    assert patient_id_of(spool, [put(spool, region("SOMEBODY")), gone], IMAGES) is None
    many = [put(spool, region("SOMEBODY"))] * LOOKED_AT
    assert patient_id_of(spool, [*many, put(spool, ct_slices()[0])], IMAGES) is None


@pytest.mark.parametrize(
    ("patient_id", "is_taken"), [(str(ct_slices()[0].PatientID), True), (None, True), ("SOMEBODY", False), ("", False)]
)
def test_nothing_of_another_patient_is_taken(spool: DirectorySpool, patient_id: str | None, *, is_taken: bool) -> None:
    source = Source(name="pacs", ae_title="PACS", host="127.0.0.1", port=104)
    inbox = Inbox(Reception(spool, 0), source, "EGFR_DLS", STUDY_UID, patient_id=patient_id)
    inbox.expect(Request(CT_SERIES_UID, "CT", frozenset({UID}), whole=True), STUDY_UID)
    assert inbox.take(COMMAND, [raw_data_set(ct_slices()[0])]) == (0 if is_taken else NOT_ASKED_FOR)
    assert inbox.taken == ({UID} if is_taken else set())
