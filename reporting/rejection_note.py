"""The rejection note of a withdrawn result: a Key Object Selection that tells archive and viewers not to use its objects.

TID 2010 under a title of CID 7010 that rejects (113001, 113037: IHE Imaging Object Change Management). 113038 (incorrect
worklist entry) and 113039 (retention expired) say that the images are wrong or old, which a result cannot say of itself.
Whether an archive hides what the note names is that archive's doing; the note itself is stored, listed and readable everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import Enum

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from highdicom.sr import (
    DeviceObserverIdentifyingAttributes,
    ObserverContext,
    PersonObserverIdentifyingAttributes,
)
from pydicom import Dataset

from egfr_dls import PRODUCT_NAME, codes
from egfr_dls.evidence import EvidenceImages
from egfr_dls.findings import StudyFindings
from egfr_dls.uids import OBJECT_KINDS
from reporting.build import ReportObject
from reporting.context import ReportContext, ReportOptions, Revision
from reporting.header import stamp
from reporting.identity import kind_series_uid
from reporting.image_library import concept
from reporting.plain_text import plain_text
from reporting.source_header import SourceImages, evidence_copy

KIND = "rejection"
NAME_CHARACTERS = 63  # of one component group of a PN (PS3.5 6.2), beside the delimiter that makes it a family name
NOT_IN_NAMES = str.maketrans({"\\": " ", "=": " ", "^": " "})  # delimiters of PN: what was typed is one component


class RejectionTitle(Enum):
    """Why the objects are not to be used; the value is the document title (CID 7010)."""

    QUALITY = codes.REJECTED_FOR_QUALITY  # kept for quality control, not for care
    PATIENT_SAFETY = codes.REJECTED_FOR_SAFETY  # not to be shown at all


def build_rejection_note(
    findings: StudyFindings,
    rejected: Sequence[Dataset],
    *,
    reason: str,
    by: str,
    at: datetime,
    number: int = 1,
    series_datetime: datetime | None = None,
    title: RejectionTitle = RejectionTitle.QUALITY,
) -> ReportObject:
    """Return the note; the same withdrawal of the same objects gives the same SOP Instance UID.

    Parameters
    ----------
    findings
        of the withdrawn revision
    rejected
        headers of the objects that are withdrawn, as built (pixels not needed), at least one; patient and study
        attributes are copied from the first
    reason, by
        a sentence, and the name of the person who decided; control characters are left out
    at
        when it was withdrawn, local time, as written into the object
    number
        Instance Number (0020,0013): which note of the study this is
    series_datetime
        when the first note of the study was made; None: this is the first

    Raises
    ------
    ValueError
        nothing is rejected, or the reason or the name is empty
    """
    said, person = plain_text(reason), plain_text(by).translate(NOT_IN_NAMES).strip()[:NAME_CHARACTERS]
    if not rejected or not said or not person:
        raise ValueError("a rejection note needs at least one object, a reason and the name of a person")
    objects = [evidence_copy(ds, findings.study_instance_uid) for ds in rejected]
    context = ReportContext(
        findings=findings,
        evidence=EvidenceImages((), pet_is_suv=False),
        sources=SourceImages({}, rejected[0]),
        content_datetime=at,
        revision=Revision(number, None, {} if series_datetime is None else {KIND: series_datetime}),
        options=ReportOptions(pages=False),
    )
    ds = KeyObjectSelectionDocument(
        evidence=objects,
        content=_selection(title, objects, person, said, context),
        series_instance_uid=kind_series_uid(findings, KIND),
        series_number=OBJECT_KINDS[KIND],
        sop_instance_uid=findings.study_instance_uid,  # written by ``stamp``
        instance_number=number,
        manufacturer=PRODUCT_NAME,
        requested_procedures=list(rejected[0].get("ReferencedRequestSequence") or ()) or None,
    )
    uids = sorted(str(ds.SOPInstanceUID) for ds in objects)
    stamp(ds, context, KIND, key=(title.value.value, said, person, *uids))
    return ReportObject(KIND, ds, ds.SOPClassUID, ds.SOPInstanceUID)


def _selection(
    title: RejectionTitle, objects: Sequence[Dataset], person: str, said: str, context: ReportContext
) -> KeyObjectSelection:
    """Return the content tree (TID 2010): title, who and what observed, why, and the objects."""
    selection = KeyObjectSelection(
        document_title=concept(title.value),
        referenced_objects=objects,
        observer_person_context=ObserverContext(
            observer_type=concept(codes.PERSON),
            observer_identifying_attributes=PersonObserverIdentifyingAttributes(name=f"{person}^"),
        ),
        observer_device_context=_device(context),
        description=said,
    )
    selection[0].ContinuityOfContent = "SEPARATE"
    return selection


def _device(context: ReportContext) -> ObserverContext:
    facts = context.device
    return ObserverContext(
        observer_type=concept(codes.DEVICE),
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=facts.uid, name=PRODUCT_NAME, manufacturer_name=facts.manufacturer, model_name=facts.model_name
        ),
    )
