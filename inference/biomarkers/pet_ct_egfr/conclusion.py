"""From scored lesions to one finding for the patient: whose score it is, what it suggests, and every warning."""

from __future__ import annotations

from collections.abc import Sequence

from egfr_dls.errors import StudyRefusedError
from egfr_dls.findings import PatientFinding
from egfr_dls.refusals import RefusalCode, Remark, WarningCode
from inference.biomarkers.clinical_context import ClinicalContext
from inference.biomarkers.pet_ct_egfr.aggregate import LesionScore
from inference.biomarkers.pet_ct_egfr.lesion import LesionAnalysis
from inference.biomarkers.pet_ct_egfr.pathway import PUBLISHED_CUT_OFF, Circumstances, Level, suggest


def conclude(
    lesions: Sequence[LesionAnalysis],
    *,
    companion: bool,
    tracer_stated: bool = True,
    outside_chest: frozenset[str] = frozenset(),
    context: ClinicalContext | None = None,
) -> tuple[PatientFinding, bool, tuple[Remark, ...]]:
    """Return the patient's finding, whether the study is scored only in part, and all warnings.

    The patient's score is the primary's (the first region), or that of the highest-ranked region with a score.

    Raises
    ------
    StudyRefusedError
        no lesion could be scored: the primary's code, and every lesion's reason
    """
    scored = next((lesion for lesion in lesions if lesion.egfr is not None), None)
    if scored is None or scored.egfr is None:
        raise _refused(lesions)
    suggestion = suggest(
        _level(scored.egfr),
        _level(scored.pdl1),
        Circumstances(
            tracer_stated=tracer_stated,
            lesion_in_chest=scored.finding.label not in outside_chest,
            roi_confirmed=scored.finding.confirmed,
            context=context or ClinicalContext(),
            published_cut_offs=_published(scored),
            margin_kept=not _warned(scored, WarningCode.FOV_MARGIN),
            uptake_seen=not _warned(scored, WarningCode.ROI_WITHOUT_UPTAKE),
        ),
    )
    patient = PatientFinding(
        egfr_dls=scored.finding.egfr_dls,
        pdl1_dls=scored.finding.pdl1_dls,
        slice_sd=scored.finding.slice_sd,
        n_slices=len(scored.finding.slices),
        pathway=suggestion.pathway,
        rationale=suggestion.rationale + _instead_of_primary(lesions, scored) + _without_companion(scored),
        caveats=suggestion.caveats,
        distance_to_cut_off=scored.finding.distance_to_cut_off,
    )
    partial = any(x.egfr is None or (companion and x.pdl1 is None) for x in lesions)
    warnings = [w for lesion in lesions for w in lesion.warnings]
    warnings += [_outside(x.finding.label) for x in lesions if x.finding.label in outside_chest]
    return patient, partial, (*warnings, *suggestion.warnings)


def _level(score: LesionScore | None) -> Level:
    if score is None:
        return Level.MISSING
    return Level.HIGH if score.high else Level.LOW


def _published(scored: LesionAnalysis) -> bool:
    return all(score.cut_off == PUBLISHED_CUT_OFF for score in (scored.egfr, scored.pdl1) if score is not None)


def _warned(lesion: LesionAnalysis, code: WarningCode) -> bool:
    return any(warning.code == code for warning in lesion.warnings)


def _refused(lesions: Sequence[LesionAnalysis]) -> StudyRefusedError:
    reasons = [(x.finding.label, x.finding.reason) for x in lesions if x.finding.reason is not None]
    if not reasons or reasons[0][1] is None:
        return StudyRefusedError(RefusalCode.NO_ROI, "no region of interest is there to score")
    told = "; ".join(f"{label}: {reason.code}, {reason.message}" for label, reason in reasons if reason is not None)
    return StudyRefusedError(RefusalCode(reasons[0][1].code), f"none of {len(lesions)} lesions can be scored. {told}")


def _instead_of_primary(lesions: Sequence[LesionAnalysis], scored: LesionAnalysis) -> str:
    primary = lesions[0].finding
    if scored is lesions[0] or primary.reason is None:
        return ""
    return (
        f" The primary, {primary.label}, cannot be scored ({primary.reason.code}); "
        f"the score is that of {scored.finding.label}."
    )


def _without_companion(scored: LesionAnalysis) -> str:
    reason = scored.pdl1_reason
    return "" if reason is None else f" PDL1_DLS is missing ({reason.code}: {reason.message})."


def _outside(label: str) -> Remark:
    return Remark(
        WarningCode.OUTSIDE_TRAINING_DOMAIN,
        f"{label}: lies outside the chest, where the network was not trained; no pathway is suggested for it",
    )
