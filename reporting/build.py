"""From findings to DICOM objects: a function of its arguments, the same bytes on every machine and in every process."""

from __future__ import annotations

import io
import string
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from highdicom import SOPClass
from pydicom import Dataset, dcmwrite
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage

from egfr_dls.evidence import EvidenceImages
from egfr_dls.findings import StudyFindings
from reporting.activation_map import activation_map
from reporting.context import ReportContext
from reporting.page_content import Line, Page, Tone
from reporting.page_drawing import draw
from reporting.pdf import encapsulated_pdf
from reporting.refusal_sr import refusal_report
from reporting.secondary_capture import frames, page_images, single_pages
from reporting.seg import segmentation
from reporting.sr import score_report
from reporting.variants import Variant

ASCII = string.ascii_letters + string.digits + string.punctuation


@dataclass(frozen=True, eq=False)
class ReportObject:
    """A built object: its kind (``egfr_dls.uids.OBJECT_KINDS``), its dataset, and the variants that it belongs to."""

    kind: str
    dataset: Dataset
    sop_class_uid: str
    sop_instance_uid: str
    variants: tuple[Variant, ...] = ()


def build_reports(context: ReportContext) -> list[ReportObject]:
    """Return our SEG, if there is one, and the structured report, one for each kind of variant.

    A destination gets the objects of its variant (``ReportObject.variants``): one report, and what is optional.
    """
    variants = context.options.variants
    roi = segmentation(context) if context.scored else None
    made = [] if roi is None else list(_made("roi", roi, [v for v in variants if v.segmentation]))
    for same in _alike(variants, lambda v: (v.sr_class_uid, v.segmentation or roi is None)):
        made += _made("report", _report(context, roi, same[0]), same)
    return made


def _report(context: ReportContext, roi: Dataset | None, variant: Variant) -> Dataset:
    return score_report(context, roi, variant) if context.scored else refusal_report(context, variant)


def build_pictures(context: ReportContext, reports: Iterable[ReportObject]) -> Iterator[ReportObject]:
    """Yield what is made for eyes and for numbers, each when it is asked for: no report points at any of it.

    Parameters
    ----------
    reports
        of ``build_reports``; a PDF points at its variant's report
    """
    options = context.options
    drawn = page_images(context) if options.pages or options.pdf else None
    if drawn is not None and options.pages:
        yield from _made("pages", drawn, [v for v in options.variants if not v.single_pages])
        single = [v for v in options.variants if v.single_pages]
        for page in single_pages(context, drawn) if single else ():
            yield from _made("single_page", page, single)
    maps = activation_map(context) if options.maps and context.scored else None
    if maps is not None:
        yield from _made("map", maps, options.variants)
    if drawn is not None and options.pdf:
        for report in (made for made in reports if made.kind == "report"):
            yield from _made("pdf", encapsulated_pdf(context, frames(drawn), report.dataset), report.variants)


def _made(kind: str, ds: Dataset, variants: Sequence[Variant]) -> Iterator[ReportObject]:
    """Yield the object if anybody takes it."""
    if variants:
        yield ReportObject(kind, ds, ds.SOPClassUID, ds.SOPInstanceUID, tuple(variants))


def _alike(variants: Iterable[Variant], key: Callable[[Variant], object]) -> list[list[Variant]]:
    """Return the variants in groups of equal key, the order kept."""
    groups: dict[object, list[Variant]] = {}
    for variant in variants:
        groups.setdefault(key(variant), []).append(variant)
    return list(groups.values())


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
