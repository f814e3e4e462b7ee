"""Command sets and PDUs, held against pynetdicom's codecs."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.dimse_messages import C_STORE_RQ, C_STORE_RSP, N_ACTION_RSP, N_EVENT_REPORT_RQ, DIMSEMessage
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import decode as decode_dataset
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_RJ, A_RELEASE_RP, P_DATA_TF

from listener.status import Abort, Rejection
from listener.upper_layer import pdu
from listener.upper_layer.command_set import Command, CommandSet, Tag, read_command, write_command, write_response
from listener.upper_layer.errors import ProtocolError
from tests.listener.wire import CT, store_command


def decoded(encoded: bytes) -> DIMSEMessage:
    """Return the message that pynetdicom makes of P-DATA-TF PDUs."""
    message, at = DIMSEMessage(), 0
    while at < len(encoded):
        length = pdu.HEADER.size + pdu.HEADER.unpack_from(encoded, at)[1]
        data = P_DATA_TF()
        data.decode(encoded[at : at + length])
        message.decode_msg(data.to_primitive())
        at += length
    return message


def test_pynetdicom_reads_our_response() -> None:
    request = read_command(store_command(message_id=77, instance="1.2.3"))
    message = decoded(pdu.message(5, write_response(request, 0xA700, "full"), b"", 0))
    assert isinstance(message, C_STORE_RSP)
    answer = message.message_to_primitive()
    assert (answer.MessageIDBeingRespondedTo, answer.Status) == (77, 0xA700)
    assert (answer.AffectedSOPClassUID, answer.AffectedSOPInstanceUID) == (CT, "1.2.3")
    assert message.command_set.ErrorComment == "full"
    assert message.command_set.CommandGroupLength == len(write_response(request, 0xA700, "full")) - 12


def test_a_response_to_an_n_request_names_what_was_requested() -> None:
    """Requested SOP Class and Instance UID become the affected ones (PS3.7 10.3.5)."""
    request = read_command(
        write_command(
            {
                Tag.COMMAND_FIELD: Command.N_ACTION_RQ,
                Tag.MESSAGE_ID: 3,
                Tag.DATA_SET_TYPE: 1,
                Tag.REQUESTED_SOP_CLASS_UID: "1.2.840.10008.1.20.1",
                Tag.REQUESTED_SOP_INSTANCE_UID: "1.2.840.10008.1.20.1.1",
                Tag.ACTION_TYPE_ID: 1,
            }
        )
    )
    message = decoded(pdu.message(1, write_response(request, 0), b"", 0))
    assert isinstance(message, N_ACTION_RSP)
    answer = message.message_to_primitive()
    assert answer.AffectedSOPClassUID == "1.2.840.10008.1.20.1"
    assert answer.AffectedSOPInstanceUID == "1.2.840.10008.1.20.1.1"


@pytest.mark.parametrize("maximum", [0, 20, 64, 16382])
def test_pynetdicom_reads_our_request_in_fragments_of_any_size(maximum: int) -> None:
    elements = {
        Tag.COMMAND_FIELD: Command.N_EVENT_REPORT_RQ,
        Tag.MESSAGE_ID: 9,
        Tag.DATA_SET_TYPE: 1,
        Tag.AFFECTED_SOP_CLASS_UID: "1.2.840.10008.1.20.1",
        Tag.AFFECTED_SOP_INSTANCE_UID: "1.2.840.10008.1.20.1.1",
        Tag.EVENT_TYPE_ID: 1,
    }
    data = bytes.fromhex("0800 1600 04000000") + b"1.2\0"
    encoded = pdu.message(7, write_command(elements), data, maximum)
    message = decoded(encoded)
    assert isinstance(message, N_EVENT_REPORT_RQ)
    report = message.message_to_primitive()
    assert (report.EventTypeID, report.MessageID) == (1, 9)
    assert decode_dataset(report.EventInformation, True, True).SOPClassUID == "1.2"


def test_we_read_pynetdicoms_request() -> None:
    primitive = C_STORE()
    primitive.MessageID, primitive.Priority = 12, 2
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = CT, "1.2.3.45"
    primitive.DataSet = BytesIO(b"\0")
    message = C_STORE_RQ()
    message.primitive_to_message(primitive)
    first = next(iter(message.encode_msg(1, 16382)))
    command = read_command(first.presentation_data_value_list[0][1][1:])
    assert (command.field, command.message_id, command.has_data_set) == (Command.C_STORE_RQ, 12, True)
    assert (command.uid(Tag.AFFECTED_SOP_CLASS_UID), command.uid(Tag.AFFECTED_SOP_INSTANCE_UID)) == (CT, "1.2.3.45")
    assert command.number(Tag.STATUS) is None


@given(st.binary(max_size=200))
def test_any_bytes_are_a_command_set_or_refused(encoded: bytes) -> None:
    for content in (encoded, store_command() + encoded, store_command()[: len(encoded)] + encoded):
        try:
            command = read_command(content)
        except ProtocolError as error:
            assert error.abort is Abort.MALFORMED_COMMAND
        else:
            assert isinstance(command, CommandSet)
            write_response(command, 0)


def test_rejections_aborts_and_releases_are_what_pynetdicom_reads() -> None:
    for reason in Rejection:
        rejection = A_ASSOCIATE_RJ()
        rejection.decode(pdu.rejection(reason))
        assert (rejection.result, rejection.source, rejection.reason_diagnostic) == reason.codes
        assert rejection.reason_str
    for why in Abort:
        abort = A_ABORT_RQ()
        abort.decode(pdu.abort(*why.codes))
        assert (abort.source, abort.reason_diagnostic) == why.codes
        assert abort.source_str
        assert abort.reason_str
    release = A_RELEASE_RP()
    release.decode(pdu.RELEASE_RP)
    assert release.encode() == pdu.RELEASE_RP
