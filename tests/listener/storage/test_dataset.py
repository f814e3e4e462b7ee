"""The walk over encoded data sets agrees with pydicom, however the bytes are cut, and never runs past an end."""

from __future__ import annotations

import io
import itertools
import struct
import tracemalloc
import zlib
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from listener.status import Fault, InstanceRefusedError
from listener.storage.dataset import (
    EXPLICIT_LITTLE,
    MAX_DEPTH,
    DataSetScanner,
    Encoding,
    InflatingScanner,
    Scanner,
    encoding_of,
    scanner,
)
from tests.builders import ct_slices, pet_slices, to_part10
from tests.listener.nodes import raw_data_set

SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]


def encoded(ds: Dataset, syntax: str, *, undefined: bool = False) -> bytes:
    ds.file_meta.TransferSyntaxUID = syntax
    for element in ds.iterall():
        if element.VR == "SQ":
            element.is_undefined_length = undefined
            for item in element.value:
                item.is_undefined_length_sequence_item = undefined
    return raw_data_set(ds)


class EveryTag:
    """Wants whatever comes."""

    def __contains__(self, _tag: object) -> bool:
        return True


EVERY_TAG = EveryTag()
WHOLE = 10**7  # bytes: values are kept to their ends


def fed(walk: Scanner, data: bytes, cuts: Iterable[int] = ()) -> dict[int, bytes]:
    """Feed a scanner in the pieces that lie between the cuts; each piece is overwritten afterwards, as a buffer is."""
    places = [0, *sorted({min(cut, len(data)) for cut in cuts}), len(data)]
    for start, stop in itertools.pairwise(places):
        piece = bytearray(data[start:stop])
        walk.feed(memoryview(piece))
        piece[:] = b"\xa5" * len(piece)
    return walk.finish()


def walked(data: bytes, encoding: Encoding, cuts: Iterable[int] = ()) -> dict[int, bytes]:
    """Return the top-level elements, tag -> value; empty for an undefined length."""
    return fed(DataSetScanner(encoding, EVERY_TAG, WHOLE), data, cuts)


def outcome(walk: Scanner, data: bytes, cuts: Iterable[int] = ()) -> dict[int, bytes] | Fault:
    """Return what the scanner found, or its fault."""
    try:
        return fed(walk, data, cuts)
    except InstanceRefusedError as error:
        return error.fault


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_the_top_level_elements_are_those_of_pydicom(syntax: str, undefined: bool) -> None:
    ds = pet_slices()[0]
    data = encoded(ds, syntax, undefined=undefined)
    found = walked(data, encoding_of(syntax))
    assert list(found) == [int(e.tag) for e in ds]
    undefined_ones = {int(e.tag) for e in ds if undefined and e.VR == "SQ"}
    assert all(found[tag] == b"" for tag in undefined_ones)
    assert all(found[int(e.tag)] != b"" for e in ds if e.VR == "SQ") != undefined
    assert found[0x7FE00010].rstrip(b"\0") == ds.PixelData.rstrip(b"\0")


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_data_set_cut_anywhere_is_refused_or_ends_between_elements(syntax: str, undefined: bool) -> None:
    ds = pet_slices()[0]
    ds.PixelData = ds.PixelData[:64]
    data = encoded(ds, syntax, undefined=undefined)
    whole = list(walked(data, encoding_of(syntax)).items())
    starts = {len(data)}
    for size in range(len(data)):
        try:
            found = list(walked(data[:size], encoding_of(syntax)).items())
        except InstanceRefusedError as error:
            assert error.fault is Fault.CUT_SHORT
        else:
            assert found == whole[: len(found)]
            starts.add(size)
    assert len(starts) < 2 * len(whole) + 8, "only cuts between elements go unseen"


@given(st.binary(max_size=200), st.lists(st.integers(0, 200)))
def test_any_bytes_are_walked_or_refused(data: bytes, cuts: list[int]) -> None:
    """No other exception, no element past the end, whatever comes; and the same however it is cut."""
    for syntax in SYNTAXES:
        at_once = outcome(DataSetScanner(encoding_of(syntax), EVERY_TAG, WHOLE), data)
        assert outcome(DataSetScanner(encoding_of(syntax), EVERY_TAG, WHOLE), data, cuts) == at_once
        assert isinstance(at_once, Fault) or sum(len(value) for value in at_once.values()) <= len(data)


