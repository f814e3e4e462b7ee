"""The data set of a storage commitment request, from honest and hostile senders."""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Callable

import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage

from listener.commitment.request import (
    MAX_REFERENCES,
    MAX_REQUEST_BYTES,
    CommitmentRequest,
    Reference,
    read_request,
)
from listener.commitment.status import RequestFault, RequestRefusedError
from tests.listener.requester import EXPLICIT, IMPLICIT, TRANSACTION, as_bytes, item, request

CT = str(CTImageStorage)
SYNTAXES = pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
WANTED = CommitmentRequest(TRANSACTION, (Reference(CT, "1.2.3"), Reference("1.2.840.10008.5.1.4.1.1.128", "1.2.4")))


def rich_request() -> Dataset:
    """Return a request with all that the standard allows beside the two attributes that count, and something private."""
    ds = request(["1.2.3", ("1.2.840.10008.5.1.4.1.1.128", "1.2.4")], StorageMediaFileSetID="DISC")
    ds.ReferencedPerformedProcedureStepSequence = [item("9.9")]
    ds.ReferencedSOPSequence[0].RetrieveURI = "http://example.invalid/"
    ds.ReferencedSOPSequence[1].ReferencedSOPSequence = [item("7.7"), item("8.8")]  # inside an item: not asked for
    ds.private_block(0x0009, "TEST", create=True).add_new(1, "SQ", [item("6.6")])
    return ds


def undefined_lengths(ds: Dataset) -> Dataset:
    """Return the data set with every sequence and item delimited instead of measured."""
    for element in ds:
        if element.VR == "SQ":
            element.is_undefined_length = True
            for one in element.value:
                one.is_undefined_length_sequence_item = True
                undefined_lengths(one)
    return ds


@SYNTAXES
@pytest.mark.parametrize("how", [lambda ds: ds, undefined_lengths])
def test_both_syntaxes_and_both_ways_to_end_a_sequence(syntax: str, how: Callable[[Dataset], Dataset]) -> None:
    assert read_request(as_bytes(how(rich_request()), syntax), syntax) == WANTED


def test_an_unknown_sequence_of_undefined_length_is_implicit_inside() -> None:
    """PS3.5 6.2.2, note 4: UN of undefined length; afterwards the data set goes on as before."""
    inner = as_bytes(item("5.5"), IMPLICIT)
    unknown = struct.pack("<HH2sHI", 0x0009, 0x1010, b"UN", 0, 0xFFFFFFFF)
    unknown += struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + inner + struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    unknown += struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    data = as_bytes(request(["1.2.3"])) + unknown + struct.pack("<HH2sH2s", 0x0010, 0x0010, b"PN", 2, b"A ")
    assert read_request(data, EXPLICIT).references == (Reference(CT, "1.2.3"),)


def test_an_instance_that_is_named_twice_is_asked_for_once() -> None:
    data = as_bytes(request(["1.2.3", "1.2.3", "1.2.4"]))
    assert [r.sop_instance_uid for r in read_request(data, EXPLICIT).references] == ["1.2.3", "1.2.4"]


def without(ds: Dataset, keyword: str, of: Dataset | None = None) -> Dataset:
    delattr(of or ds, keyword)
    return ds


def with_bad_item(**attributes: str) -> Dataset:
    ds = request(["1.2.3"])
    one = ds.ReferencedSOPSequence[0]
    for keyword, value in attributes.items():
        one[keyword]._value = value  # past pydicom's own check
    return ds


LACKING = {
    "no transaction": (without(request(["1.2"]), "TransactionUID"), RequestFault.NO_TRANSACTION_UID),
    "an empty transaction": (request(["1.2"], ""), RequestFault.NO_TRANSACTION_UID),
    "no sequence": (without(request(["1.2"]), "ReferencedSOPSequence"), RequestFault.NO_REFERENCES),
    "an empty sequence": (request([]), RequestFault.NO_REFERENCES),
    "no class": (
        without(ds := request(["1.2"]), "ReferencedSOPClassUID", ds.ReferencedSOPSequence[0]),
        RequestFault.REFERENCE_FORM,
    ),
    "no instance": (
        without(ds := request(["1.2"]), "ReferencedSOPInstanceUID", ds.ReferencedSOPSequence[0]),
        RequestFault.REFERENCE_FORM,
    ),
    "letters": (with_bad_item(ReferencedSOPInstanceUID="1.2.X"), RequestFault.REFERENCE_FORM),
    "too long": (with_bad_item(ReferencedSOPInstanceUID="1" * 65), RequestFault.REFERENCE_FORM),
    "two values": (with_bad_item(ReferencedSOPInstanceUID="1.2\\1.3"), RequestFault.REFERENCE_FORM),
    "too many": (request(f"1.2.{n}" for n in range(MAX_REFERENCES + 1)), RequestFault.TOO_MANY_REFERENCES),
}


@pytest.mark.filterwarnings("ignore:.*Invalid value for VR UI.*", "ignore:.*exceeds the maximum length.*")
@pytest.mark.parametrize("name", LACKING)
def test_what_is_lacking_decides_the_fault(name: str) -> None:
    ds, fault = LACKING[name]
    assert fault_of(as_bytes(ds), EXPLICIT) is fault


def test_no_data_set_and_one_that_is_too_large() -> None:
    assert fault_of(b"", EXPLICIT) is RequestFault.NO_DATA_SET
    assert fault_of(bytes(MAX_REQUEST_BYTES + 1), EXPLICIT) is RequestFault.TOO_LARGE


@SYNTAXES
def test_cut_at_any_byte_it_is_a_refusal_and_never_an_accident(syntax: str) -> None:
    """A cut between two elements leaves a shorter request, which then lacks what stood behind it."""
    ds = rich_request()
    data = as_bytes(undefined_lengths(ds), syntax)
    whole = data.rindex(struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)) + 8
    for end in range(whole):
        try:
            assert read_request(data[:end], syntax) == WANTED  # the private sequence behind it is cut off as a whole
        except RequestRefusedError:
            continue


@SYNTAXES
def test_any_bytes_at_all_are_read_or_refused(syntax: str) -> None:
    dice, data = random.Random(7), bytearray(as_bytes(rich_request(), syntax))
    for _ in range(3000):
        broken = bytearray(data)
        for _ in range(dice.randint(1, 6)):
            broken[dice.randrange(len(broken))] = dice.choice((0, 0xFF, 0xFE, dice.randrange(256)))
        try:
            read_request(bytes(broken), syntax)
        except RequestRefusedError:
            continue


@SYNTAXES
def test_nesting_as_deep_as_the_bytes_allow_costs_a_moment(syntax: str) -> None:
    head = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF) if syntax == EXPLICIT else b""
    head = head or struct.pack("<HHI", 0x0040, 0xA730, 0xFFFFFFFF)
    level = head + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    began = time.process_time()
    assert fault_of(level * (MAX_REQUEST_BYTES // len(level)), syntax) is RequestFault.MALFORMED
    assert time.process_time() - began < 10


def test_ten_thousand_instances_are_read_in_a_moment() -> None:
    data = as_bytes(request(f"1.2.826.0.1.3680043.10.1.{n}" for n in range(10_000)))
    began = time.process_time()
    assert len(read_request(data, EXPLICIT).references) == 10_000
    assert time.process_time() - began < 2  # measured: 0.05 s


def fault_of(data: bytes, syntax: str) -> RequestFault:
    with pytest.raises(RequestRefusedError) as refused:
        read_request(data, syntax)
    return refused.value.fault
