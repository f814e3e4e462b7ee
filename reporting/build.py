"""From findings to DICOM objects: a function of its arguments, the same bytes on every machine and in every process."""

from __future__ import annotations

import io
import string
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from highdicom import SOPClass
from pydicom import Dataset, dcmwrite
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage

from egfr_dls.evidence import EvidenceImages
from egfr_dls.findings import StudyFindings
from reporting.context import ReportContext, ReportOptions, Revision
from reporting.page_content import Line, Page, Tone
from reporting.page_drawing import draw
from reporting.pages import page_images
from reporting.refusal_sr import refusal_report
from reporting.seg import segmentation
from reporting.source_header import SourceImages
from reporting.sr import score_report

ASCII = string.ascii_letters + string.digits + string.punctuation


@dataclass(frozen=True, eq=False)
class ReportObject:
    """A built object: its kind (``egfr_dls.uids.OBJECT_KINDS``) and its dataset."""

    kind: str
    dataset: Dataset
    sop_class_uid: str
    sop_instance_uid: str


def build_objects(
    findings: StudyFindings,
    evidence: EvidenceImages,
    sources: SourceImages,
    content_datetime: datetime,
    revision: Revision,
    options: ReportOptions,
) -> Iterator[ReportObject]:
    """Yield the objects of one report in the order in which they are sent: SEG, structured report, pages.

    Each is made when it is asked for: the report need not wait for pictures that it does not point at.

    Parameters
    ----------
    sources
        headers of at least ``required_headers(findings, evidence)``
    content_datetime
        analysis time, as written into the objects (local time of the study)
    """
    context = ReportContext(findings, evidence, sources, content_datetime, revision, options)
    roi = segmentation(context) if context.scored else None
    if roi is not None:
        yield _made("roi", roi)
    yield _made("report", score_report(context, roi) if context.scored else refusal_report(context))
    if options.pages:
        yield _made("pages", page_images(context))


def _made(kind: str, ds: Dataset) -> ReportObject:
    return ReportObject(kind, ds, ds.SOPClassUID, ds.SOPInstanceUID)


def prepare() -> None:
    """Load what else the first study would wait for: highdicom's tables of the standard (22 MB of JSON) and the fonts."""
    SOPClass("1.2", "1.2", 1, "1.2", SegmentationStorage, 1, "SEG", transfer_syntax_uid=ExplicitVRLittleEndian)
    draw(Page(ASCII, None, tuple(Line(ASCII, tone) for tone in Tone), (), ASCII))


def required_headers(findings: StudyFindings, evidence: EvidenceImages) -> tuple[str, ...]:
    """Return the SOP Instance UIDs whose headers ``SourceImages`` must hold, each once.

    A refusal needs none, but should get at least one image of each series that was considered.
    """
    uids = [
        *findings.images_read,
        *(uid for lesion in evidence.lesions for uid in lesion.mask_sop_instance_uids),
        *(uid for x in findings.lesions for s in x.slices for uid in (s.ct_sop_instance_uid, s.pet_sop_instance_uid)),
        *(lesion.roi_sop_instance_uid for lesion in findings.lesions),
    ]
    return tuple(dict.fromkeys(uid for uid in uids if uid is not None))


def to_bytes(report_object: ReportObject) -> bytes:
    """Return the object as a Part 10 file in Explicit VR Little Endian."""
    buffer = io.BytesIO()
    dcmwrite(buffer, report_object.dataset, enforce_file_format=True)
    return buffer.getvalue()
