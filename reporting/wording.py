"""Every sentence of the report, once, so that structured report, page images, HTML and text say the same.

Rules (docs/reference/science.md, wording): an image score *suggests* or *favours*; it never *is*, *responds* or
*should*. A score stands with its cut-off, in one printed form. A failed step gives a reason and no number.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from egfr_dls.findings import RESEARCH_USE, UNVERIFIED_ROI, LesionFinding, ModelUse, PriorFinding, StudyFindings
from egfr_dls.refusals import Remark
from egfr_dls.score_text import score_text
from egfr_dls.study import Pathway, RoiSource
from reporting.printed_scores import EgfrStatus

DEMONSTRATION = "DEMONSTRATION, not a patient result"
DEMONSTRATION_SENTENCE = (
    "DEMONSTRATION, not a patient result: the network was trained on phantoms and says nothing about the patient."
)
NOT_MOLECULAR = "An image score is not a molecular test and does not replace one."
NO_TREND = "A change of EGFR-DLS between two studies has no validated meaning."
NOT_SCORED = "NOT SCORED"
NOT_NEGATIVE = (
    "Not scored does not mean negative: nothing was concluded from the images, no score and no pathway are given."
)
NOT_DIAGNOSTIC_MAP = "Activation maps (Grad-CAM) are not diagnostic."

_SERIES_DESCRIPTIONS: dict[str, str] = {
    "report": "EGFR-DLS report (research use only)",
    "roi": "EGFR-DLS ROI (research)",
    "pages": "EGFR-DLS Grad-CAM (research)",
    "single_page": "EGFR-DLS Grad-CAM (research)",
    "map": "EGFR-DLS Grad-CAM map (research)",
    "pdf": "EGFR-DLS report PDF (research)",
    "rejection": "EGFR-DLS rejection note (research)",
}
DEMONSTRATION_SERIES = "EGFR-DLS DEMONSTRATION, not a patient result"

STATUS_SENTENCES: dict[EgfrStatus, str] = {
    EgfrStatus.MUTANT: "Image score suggests an EGFR-mutant pattern",
    EgfrStatus.WILD_TYPE: "Image score suggests an EGFR wild-type pattern",
    EgfrStatus.INDETERMINATE: "Image score is indeterminate",
}
PATHWAY_SENTENCES: dict[Pathway, str] = {
    Pathway.TKI: "Image scores favour the EGFR TKI pathway.",
    Pathway.ICI: "Image scores favour the immune checkpoint inhibitor (ICI) pathway.",
    Pathway.NEITHER_FAVOURED: "Image scores favour neither TKI nor ICI: tissue test and multidisciplinary decision.",
    Pathway.INDETERMINATE_PDL1_NEEDED: "Image score favours ICI over TKI; a PD-L1 test is needed.",
    Pathway.NO_SUGGESTION: "No pathway suggested.",
}
ROI_SENTENCES: dict[RoiSource, str] = {
    RoiSource.STORED_SEG: "region of interest from a stored segmentation (SEG)",
    RoiSource.STORED_RTSTRUCT: "region of interest from a stored RT structure set",
    RoiSource.PROPOSED: "region of interest proposed by the software on the 4 mm search grid",
}
ROI_IN_SHORT: dict[RoiSource, str] = {
    RoiSource.STORED_SEG: "stored SEG",
    RoiSource.STORED_RTSTRUCT: "stored RTSTRUCT",
    RoiSource.PROPOSED: "proposed",
}


# A date of the calendar with or without a time, as headers and ISO 8601 write it; not a part of a UID, a digest or a name.
_DATE = re.compile(
    r"(?<![\w.])(?:19|20)\d\d(-?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12]\d|3[01])"
    r"(?:[ T]?[0-2]\d:?[0-5]\d(?::?[0-5]\d)?(?:\.\d+)?)?(?!\w|\.\d)"
)
DATE_LEFT_OUT = "[date]"
IN_SHORT_CHARACTERS = 180
CUT_SHORT = " … (in full in the structured report)"


def undated(text: str) -> str:
    """Return a sentence without the dates that it quotes: for pages and HTML, which go where no date of the patient's may."""
    return _DATE.sub(DATE_LEFT_OUT, text)


