"""The regions of interest that a biomarker scores: stored ones first, a proposal where there is none."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace

import numpy as np
from pydicom.dataset import Dataset

from egfr_dls.errors import StudyRefusedError
from egfr_dls.refusals import SCALE_FAILURES, RefusalCode, Remark, WarningCode
from egfr_dls.settings_sections import PetCtEgfr
from egfr_dls.study import Confirmation, RoiSource
from egfr_dls.uids import derived_uid
from egfr_dls.volume import Mask, Unit, Volume
from inference.imaging.resample import mask_onto
from inference.roi.lesion_statistics import RoiStatistics, lesion_statistics
from inference.roi.propose_pet import ProposedRoi, propose_lesions
from inference.roi.stored import RoiFacts
from inference.roi.stored_search import PlacedTumour, StoredSearch, search_stored


@dataclass(frozen=True, eq=False)
class Roi:
    """One lesion on the CT grid.

    Parameters
    ----------
    label
        "Lesion 1" is the primary
    mask
        bool ``[z, y, x]`` on the CT grid, read-only
    confirmed
        false for a proposal that no reader has accepted, and for a stored region that software alone made
    tracking_uid
        Tracking UID (0062,0021), the same in every analysis of this lesion; empty until the lesion has its label
    volume_ml
        on the grid it was drawn on
    statistics
        on the native PET grid; None where SUV is not known, or the PET does not reach the lesion
    description
        what was taken and why, or how it was proposed
    stored
        the SEG segment or RTSTRUCT ROI; None for a proposal
    instead_of
        names of the older stored regions of the same lesion, which are not used
    confirmation
        who accepted a proposal, and when
    """

    label: str
    mask: Mask
    source: RoiSource
    confirmed: bool
    tracking_uid: str
    volume_ml: float
    statistics: RoiStatistics | None
    description: str
    stored: RoiFacts | None = None
    instead_of: tuple[str, ...] = ()
    confirmation: Confirmation | None = None

    def __post_init__(self) -> None:
        self.mask.setflags(write=False)

    @property
    def sop_instance_uid(self) -> str | None:
        """SOP Instance UID of the stored object."""
        return self.stored.sop_instance_uid if self.stored else None

    @property
    def sop_class_uid(self) -> str | None:
        """SOP Class UID of the stored object."""
        return self.stored.sop_class_uid if self.stored else None

    @property
    def number(self) -> int | None:
        """Segment Number (0062,0004) or ROI Number (3006,0022)."""
        return self.stored.number if self.stored else None

    @property
    def drawn_by(self) -> str:
        """Who made the stored region: a person of staff, else the software; for the report, never for logs."""
        return self.stored.origin.who if self.stored else ""

    @property
    def drawn_at(self) -> str | None:
        """When, as the object's header has it (ISO 8601, no zone)."""
        when = self.stored.content_datetime if self.stored else None
        return when.isoformat() if when else None


@dataclass(frozen=True, eq=False)
class RoiResult:
    """The lesions of a study, the primary first, and what a reader must know of them."""

    rois: tuple[Roi, ...]
    warnings: tuple[Remark, ...]


