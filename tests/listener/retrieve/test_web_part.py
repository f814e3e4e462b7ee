"""A Part 10 file of a source says what a C-STORE-RQ would say, or is none."""

from __future__ import annotations

import pytest

from listener.retrieve.source import SourceError
from listener.retrieve.web_part import MAX_META_BYTES, instance_of
from tests.builders import ct_slices, to_part10
from tests.listener.nodes import raw_data_set

DS = ct_slices()[0]
FILE = to_part10(DS)


@pytest.mark.parametrize("step", [1, 100, 144, 1 << 20])
def test_command_and_data_set_are_those_of_the_file(step: int) -> None:
    command, data_set = instance_of(iter([FILE[at : at + step] for at in range(0, len(FILE), step)]))
    assert command.sop_class_uid == command.context_sop_class_uid == DS.SOPClassUID
    assert command.sop_instance_uid == DS.SOPInstanceUID
    assert command.transfer_syntax_uid == DS.file_meta.TransferSyntaxUID
    assert b"".join(data_set) == raw_data_set(DS)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>not here</html>",
        FILE[:140],
        FILE[:200],
        FILE[:128] + b"MCID" + FILE[132:],
        FILE[:140] + (MAX_META_BYTES + 2).to_bytes(4, "little") + bytes(2 * MAX_META_BYTES),
        FILE[:144] + b"\2\0\2\0xx" + FILE[150:],  # a VR that is none
    ],
)
def test_what_is_no_part_10_file_is_unreadable(content: bytes) -> None:
    with pytest.raises(SourceError, match="PART_UNREADABLE"):
        instance_of(iter([content]))