def in_short(text: str) -> str:
    """Return a sentence cut at a word, so that one long list leaves room for the others."""
    return textwrap.shorten(text, IN_SHORT_CHARACTERS, placeholder=CUT_SHORT)


def series_description(kind: str, *, demonstration: bool) -> str:
    """Return Series Description (0008,103E); it never varies inside a series."""
    return DEMONSTRATION_SERIES if demonstration else _SERIES_DESCRIPTIONS[kind]


def cut_off_text(cut_off: float) -> str:
    """Return a cut-off as printed."""
    return f"{cut_off:g}"


def spread_sentence(slice_sd: float | None, n_slices: int) -> str:
    """Return what stands beside a score instead of a grey zone: its spread and its number of slices."""
    if slice_sd is None:
        return f"{n_slices} slice scored, no spread" if n_slices == 1 else f"{n_slices} slices scored"
    return f"{n_slices} slices scored, standard deviation {slice_sd:.4f}"


def two_decimals(value: float) -> str:
    """Return an SUV (g/ml), a volume (ml) or a glycolysis (g) as printed."""
    return f"{value:.2f}"


def awaits_confirmation(lesion: LesionFinding) -> bool:
    """Whether software alone made the region of interest, here or elsewhere, and no person confirmed it."""
    return not lesion.confirmed


def unverified(findings: StudyFindings) -> bool:
    """Whether any scored region of interest awaits confirmation."""
    return any(awaits_confirmation(lesion) for lesion in findings.lesions if lesion.egfr_dls is not None)


def pdl1_sentence(findings: StudyFindings, cut_off: float) -> str:
    """Return the PD-L1 image score with its cut-off, or that there is none."""
    score = findings.patient.pdl1_dls
    if score is None:
        return "PD-L1 not scored."
    side = "high" if score >= cut_off else "low"
    return f"PDL1_DLS {score_text(score, cut_off)} ({side}, cut-off {cut_off_text(cut_off)})."


def pathway_headline(findings: StudyFindings) -> str:
    """Return what the scores favour; an unconfirmed region of interest is said first."""
    return _mark(findings) + PATHWAY_SENTENCES[findings.patient.pathway or Pathway.NO_SUGGESTION]


def pathway_reason(findings: StudyFindings) -> str:
    """Return why, as it stands below the headline: without the mark that the headline bears."""
    return findings.patient.rationale.removeprefix(UNVERIFIED_ROI).strip()


def pathway_rationale(findings: StudyFindings) -> str:
    """Return why, as it stands by itself: an unconfirmed region of interest is said first."""
    reason = pathway_reason(findings)
    return reason and _mark(findings) + reason


def _mark(findings: StudyFindings) -> str:
    return UNVERIFIED_ROI if unverified(findings) else ""


def roi_in_short(lesion: LesionFinding) -> str:
    """Return origin and confirmation of a region of interest for a table."""
    return ROI_IN_SHORT[lesion.roi_source] + _confirmation(lesion)


def _confirmation(lesion: LesionFinding) -> str:
    if not lesion.confirmed:
        return ", NOT confirmed"
    return ", confirmed" if lesion.roi_source is RoiSource.PROPOSED else ""


def roi_sentence(lesion: LesionFinding) -> str:
    """Return where a lesion's region of interest came from and whether a person confirmed it."""
    confirmed = _confirmation(lesion)
    by = f"{confirmed} by a person" if confirmed else ""
    others = ", ".join(lesion.roi_instead_of)
    details = (lesion.roi_description, f"preferred to {others} of the same lesion" if others else "")
    detail = "; ".join(part for part in details if part)
    return f"{lesion.label}: {ROI_SENTENCES[lesion.roi_source]}{by}{f' ({detail})' if detail else ''}."


