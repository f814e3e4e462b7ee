"""Any data set that the scanner takes, looked at by the loop guard: it decides, and an exception would stop the indexer for good.

The first byte of an input says the transfer syntax, as in ``fuzz_data_set``; the rest is the data set of a segmentation.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import replace

from pydicom.uid import SegmentationStorage

from egfr_dls.uids import CODING_SCHEME_UID
from listener.indexing.own import is_own
from listener.status import InstanceRefusedError
from listener.storage.facts import FactsReader, StoreCommand
from listener.storage.part10 import file_head
from tests.egfr_dls.spool.entries import ENTRY
from tests.fuzz.fuzz_data_set import IMPLICIT, SYNTAXES, UID, data_set, deflated, element, sequence

SEG = str(SegmentationStorage)
SCHEME = CODING_SCHEME_UID.encode() + b"\0" * (len(CODING_SCHEME_UID) % 2)


def check(encoded: bytes) -> None:
    """Ask the loop guard about a data set; whatever it is, there is an answer."""
    how, data = (encoded[0], encoded[1:]) if encoded else (0, b"")
    syntax = SYNTAXES[how % len(SYNTAXES)]
    if how % len(SYNTAXES) == 4:
        data = deflated(data)
    reader = FactsReader(StoreCommand(SEG, UID, SEG, syntax))
    try:
        reader.feed(memoryview(data))
        facts = reader.finish()
    except InstanceRefusedError:
        return
    uids = {"sop_class_uid": SEG, "study_instance_uid": facts.study_instance_uid, "transfer_syntax_uid": syntax}
    entry = replace(ENTRY, **uids, series_instance_uid=facts.series_instance_uid)
    head, cut = file_head(SEG, UID, syntax), zlib.crc32(data) % len(data)  # where the front that is looked at may end
    # our coding scheme is named in it, at some place
    for front in (head + data, head + data + SCHEME, head + data[:cut] + SCHEME):
        assert is_own(entry, front) in (True, False)


def seeds() -> Iterator[bytes]:
    """Yield segmentations in each syntax, some of which name our coding scheme and the way a segment was made."""
    for number, syntax in enumerate(SYNTAXES[:4]):
        written = {"implicit": syntax == IMPLICIT, "big": number == 2}
        for made in (b"MANUAL", b"AUTOMATIC ", b"\xff\\SEMI"):
            inner = element(0x62, 8, b"CS", made, **written)
            segments = sequence(inner + element(8, 0x10C, b"UI", SCHEME, **written), number=(0x62, 2), **written)
            content = data_set(sop_class=SEG, nested=segments, **written)
            yield bytes([number]) + (deflated(content) if number == 3 else content)
