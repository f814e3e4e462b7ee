"""The head of a Part 10 file is what pynetdicom writes for the same C-STORE-RQ, but for who wrote it."""

from __future__ import annotations

import io

import pytest
from pydicom import dcmread
from pydicom.uid import UID
from pynetdicom.dsutils import create_file_meta, encode_file_meta

from egfr_dls.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from listener.indexing.intake import data_set_offset
from listener.storage.part10 import file_head
from tests.builders import ct_slices
from tests.listener.nodes import raw_data_set

CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.mark.parametrize("instance", ["1.2", "1.2.3", "1.2." + "3" * 59, "1.2." + "3" * 60])
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.1.99"])
def test_it_is_what_pynetdicom_writes(instance: str, syntax: str) -> None:
    """Odd and even lengths: each value is padded."""
    meta = create_file_meta(sop_class_uid=UID(CT), sop_instance_uid=UID(instance), transfer_syntax=UID(syntax))
    head = file_head(CT, instance, syntax)
    meta.ImplementationClassUID, meta.ImplementationVersionName = IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
    assert head == b"".join((bytes(128), b"DICM", encode_file_meta(meta)))
    assert data_set_offset(head) == len(head)


def test_head_and_data_set_are_a_file() -> None:
    ds = ct_slices()[0]
    syntax = str(ds.file_meta.TransferSyntaxUID)
    read = dcmread(io.BytesIO(file_head(ds.SOPClassUID, ds.SOPInstanceUID, syntax) + raw_data_set(ds)))
    assert read == ds
    assert read.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