def roi_authors(findings: StudyFindings) -> tuple[str, ...]:
    """Return who made each stored region and when, as its object says it, and who confirmed each proposed one.

    For objects and the terminal: pages and ``report.html`` are copied where no name and no date may go.
    """
    made = (
        f"{lesion.label}: the stored region was made{_by_and_at(lesion.roi_drawn_by, lesion.roi_drawn_at)}."
        for lesion in findings.lesions
        if lesion.roi_drawn_by or lesion.roi_drawn_at
    )
    confirmed = (
        f"{lesion.label}: the proposed region was confirmed{_by_and_at(lesion.roi_confirmed_by, lesion.roi_confirmed_at)} UTC."
        for lesion in findings.lesions
        if lesion.roi_confirmed_at
    )
    return (*made, *confirmed)


def _by_and_at(who: str, when: str | None) -> str:
    by = f" by {who}" if who else ""
    at = f" on {when.replace('T', ' ')[:19]}" if when else ""
    return by + at


def model_sentence(model: ModelUse) -> str:
    """Return a network's name, version, status, engine and whole digest."""
    return f"{model.name} {model.version} ({model.status}), {model.runtime}, sha256 {model.sha256}"


def remark_sentence(remark: Remark) -> str:
    """Return a refusal or warning as code and sentence."""
    return f"{remark.code}: {remark.message}"


def reasons(findings: StudyFindings) -> tuple[Remark, ...]:
    """Return why nothing was scored, the most decisive reason first, each once."""
    given = [findings.refusal, *(lesion.reason for lesion in findings.lesions)]
    return tuple(dict.fromkeys(reason for reason in given if reason is not None))


def unscored_lesions(findings: StudyFindings) -> tuple[str, ...]:
    """Return a sentence for each lesion, slice set or network that a scored study could not score."""
    sentences = []
    for lesion in findings.lesions:
        if lesion.reason is not None:
            sentences.append(f"{lesion.label} was not scored. {remark_sentence(lesion.reason)}")
        elif lesion.slices_refused:
            sentences.append(f"{lesion.label}: {lesion.slices_refused} slices left out by the field-of-view check.")
    if findings.patient.egfr_dls is not None and findings.patient.pdl1_dls is None:
        sentences.append("PD-L1 was not scored: no PD-L1 network gave a result.")
    return tuple(sentences)


def caveats(findings: StudyFindings) -> tuple[str, ...]:
    """Return the caveats of the biomarker, without the intended use: every form of the report says that first."""
    return tuple(caveat for caveat in findings.patient.caveats if caveat != RESEARCH_USE)


def prior_sentences(findings: StudyFindings) -> tuple[str, ...]:
    """Return the earlier scores of the patient, oldest first, and what must not be read into them; or nothing."""
    if not findings.priors:
        return ()
    shown = "; ".join(_prior(prior, findings.differs(prior)) for prior in findings.priors)
    return (f"Earlier EGFR-DLS: {shown}.", NO_TREND)


def _prior(prior: PriorFinding, differs: Sequence[str]) -> str:
    not_comparable = f"; not comparable: other {', '.join(differs)}" if differs else ""
    return f"{prior.study_date} {score_text(prior.egfr_dls, prior.cut_off)} ({prior.model}{not_comparable})"


def limitations(findings: StudyFindings) -> tuple[str, ...]:
    """Return everything a reader must know beside the number, in the order of weight."""
    demonstration = (DEMONSTRATION_SENTENCE,) if findings.demonstration else ()
    return (
        *demonstration,
        f"{RESEARCH_USE} {NOT_MOLECULAR}",
        *((NOT_NEGATIVE,) if findings.status == "refused" else ()),
        *unscored_lesions(findings),
        *(roi_sentence(lesion) for lesion in findings.lesions),
        *(remark_sentence(warning) for warning in findings.warnings),
        *prior_sentences(findings),
        *caveats(findings),
    )