def find_rois(
    pet: Volume,
    ct: Volume,
    roi_datasets: Sequence[Dataset],
    settings: PetCtEgfr,
    study_instance_uid: str,
    scale_failure: StudyRefusedError | None = None,
    confirmations: Sequence[Confirmation] = (),
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
    confirmations
        what a person accepted of the study's proposals; one of a region that is another now does not count

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
    stored = search_stored(roi_datasets, pet, ct, settings.roi_label_pattern)
    if stored.tumours:
        omitted = [Remark(WarningCode.SUV_OMITTED.value, _omitted(scale_failure))] if scale_failure else []
        rois = [_stored_roi(tumour, pet) for tumour in stored.tumours]
        return RoiResult(_ranked(rois, study_instance_uid), (*stored.unusable_remarks, *omitted))
    ambiguity = stored.ambiguity
    if ambiguity and settings.ambiguous_roi == "refuse":
        raise StudyRefusedError(RefusalCode.ROI_AMBIGUOUS, ambiguity)
    if scale_failure:
        raise scale_failure
    try:
        proposals = _proposals(pet, ct, settings)
    except StudyRefusedError as refusal:
        raise _explained(refusal, stored) from refusal
    lesions = _ranked([_proposed_roi(proposal, pet, ct) for proposal in proposals], study_instance_uid)
    lesions = tuple(_accepted(roi, confirmations) for roi in lesions)
    doubt = [Remark(WarningCode.ROI_AMBIGUOUS.value, f"{ambiguity}; a ROI is proposed instead")] if ambiguity else []
    return RoiResult(lesions, (*_not_confirmed(lesions), *doubt, *stored.unusable_remarks))


def _accepted(roi: Roi, confirmations: Sequence[Confirmation]) -> Roi:
    accepted = next((c for c in confirmations if c.tracking_uid == roi.tracking_uid), None)
    return roi if accepted is None else replace(roi, confirmed=True, confirmation=accepted)


def _not_confirmed(lesions: Sequence[Roi]) -> tuple[Remark, ...]:
    count = sum(not roi.confirmed for roi in lesions)
    message = f"{count} lesion(s) proposed by software, not confirmed by a reader"
    return (Remark(WarningCode.ROI_PROPOSED.value, message),) if count else ()


def _stored_roi(tumour: PlacedTumour, pet: Volume) -> Roi:
    drawn, home = tumour.drawn, tumour.home.geometry
    return Roi(
        label="",
        mask=tumour.on_ct.mask,
        source=drawn.source,
        confirmed=drawn.origin.by_person,
        tracking_uid="",
        volume_ml=float(np.count_nonzero(drawn.mask)) * home.voxel_ml,
        statistics=lesion_statistics(pet, mask_onto(drawn.mask, home, pet.geometry)),
        description=tumour.description,
        stored=drawn,
        instead_of=tuple(other.name for other in tumour.instead_of),
    )


def _proposed_roi(proposal: ProposedRoi, pet: Volume, ct: Volume) -> Roi:
    return Roi(
        label="",
        mask=proposal.on(ct.geometry),
        source=RoiSource.PROPOSED,
        confirmed=False,
        tracking_uid="",
        volume_ml=proposal.volume_ml,
        statistics=lesion_statistics(pet, proposal.on(pet.geometry)),
        description=proposal.description,
    )


def _proposals(pet: Volume, ct: Volume, settings: PetCtEgfr) -> tuple[ProposedRoi, ...]:
    if settings.propose_roi and pet.unit is Unit.SUVBW:
        return propose_lesions(pet, ct)
    reason = "the PET has no SUV" if settings.propose_roi else "[biomarkers.pet_ct_egfr] propose_roi is false"
    raise StudyRefusedError(
        RefusalCode.NO_ROI,
        f"the study has no stored ROI of a tumour and none is proposed ({reason}); send a SEG or RTSTRUCT of the tumour",
    )


def _explained(refusal: StudyRefusedError, stored: StoredSearch) -> StudyRefusedError:
    """Refuse for what a person can mend: the stored ROI that could not be used, before the failed proposal."""
    if stored.unusable:
        first = stored.unusable[0]
        return StudyRefusedError(first.code, f"{first.message}. Besides: {refusal.message}")
    if stored.ambiguity:
        return StudyRefusedError(refusal.code, f"{refusal.message}. Besides: {stored.ambiguity}")
    return refusal


def _omitted(failure: StudyRefusedError) -> str:
    return (
        f"SUV is not known and left out of the report: {failure.message} ({failure.code}); the score does not need it"
    )


def _ranked(rois: Sequence[Roi], study_instance_uid: str) -> tuple[Roi, ...]:
    """Order lesions by TLG, or by volume where one is unknown; label them and give each its Tracking UID."""
    by_tlg = all(roi.statistics is not None for roi in rois)
    ordered = sorted(rois, key=lambda roi: -(roi.statistics.tlg_g if by_tlg and roi.statistics else roi.volume_ml))
    shared = Counter(roi.stored.tracking_uid for roi in rois if roi.stored is not None)
    unique = frozenset(uid for uid, count in shared.items() if count == 1)
    return tuple(_labelled(roi, f"Lesion {i}", study_instance_uid, unique) for i, roi in enumerate(ordered, 1))


def _labelled(roi: Roi, label: str, study_instance_uid: str, unique: Set[str | None]) -> Roi:
    """Name a lesion; a Tracking UID that several regions of a study have tells none of them from the others."""
    if roi.stored is None:
        uid = derived_uid(study_instance_uid, _digest(roi.mask), label)
    else:
        own = roi.stored.tracking_uid if roi.stored.tracking_uid in unique else None
        uid = own or derived_uid(study_instance_uid, roi.stored.sop_instance_uid, roi.stored.number)
    return replace(roi, label=label, tracking_uid=uid)


def _digest(mask: Mask) -> str:
    digest = hashlib.sha256(repr(mask.shape).encode())
    digest.update(np.packbits(mask).tobytes())
    return digest.hexdigest()
