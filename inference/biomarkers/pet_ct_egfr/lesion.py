"""One lesion: prepared, scored by both networks, and described as a finding."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from egfr_dls.findings import LesionFinding, SliceFinding
from egfr_dls.refusals import Remark
from egfr_dls.study import RoiSource
from egfr_dls.volume import Volume
from inference.biomarkers.contract import RoiIs
from inference.biomarkers.pet_ct_egfr.aggregate import LesionScore, aggregate
from inference.biomarkers.pet_ct_egfr.hyperimage import HyperImages, SliceFrame, prepare
from inference.biomarkers.pet_ct_egfr.squares import pixel_mm
from inference.engine.gate import Scorer
from inference.imaging.saliency import ClassMaps, class_maps
from inference.models.manifest import Preprocessing
from inference.roi.region import Roi

# fields of a recipe that do not change the hyper-images themselves
NOT_PIXELS = {"input_signature", "class_index", "aggregate", "cut_off"}


@dataclass(frozen=True, eq=False)
class LesionAnalysis:
    """One lesion: its finding, its unrounded scores, and what its pictures are drawn from."""

    roi: Roi
    finding: LesionFinding
    egfr: LesionScore | None
    pdl1: LesionScore | None
    pdl1_reason: Remark | None  # why a PD-L1 network that is there gave no score
    frames: tuple[SliceFrame, ...]
    maps: ClassMaps | None
    warnings: tuple[Remark, ...]


@dataclass(frozen=True, eq=False)
class Companion:
    """What the PD-L1 network says of one lesion: its score, the printed slice scores, or why there is none."""

    score: LesionScore | None = None
    by_slice: dict[int, float] = field(default_factory=dict)
    reason: Remark | None = None


def score_lesion(
    ct: Volume, pet: Volume, roi: Roi, egfr: Scorer, pdl1: Scorer | None, stored_roi_is: RoiIs
) -> LesionAnalysis:
    """Prepare and score one region on the CT grid; one that cannot be scored says why in its finding."""
    roi_is: RoiIs = "lesion" if roi.source is RoiSource.PROPOSED else stored_roi_is
    hyper = prepare(ct, pet, roi.mask, egfr.preprocessing, roi_is=roi_is)
    warnings = tuple(Remark(w.code, f"{roi.label}: {w.message}") for w in hyper.warnings)
    if hyper.refusal is not None:
        finding = _finding(roi, ct, None, None, (), hyper.refusal, len(hyper.refused))
        return LesionAnalysis(roi, finding, None, None, None, (), None, warnings)
    result = egfr.score(hyper.images)
    score = aggregate(result.prob, egfr.preprocessing)
    companion = _companion(ct, pet, roi, hyper, egfr.preprocessing, pdl1, roi_is)
    slices = tuple(
        _slice(ct, pet, frame, printed, companion.by_slice.get(frame.slice_index))
        for frame, printed in zip(hyper.frames, score.printed_slices, strict=True)
    )
    finding = _finding(roi, ct, score, companion.score, slices, None, len(hyper.refused))
    maps = _maps(egfr, result.cam)
    return LesionAnalysis(roi, finding, score, companion.score, companion.reason, hyper.frames, maps, warnings)


def _companion(
    ct: Volume, pet: Volume, roi: Roi, hyper: HyperImages, served: Preprocessing, pdl1: Scorer | None, roi_is: RoiIs
) -> Companion:
    """Score the lesion with the PD-L1 network: on the same hyper-images where its recipe makes the same."""
    if pdl1 is None:
        return Companion()
    recipe = pdl1.preprocessing
    if recipe.model_dump(exclude=NOT_PIXELS) != served.model_dump(exclude=NOT_PIXELS):
        hyper = prepare(ct, pet, roi.mask, recipe, roi_is=roi_is)
    if hyper.refusal is not None:
        return Companion(reason=hyper.refusal)
    score = aggregate(pdl1.score(hyper.images).prob, recipe)
    return Companion(score, dict(zip(hyper.slice_index, score.printed_slices, strict=True)))


def _maps(scorer: Scorer, cam: NDArray[np.float32] | None) -> ClassMaps | None:
    block = scorer.package.manifest.cam
    if block is None or cam is None:
        return None
    return class_maps(cam, block.bias, scorer.preprocessing.class_index)


def _slice(ct: Volume, pet: Volume, frame: SliceFrame, egfr_dls: float, pdl1_dls: float | None) -> SliceFinding:
    return SliceFinding(
        position_mm=frame.position_mm,
        egfr_dls=egfr_dls,
        pdl1_dls=pdl1_dls,
        ct_sop_instance_uid=ct.sop_instance_uids[frame.slice_index],
        pet_sop_instance_uid=pet.sop_instance_uids[frame.slice_index],
        side_mm=frame.side_mm,
        margin_mm=frame.margin_mm,
    )


def _finding(
    roi: Roi,
    ct: Volume,
    egfr: LesionScore | None,
    pdl1: LesionScore | None,
    slices: tuple[SliceFinding, ...],
    reason: Remark | None,
    slices_refused: int,
) -> LesionFinding:
    statistics = roi.statistics
    return LesionFinding(
        label=roi.label,
        roi_source=roi.source,
        confirmed=roi.confirmed,
        tracking_uid=roi.tracking_uid,
        volume_ml=roi.volume_ml,
        suv_max=None if statistics is None else statistics.suv_max,
        suv_mean=None if statistics is None else statistics.suv_mean,
        mtv_ml=None if statistics is None else statistics.mtv_ml,
        tlg_g=None if statistics is None else statistics.tlg_g,
        egfr_dls=None if egfr is None else egfr.printed,
        pdl1_dls=None if pdl1 is None else pdl1.printed,
        slice_sd=None if egfr is None else egfr.slice_sd,
        slices=slices,
        reason=reason,
        slices_refused=slices_refused,
        roi_sop_instance_uid=roi.sop_instance_uid,
        roi_sop_class_uid=roi.sop_class_uid,
        roi_number=roi.number,
        roi_description=roi.description,
        roi_drawn_by=roi.drawn_by,
        roi_drawn_at=roi.drawn_at,
        roi_instead_of=roi.instead_of,
        roi_confirmed_by="" if roi.confirmation is None else roi.confirmation.by,
        roi_confirmed_at=None if roi.confirmation is None else roi.confirmation.at,
        distance_to_cut_off=None if egfr is None else egfr.distance_to_cut_off,
        pixel_mm=pixel_mm(ct),
    )
