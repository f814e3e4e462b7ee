"""The walk over encoded data sets agrees with pydicom and never runs past an end."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from listener.dataset import EXPLICIT_LITTLE, MAX_DEPTH, elements, encoding_of, plain
from listener.intake import data_set_offset
from listener.status import Fault, InstanceRefusedError
from tests.builders import ct_slices, pet_slices

SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]


def encoded(ds: Dataset, syntax: str, *, undefined: bool = False) -> bytes:
    ds.file_meta.TransferSyntaxUID = syntax
    for element in ds.iterall():
        if element.VR == "SQ":
            element.is_undefined_length = undefined
            for item in element.value:
                item.is_undefined_length_sequence_item = undefined
    buffer = io.BytesIO()
    dcmwrite(buffer, ds, enforce_file_format=True)
    body = buffer.getvalue()
    return body[data_set_offset(body) :]


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_the_top_level_elements_are_those_of_pydicom(syntax: str, undefined: bool) -> None:
    ds = pet_slices()[0]
    data = encoded(ds, syntax, undefined=undefined)
    found = list(elements(data, encoding_of(syntax)))
    assert [e.tag for e in found] == [int(e.tag) for e in ds]
    assert [e.length is None for e in found] == [undefined and e.VR == "SQ" for e in ds]
    (pixels,) = (e for e in found if e.tag == 0x7FE00010)
    assert data[pixels.start : pixels.start + (pixels.length or 0)].rstrip(b"\0") == ds.PixelData.rstrip(b"\0")


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_data_set_cut_anywhere_is_refused_or_ends_between_elements(syntax: str, undefined: bool) -> None:
    ds = pet_slices()[0]
    ds.PixelData = ds.PixelData[:64]
    data = encoded(ds, syntax, undefined=undefined)
    whole = list(elements(data, encoding_of(syntax)))
    starts = {len(data)}
    for size in range(len(data)):
        try:
            found = list(elements(data[:size], encoding_of(syntax)))
        except InstanceRefusedError as error:
            assert error.fault is Fault.CUT_SHORT
        else:
            assert found == whole[: len(found)]
            starts.add(size)
    assert len(starts) < 2 * len(whole) + 8, "only cuts between elements go unseen"


@given(st.binary(max_size=200))
def test_any_bytes_are_walked_or_refused(data: bytes) -> None:
    """No other exception, no element past the end, whatever comes."""
    for syntax in SYNTAXES:
        try:
            found = list(elements(data, encoding_of(syntax)))
        except InstanceRefusedError:
            continue
        assert all(e.length is None or e.start + e.length <= len(data) for e in found)


def sequence(depth: int, vr: bytes = b"SQ") -> bytes:
    begin = struct.pack("<HH2sHI", 0x0008, 0x1140, vr, 0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    end = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    return begin * depth + end * depth


def test_nesting_has_a_limit_that_pydicom_can_read() -> None:
    deepest = sequence(MAX_DEPTH)
    assert len(list(elements(deepest, EXPLICIT_LITTLE))) == 1
    with pytest.raises(InstanceRefusedError) as refused:
        list(elements(sequence(MAX_DEPTH + 1), EXPLICIT_LITTLE))
    assert refused.value.fault is Fault.NESTED_TOO_DEEP
    meta = Dataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = dcmread(io.BytesIO(deepest), force=True)
    assert str(ds)


def test_un_of_undefined_length_holds_implicit_elements() -> None:
    """PS3.5 6.2.2, note 4; the element after it is explicit again."""
    inner = struct.pack("<HHI", 0x0010, 0x0010, 4) + b"ABCD"
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + inner + struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    unknown = (
        struct.pack("<HH2sHI", 0x0009, 0x1001, b"UN", 0, 0xFFFFFFFF) + item + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    )
    after = struct.pack("<HH2sH", 0x0010, 0x0020, b"LO", 2) + b"ID"
    assert [e.tag for e in elements(unknown + after, EXPLICIT_LITTLE)] == [0x00091001, 0x00100020]


def test_a_delimiter_that_was_not_owed_is_malformed() -> None:
    with pytest.raises(InstanceRefusedError) as refused:
        list(elements(struct.pack("<HHI", 0xFFFE, 0xE0DD, 0), EXPLICIT_LITTLE))
    assert refused.value.fault is Fault.MALFORMED


def test_a_vr_of_a_later_edition_has_the_long_form() -> None:
    """PS3.5 7.1.2: VRs to come have 32 bits of length."""
    data = struct.pack("<HH2sHI", 0x0010, 0x0010, b"ZZ", 0, 2) + b"ab"
    (found,) = elements(data, EXPLICIT_LITTLE)
    assert (found.start, found.length) == (12, 2)


def test_deflated_data_sets_are_inflated_within_a_limit() -> None:
    deflater = zlib.compressobj(wbits=-15)
    data = deflater.compress(bytes(5_000_000)) + deflater.flush()
    assert plain(data, DeflatedExplicitVRLittleEndian) == bytes(5_000_000)
    for sent, limit, fault in (
        (data, 1_000_000, Fault.INFLATED_TOO_LARGE),
        (data[:-4], 10**9, Fault.CUT_SHORT),
        (b"\xff" * 50, 10**9, Fault.MALFORMED),
    ):
        with pytest.raises(InstanceRefusedError) as refused:
            plain(sent, DeflatedExplicitVRLittleEndian, limit)
        assert refused.value.fault is fault


def test_a_ct_slice_takes_little_time() -> None:
    """A guard against a walk that looks at every byte: 1,000 headers within a second on a slow machine."""
    import time

    data = encoded(ct_slices()[0], ExplicitVRLittleEndian)
    began = time.process_time()
    for _ in range(1000):
        list(elements(data, EXPLICIT_LITTLE))
    assert time.process_time() - began < 1.0
