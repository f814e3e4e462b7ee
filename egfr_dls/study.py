"""What the node knows of a study: its received instances and its state."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum


class StudyState(StrEnum):
    """Where a study stands."""

    RECEIVING = "RECEIVING"  # instances arrive, or the required pair is not there yet
    COMPLETE = "COMPLETE"  # waits for inference, or is in it
    SCORED = "SCORED"  # findings with a score; objects are being built or delivered
    REFUSED = "REFUSED"  # findings with a refusal; its report is being built or delivered
    NOT_APPLICABLE = "NOT_APPLICABLE"  # no biomarker asks for it
    FAILED = "FAILED"  # a defect, or a temporary failure that lasted: an operator retries
    DELIVERED = "DELIVERED"  # the report is at an end state at every required destination


TRANSITIONS: dict[StudyState, frozenset[StudyState]] = {
    StudyState.RECEIVING: frozenset({StudyState.COMPLETE, StudyState.NOT_APPLICABLE}),
    StudyState.COMPLETE: frozenset(
        {StudyState.SCORED, StudyState.REFUSED, StudyState.NOT_APPLICABLE, StudyState.FAILED, StudyState.RECEIVING}
    ),
    StudyState.SCORED: frozenset({StudyState.DELIVERED, StudyState.RECEIVING, StudyState.COMPLETE, StudyState.FAILED}),
    StudyState.REFUSED: frozenset({StudyState.DELIVERED, StudyState.RECEIVING, StudyState.COMPLETE, StudyState.FAILED}),
    StudyState.DELIVERED: frozenset({StudyState.RECEIVING, StudyState.COMPLETE}),
    StudyState.NOT_APPLICABLE: frozenset({StudyState.RECEIVING, StudyState.COMPLETE}),
    StudyState.FAILED: frozenset({StudyState.COMPLETE, StudyState.RECEIVING}),
}


@dataclass(frozen=True, slots=True)
class SpoolRef:
    """Where an instance's bytes lie: a Part 10 file (preamble, meta, data set) inside a segment.

    ``offset`` and ``length`` are in bytes and cover preamble to end of data set.
    """

    segment: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class ReceivedInstance:
    """One durable instance: the spool's record header, which is also its index row.

    Modality (0008,0060) and the UIDs are those of the data set; ``frame_of_reference_uid`` (0020,0052) is empty where it
    has none; ``received_at`` is UTC.
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    modality: str
    transfer_syntax_uid: str
    calling_ae_title: str
    called_ae_title: str
    peer_address: str
    association_id: str
    received_at: datetime
    frame_of_reference_uid: str = ""


class Priority(IntEnum):
    """Whose jobs and deliveries go first: the smallest value. A person sets it (`egfr-dls studies priority`)."""

    STAT = 0
    ROUTINE = 1
    BACKFILL = 2


class RoiSource(StrEnum):
    """Where a region of interest came from."""

    STORED_SEG = "stored_seg"
    STORED_RTSTRUCT = "stored_rtstruct"
    PROPOSED = "proposed"


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A person's word that a proposed region is the lesion; ``at`` in ISO 8601, UTC."""

    tracking_uid: str
    label: str
    by: str
    at: str


class Pathway(StrEnum):
    """The suggested treatment pathway (Mu et al. 2020, guideline of Fig. 4h as its text describes it)."""

    TKI = "TKI"
    ICI = "ICI"
    NEITHER_FAVOURED = "NEITHER_FAVOURED"
    INDETERMINATE_PDL1_NEEDED = "INDETERMINATE_PDL1_NEEDED"
    NO_SUGGESTION = "NO_SUGGESTION"
