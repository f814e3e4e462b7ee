"""Find the lesions of a PET/CT study: the stored regions first, a proposal where there is none."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydicom.dataset import Dataset

from egfr_dls.errors import StudyRefusedError
from egfr_dls.refusals import SCALE_FAILURES, RefusalCode, Remark, WarningCode
from egfr_dls.settings import PetCtEgfr
from egfr_dls.study import RoiSource
from egfr_dls.volume import Unit, Volume
from inference.imaging.resample import mask_onto
from inference.roi.header import reference_of
from inference.roi.lesion_statistics import lesion_statistics
from inference.roi.propose_pet import propose_lesions
from inference.roi.region import Roi, RoiResult, ranked
from inference.roi.rtstruct import RT_STRUCTURE_SET, structure_facts, structure_masks
from inference.roi.seg import SEGMENTATION_CLASSES, segment_facts, segment_masks
from inference.roi.stored import (
    PATTERN_KEY,
    RoiFacts,
    StoredLesion,
    StoredRoi,
    TumourRoi,
    choose_tumours,
    one_per_lesion,
)

MOST_NAMED = 12  # regions that a message names


@dataclass(frozen=True)
class RoiReader:
    """How one kind of object is read: its headers, and its masks on a grid."""

    facts: Callable[[Dataset], tuple[RoiFacts, ...]]
    masks: Callable[[Dataset, Volume, Collection[int] | None], tuple[StoredRoi, ...]]


ROI_READERS: dict[str, RoiReader] = {
    **dict.fromkeys(SEGMENTATION_CLASSES, RoiReader(segment_facts, segment_masks)),
    RT_STRUCTURE_SET: RoiReader(structure_facts, structure_masks),
}


def find_rois(
    pet: Volume,
    ct: Volume,
    roi_datasets: Sequence[Dataset],
    settings: PetCtEgfr,
    study_instance_uid: str,
    scale_failure: StudyRefusedError | None = None,
) -> RoiResult:
    """Return the lesions of a study, the primary (highest TLG; without SUV the largest) first.

    Parameters
    ----------
    pet
        SUVbw, or ``Unit.RELATIVE`` where the SUV scale failed; on its native grid
    ct
        HU; the masks of the result are on its grid
    roi_datasets
        the study's SEG and RTSTRUCT objects, with pixels; objects of other classes are passed over
    scale_failure
        why no SUV is known: a stored ROI may still be scored, a proposal may not

    Raises
    ------
    StudyRefusedError
        ``scale_failure`` itself; ``ROI_AMBIGUOUS``; ``NO_ROI``, ``NO_LUNG_FIELD``; what makes the only stored ROI unusable
        (``ROI_REFERENCE_MISSING``, ``GEOMETRY_MISMATCH``, ``PIXELS_UNREADABLE``)
    ConfigurationError
        ``roi_label_pattern`` is not a regular expression
    """
    if scale_failure and (settings.suv_failure_policy == "refuse" or scale_failure.code not in SCALE_FAILURES):
        raise scale_failure
    search = _StoredSearch(pet, ct, settings.roi_label_pattern)
    stored = search.run(roi_datasets)
    if stored.rois:
        omitted = [Remark(WarningCode.SUV_OMITTED.value, _omitted(scale_failure))] if scale_failure else []
        return RoiResult(ranked(stored.rois, study_instance_uid), (*stored.unusable_remarks, *omitted))
    ambiguous = _ambiguous(stored.unmarked)
    if ambiguous and settings.ambiguous_roi == "refuse":
        raise StudyRefusedError(RefusalCode.ROI_AMBIGUOUS, ambiguous)
    if scale_failure:
        raise scale_failure
    try:
        rois = ranked(_proposed(pet, ct, settings), study_instance_uid)
    except StudyRefusedError as refusal:
        raise _explained(refusal, stored, ambiguous) from refusal
    proposed = Remark(
        WarningCode.ROI_PROPOSED, f"{len(rois)} lesion(s) proposed by software, not confirmed by a reader"
    )
    doubt = [Remark(WarningCode.ROI_AMBIGUOUS.value, f"{ambiguous}; a ROI is proposed instead")] if ambiguous else []
    return RoiResult(rois, (proposed, *doubt, *stored.unusable_remarks))


@dataclass(frozen=True, eq=False)
class _StoredOutcome:
    """The lesions in stored objects; the regions that no rule calls a tumour; why others could not be used."""

    rois: tuple[Roi, ...]
    unmarked: tuple[RoiFacts, ...]
    unusable: tuple[StudyRefusedError, ...]

    @property
    def unusable_remarks(self) -> tuple[Remark, ...]:
        return tuple(Remark(_warning_code(e).value, e.message) for e in self.unusable)


@dataclass(frozen=True, eq=False)
class _StoredSearch:
    pet: Volume
    ct: Volume
    pattern: str | None

    def run(self, datasets: Sequence[Dataset]) -> _StoredOutcome:
        """Read the headers, choose the tumours, and only then decode their masks."""
        unusable: list[StudyRefusedError] = []
        facts: list[RoiFacts] = []
        objects: dict[str, Dataset] = {}
        for ds in datasets:
            if reader := ROI_READERS.get(str(ds.get("SOPClassUID", ""))):
                try:
                    facts += reader.facts(ds)
                    objects[str(ds.SOPInstanceUID)] = ds
                except StudyRefusedError as refusal:
                    unusable.append(refusal)
        tumours = choose_tumours(facts, self.pattern)
        placed: list[_Placed] = []
        for uid in dict.fromkeys(t.facts.sop_instance_uid for t in tumours):
            try:
                placed += self._placed(objects[uid], [t for t in tumours if t.facts.sop_instance_uid == uid])
            except StudyRefusedError as refusal:
                unusable.append(refusal)
        unusable += [_empty(p.on_ct) for p in placed if not p.on_ct.mask.any()]
        lesions = one_per_lesion([p.on_ct for p in placed if p.on_ct.mask.any()])
        rois = tuple(self._roi(p, lesion) for lesion in lesions for p in placed if p.on_ct is lesion.roi)
        return _StoredOutcome(rois, () if tumours else tuple(facts), tuple(unusable))

    def _placed(self, ds: Dataset, tumours: Sequence[TumourRoi]) -> list[_Placed]:
        """Read regions on the series they were drawn on; carry them to the CT."""
        reference = reference_of(ds)
        home = self.pet if reference.is_on(self.pet) and not reference.is_on(self.ct) else self.ct
        if not reference.serves(home):
            home = self.pet
        why = {t.facts.number: t.why for t in tumours}
        reader = ROI_READERS[str(ds.SOPClassUID)]
        return [
            _Placed(
                on_ct=replace(roi, mask=mask_onto(roi.mask, home.geometry, self.ct.geometry)),
                drawn=roi,
                home=home,
                why=why[roi.number],
            )
            for roi in reader.masks(ds, home, list(why))
        ]

    def _roi(self, placed: _Placed, lesion: StoredLesion) -> Roi:
        drawn = placed.drawn
        on_pet = mask_onto(drawn.mask, placed.home.geometry, self.pet.geometry)
        others = ", ".join(other.name for other in lesion.instead_of)
        parts = (
            f"{drawn.name}, taken because {placed.why}",
            f"preferred to {others} of the same lesion" if others else "",
            drawn.method,
            drawn.creator,
        )
        return Roi(
            label="",
            mask=placed.on_ct.mask,
            source=drawn.source,
            confirmed=True,
            tracking_uid="",
            volume_ml=float(np.count_nonzero(drawn.mask)) * placed.home.geometry.voxel_ml,
            statistics=lesion_statistics(self.pet, on_pet),
            description="; ".join(part for part in parts if part),
            stored=drawn,
        )


@dataclass(frozen=True, eq=False)
class _Placed:
    """A tumour on the series it was drawn on (``home``) and on the CT."""

    on_ct: StoredRoi
    drawn: StoredRoi
    home: Volume
    why: str


def _proposed(pet: Volume, ct: Volume, settings: PetCtEgfr) -> list[Roi]:
    if not settings.propose_roi or pet.unit is not Unit.SUVBW:
        reason = "[biomarkers.pet_ct_egfr] propose_roi is false" if pet.unit is Unit.SUVBW else "the PET has no SUV"
        raise StudyRefusedError(
            RefusalCode.NO_ROI,
            f"the study has no stored ROI of a tumour and none is proposed ({reason}); send a SEG or RTSTRUCT of the tumour",
        )
    return [
        Roi(
            label="",
            mask=proposal.on(ct.geometry),
            source=RoiSource.PROPOSED,
            confirmed=False,
            tracking_uid="",
            volume_ml=proposal.volume_ml,
            statistics=lesion_statistics(pet, proposal.on(pet.geometry)),
            description=proposal.description,
        )
        for proposal in propose_lesions(pet, ct)
    ]


def _ambiguous(unmarked: Sequence[RoiFacts]) -> str:
    """Say which stored regions may be tumours and how the site tells; empty where there are none."""
    if not unmarked:
        return ""
    names = ", ".join(facts.name for facts in unmarked[:MOST_NAMED])
    more = f" and {len(unmarked) - MOST_NAMED} more" if len(unmarked) > MOST_NAMED else ""
    return (
        f"no stored ROI is marked as a tumour, by code or by label: {names}{more}; "
        f"set {PATTERN_KEY} to a pattern of the tumour's label"
    )


def _explained(refusal: StudyRefusedError, stored: _StoredOutcome, ambiguous: str) -> StudyRefusedError:
    """Refuse for what a person can mend: the stored ROI that could not be used, before the failed proposal."""
    if stored.unusable:
        first = stored.unusable[0]
        return StudyRefusedError(first.code, f"{first.message}. Besides: {refusal.message}")
    return StudyRefusedError(refusal.code, f"{refusal.message}. Besides: {ambiguous}") if ambiguous else refusal


def _warning_code(unusable: StudyRefusedError) -> WarningCode:
    if unusable.code is RefusalCode.ROI_REFERENCE_MISSING:
        return WarningCode.ROI_REFERENCE_MISSING
    return WarningCode.ROI_UNREADABLE


def _empty(roi: StoredRoi) -> StudyRefusedError:
    return StudyRefusedError(RefusalCode.NO_ROI, f"{roi.name} holds no voxel inside the CT")


def _omitted(failure: StudyRefusedError) -> str:
    return (
        f"SUV is not known and left out of the report: {failure.message} ({failure.code}); the score does not need it"
    )
