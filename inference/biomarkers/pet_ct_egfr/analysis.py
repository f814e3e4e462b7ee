"""From volumes and regions to findings and pictures: the biomarker's one function, put together.

Pure but for the two networks, which arrive as open scorers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from egfr_dls.evidence import EvidenceImages, LesionEvidence
from egfr_dls.volume import Unit, Volume
from inference.biomarkers.contract import Conclusion, RoiIs, StudyInputs
from inference.biomarkers.pet_ct_egfr.conclusion import conclude
from inference.biomarkers.pet_ct_egfr.evidence import lesion_evidence
from inference.biomarkers.pet_ct_egfr.lesion import LesionAnalysis, score_lesion
from inference.engine.gate import Scorer
from inference.imaging.saliency import largest
from inference.roi.region import Roi


def analyse(inputs: StudyInputs, scorers: Mapping[str, Scorer]) -> Conclusion:
    """Score a study: the biomarker's one function for the stage."""
    ct, pet = inputs.volumes["ct"], inputs.volumes["pet"]
    lesions = score_lesions(
        ct, pet, inputs.rois, scorers["egfr"], scorers.get("pdl1"), stored_roi_is=inputs.stored_roi_is
    )
    patient, partial, warnings = conclude(
        lesions,
        companion="pdl1" in scorers,
        tracer_stated=inputs.tracer_stated,
        outside_chest=inputs.outside_chest,
        context=inputs.context,
    )
    evidence = EvidenceImages(draw(ct, pet, lesions), pet.unit is Unit.SUVBW)
    return Conclusion(tuple(lesion.finding for lesion in lesions), patient, partial, warnings, evidence)


def score_lesions(
    ct: Volume,
    pet_on_ct: Volume,
    rois: Sequence[Roi],
    egfr: Scorer,
    pdl1: Scorer | None = None,
    *,
    stored_roi_is: RoiIs = "lesion",
) -> tuple[LesionAnalysis, ...]:
    """Score each region; one that cannot be scored says why in its finding."""
    return tuple(score_lesion(ct, pet_on_ct, roi, egfr, pdl1, stored_roi_is) for roi in rois)


def draw(ct: Volume, pet_on_ct: Volume, lesions: Sequence[LesionAnalysis]) -> tuple[LesionEvidence, ...]:
    """Cut the pictures of the scored lesions, with all maps on one scale for the patient."""
    scale = largest(lesion.maps for lesion in lesions if lesion.maps is not None)
    return tuple(
        lesion_evidence(
            lesion.finding.label,
            ct,
            pet_on_ct,
            lesion.roi.mask,
            lesion.frames,
            None if lesion.maps is None else lesion.maps.scaled(scale),
        )
        for lesion in lesions
        if lesion.egfr is not None
    )