UID_TAGS = (0x00080016, 0x00080018, 0x0020000D, 0x0020000E, 0x00200052)
UID_TEXTS = st.from_regex(r"[12]\.[1-9][0-9]{0,20}(\.[1-9][0-9]{0,9}){0,3}", fullmatch=True)
EVEN_BYTES = st.binary(max_size=40).map(lambda value: value + b"\1" * (len(value) % 2))
VALUES = {
    "PatientName": st.text("ABC^ ", max_size=30),
    "ImageComments": st.text("abc \n", max_size=300),
    "PatientWeight": st.just(70),
    "Rows": st.just(3),
    "ICCProfile": EVEN_BYTES,
    "FrameTime": st.just(1.5),
    "PixelData": EVEN_BYTES,
    "StudyInstanceUID": UID_TEXTS,
    "SeriesInstanceUID": UID_TEXTS,
    "SOPInstanceUID": UID_TEXTS,
}


@st.composite
def data_sets(draw: st.DrawFn, depth: int = 0) -> Dataset:
    """Return a data set of some attributes, with sequences inside sequences that hold UIDs too."""
    ds = Dataset()
    for keyword in draw(st.sets(st.sampled_from(sorted(VALUES)))):
        setattr(ds, keyword, draw(VALUES[keyword]))
    if "PixelData" in ds:
        ds.BitsAllocated, ds["PixelData"].VR = 16, "OW"
    for keyword in ("ReferencedImageSequence", "SourceImageSequence"):
        if depth < 3 and draw(st.booleans()):
            setattr(ds, keyword, [draw(data_sets(depth + 1)) for _ in range(draw(st.integers(0, 2)))])
    return ds


@given(
    ds=data_sets(),
    uids=st.tuples(*[UID_TEXTS] * len(UID_TAGS)),
    syntax=st.sampled_from([*SYNTAXES, DeflatedExplicitVRLittleEndian]),
    undefined=st.booleans(),
    cuts=st.lists(st.integers(0, 3000), max_size=40),
)
def test_a_data_set_in_any_pieces_has_the_uids_that_pydicom_reads(
    ds: Dataset, uids: tuple[str, ...], syntax: str, undefined: bool, cuts: list[int]
) -> None:
    """Where headers and values lie across cuts, and byte by byte; UIDs inside sequences are not taken for those outside."""
    ds.file_meta = FileMetaDataset()
    for tag, uid in zip(UID_TAGS, uids, strict=True):
        ds.add_new(tag, "UI", uid)
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = uids[:2]
    data = encoded(ds, syntax, undefined=undefined)
    at_once = fed(scanner(syntax, UID_TAGS), data)
    read = dcmread(io.BytesIO(to_part10(ds)))
    assert [at_once[tag].rstrip(b"\0").decode() for tag in UID_TAGS] == [read[tag].value for tag in UID_TAGS]
    assert fed(scanner(syntax, UID_TAGS), data, cuts) == at_once
    assert fed(scanner(syntax, UID_TAGS), data, range(len(data))) == at_once


