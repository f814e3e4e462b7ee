"""The loop guard: our own results, sent back by a PACS that forwards everything, are counted and start nothing."""

from __future__ import annotations

import io
from functools import lru_cache
from itertools import product

from egfr_dls.biomarkers import RULES
from egfr_dls.study import ReceivedInstance
from egfr_dls.uids import CODING_SCHEME_UID, OBJECT_KINDS, series_uid
from listener.registry import DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, SEGMENTATION_STORAGE

# Of an instance this much is looked at, whatever its size: (0008,010C) and (0062,0002) stand before frames and pixels.
FRONT_BYTES = 4 * 1024**2
_SCHEME = CODING_SCHEME_UID.encode()
_SEGMENTATIONS = frozenset({SEGMENTATION_STORAGE, "1.2.840.10008.5.1.4.1.1.66.7"})  # the latter: Label Map Segmentation
# Classes that any version of us may have sent. What a scanner made is never searched for our coding scheme.
_OF_OURS = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.88.33",  # ComprehensiveSRStorage
        "1.2.840.10008.5.1.4.1.1.88.34",  # Comprehensive3DSRStorage
        "1.2.840.10008.5.1.4.1.1.88.22",  # EnhancedSRStorage
        "1.2.840.10008.5.1.4.1.1.66.4",  # SEGMENTATION_STORAGE
        "1.2.840.10008.5.1.4.1.1.7",  # SecondaryCaptureImageStorage
        "1.2.840.10008.5.1.4.1.1.7.4",  # MultiFrameTrueColorSecondaryCaptureImageStorage
        "1.2.840.10008.5.1.4.1.1.104.1",  # EncapsulatedPDFStorage
        "1.2.840.10008.5.1.4.1.1.30",  # ParametricMapStorage
    }
)


def may_be_own(entry: ReceivedInstance) -> bool:
    """Whether ``is_own`` needs the instance's bytes to tell."""
    return entry.sop_class_uid in _OF_OURS or entry.series_instance_uid in our_series(entry.study_instance_uid)


def is_own(entry: ReceivedInstance, front: bytes) -> bool:
    """Whether an instance is our own object come back.

    The ledger knows ours by their SOP Instance UID (``ledger.arrivals``). So that a lost ledger starts no loop, one that lies in
    a series whose UID we derive, or names our coding scheme (0008,010C), is ours too. Except for a SEG in which a person has
    had a hand: that is a corrected region of interest, an input.

    Parameters
    ----------
    front
        the first ``FRONT_BYTES`` of its Part 10 file
    """
    looks_ours = entry.series_instance_uid in our_series(entry.study_instance_uid) or (
        entry.sop_class_uid in _OF_OURS and _SCHEME in front
    )
    return looks_ours and not _is_corrected_seg(entry, front)


@lru_cache(maxsize=1024)
def our_series(study_instance_uid: str) -> frozenset[str]:
    """Return the Series Instance UIDs that our objects of this study can have."""
    return frozenset(
        series_uid(study_instance_uid, rule.name, kind, demonstration=demonstration)
        for rule, kind, demonstration in product(RULES, OBJECT_KINDS, (False, True))
    )


def _is_corrected_seg(entry: ReceivedInstance, front: bytes) -> bool:
    """Whether a segment's Segment Algorithm Type (0062,0008) is MANUAL or SEMIAUTOMATIC (PS3.3 C.8.20.2).

    One that is deflated is not looked into: inflated it may be a thousand times as large.
    """
    if entry.sop_class_uid not in _SEGMENTATIONS or entry.transfer_syntax_uid == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        return False
    from pydicom import dcmread  # a third of the process's memory, and this is rare

    try:
        ds = dcmread(io.BytesIO(front), stop_before_pixels=True, specific_tags=["SegmentSequence"])
        types = {str(item.get("SegmentAlgorithmType", "AUTOMATIC")) for item in ds.get("SegmentSequence", [])}
    except Exception:  # noqa: BLE001  # whatever pydicom makes of a hostile data set: raised, it would stop the indexer for good
        return False
    return bool(types - {"AUTOMATIC"})