def sequence(depth: int, vr: bytes = b"SQ") -> bytes:
    begin = struct.pack("<HH2sHI", 0x0008, 0x1140, vr, 0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    end = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    return begin * depth + end * depth


def test_nesting_has_a_limit_that_pydicom_can_read() -> None:
    deepest = sequence(MAX_DEPTH)
    assert len(walked(deepest, EXPLICIT_LITTLE)) == 1
    with pytest.raises(InstanceRefusedError) as refused:
        walked(sequence(MAX_DEPTH + 1), EXPLICIT_LITTLE)
    assert refused.value.fault is Fault.NESTED_TOO_DEEP
    ds = dcmread(io.BytesIO(deepest), force=True)
    assert str(ds)


def test_the_number_of_elements_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """1 GiB of elements of 8 bytes, which 2 MB of a deflated data set can hold, would take half a minute of CPU."""
    monkeypatch.setattr("listener.storage.dataset.MAX_ELEMENTS", 100)
    element = struct.pack("<HH2sH", 0x0028, 0x0010, b"US", 0)
    nested = struct.pack("<HH2sHI", 0x0009, 0x1001, b"UN", 0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    for one, count in ((element, 100), (nested, 50)):
        for cuts in ((), range(100 * len(one))):
            assert isinstance(outcome(scanner(ExplicitVRLittleEndian, {}), one * (count - 1), cuts), dict)
            assert outcome(scanner(ExplicitVRLittleEndian, {}), one * (count + 1), cuts) is Fault.TOO_MANY_ELEMENTS


def test_un_of_undefined_length_holds_implicit_elements() -> None:
    """PS3.5 6.2.2, note 4; the element after it is explicit again."""
    inner = struct.pack("<HHI", 0x0010, 0x0010, 4) + b"ABCD"
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + inner + struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    unknown = (
        struct.pack("<HH2sHI", 0x0009, 0x1001, b"UN", 0, 0xFFFFFFFF) + item + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    )
    after = struct.pack("<HH2sH", 0x0010, 0x0020, b"LO", 2) + b"ID"
    data = unknown + after
    for cuts in ((), range(len(data))):
        assert walked(data, EXPLICIT_LITTLE, cuts) == {0x00091001: b"", 0x00100020: b"ID"}


def test_a_delimiter_that_was_not_owed_is_malformed() -> None:
    with pytest.raises(InstanceRefusedError) as refused:
        walked(struct.pack("<HHI", 0xFFFE, 0xE0DD, 0), EXPLICIT_LITTLE)
    assert refused.value.fault is Fault.MALFORMED


def test_a_vr_of_a_later_edition_has_the_long_form() -> None:
    """PS3.5 7.1.2: VRs to come have 32 bits of length."""
    data = struct.pack("<HH2sHI", 0x0010, 0x0010, b"ZZ", 0, 2) + b"ab"
    assert walked(data, EXPLICIT_LITTLE) == {0x00100010: b"ab"}


def deflated(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(data) + deflater.flush()


def pixels(size: int) -> bytes:
    """Return the header of Pixel Data of this size, bytes; explicit little endian."""
    return struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, size)


def test_deflated_data_sets_are_inflated_within_a_limit() -> None:
    data = deflated(pixels(5_000_000) + bytes(5_000_000))

    def inflating(limit: int) -> Scanner:
        return InflatingScanner(DataSetScanner(EXPLICIT_LITTLE, EVERY_TAG, WHOLE), limit)

    for cuts in ((), (1, 17, 18, len(data) - 1), range(len(data))):
        assert fed(inflating(10**9), data, cuts) == {0x7FE00010: bytes(5_000_000)}
        assert fed(inflating(10**9), data + b"\0", cuts) == {0x7FE00010: bytes(5_000_000)}, "padding (PS3.5 A.5)"
        for sent, limit, fault in (
            (data, 1_000_000, Fault.INFLATED_TOO_LARGE),
            (data[:-4], 10**9, Fault.CUT_SHORT),
            (b"", 10**9, Fault.CUT_SHORT),
            (b"\xff" * 50, 10**9, Fault.MALFORMED),
        ):
            assert outcome(inflating(limit), sent, cuts) is fault


def test_memory_is_bounded_whatever_comes() -> None:
    """A deflated data set of 100 MB, and 100 MB that come in pieces, cost the memory of one piece."""
    bomb, piece = deflated(pixels(100_000_000) + bytes(100_000_000)), memoryview(bytes(1_000_000))
    inflating, plain = scanner(DeflatedExplicitVRLittleEndian, {}), scanner(ExplicitVRLittleEndian, {0x7FE00010})
    tracemalloc.start()
    try:
        fed(inflating, bomb)
        plain.feed(memoryview(pixels(100_000_000)))
        for _ in range(100):
            plain.feed(piece)
        assert plain.finish() == {0x7FE00010: bytes(128)}
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_a_ct_slice_takes_little_time() -> None:
    """A guard against a walk that looks at every byte: 1,000 headers within a second on a slow machine."""
    import time

    data = memoryview(encoded(ct_slices()[0], ExplicitVRLittleEndian))
    began = time.process_time()
    for _ in range(1000):
        walk = scanner(ExplicitVRLittleEndian, UID_TAGS)
        walk.feed(data)
        walk.finish()
    assert time.process_time() - began < 1.0
