"""The tumours among a study's SEG and RTSTRUCT objects, read where they were drawn and carried to the CT."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from pydicom.dataset import Dataset

from egfr_dls.errors import StudyRefusedError
from egfr_dls.refusals import RefusalCode, Remark, WarningCode
from egfr_dls.volume import Volume
from inference.imaging.resample import mask_onto
from inference.roi.header import reference_of
from inference.roi.rtstruct import RT_STRUCTURE_SET, structure_facts, structure_masks
from inference.roi.seg import SEGMENTATION_CLASSES, segment_facts, segment_masks
from inference.roi.stored import PATTERN_KEY, RoiFacts, StoredRoi, TumourRoi, choose_tumours, one_per_lesion

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


@dataclass(frozen=True, eq=False)
class PlacedTumour:
    """A stored tumour on the series it was drawn on (``home``) and on the CT.

    ``instead_of`` are other stored regions of the same lesion, which are not used.
    """

    on_ct: StoredRoi
    drawn: StoredRoi
    home: Volume
    why: str
    instead_of: tuple[StoredRoi, ...] = ()

    @property
    def description(self) -> str:
        """What was taken and why, for the report."""
        others = ", ".join(other.name for other in self.instead_of)
        parts = (
            f"{self.drawn.name}, taken because {self.why}",
            f"preferred to {others} of the same lesion" if others else "",
            self.drawn.method,
            self.drawn.creator,
        )
        return "; ".join(part for part in parts if part)


@dataclass(frozen=True, eq=False)
class StoredSearch:
    """What the stored objects hold: tumours; where there are none, the regions that no rule calls one; what failed."""

    tumours: tuple[PlacedTumour, ...]
    unmarked: tuple[RoiFacts, ...]
    unusable: tuple[StudyRefusedError, ...]

    @property
    def unusable_remarks(self) -> tuple[Remark, ...]:
        """Why stored objects were not used, as warnings."""
        return tuple(Remark(_warning_code(e).value, e.message) for e in self.unusable)

    @property
    def ambiguity(self) -> str:
        """Say which stored regions may be tumours and how the site tells; empty where there are none."""
        if not self.unmarked:
            return ""
        names = ", ".join(facts.name for facts in self.unmarked[:MOST_NAMED])
        more = f" and {len(self.unmarked) - MOST_NAMED} more" if len(self.unmarked) > MOST_NAMED else ""
        return (
            f"no stored ROI is marked as a tumour, by code or by label: {names}{more}; "
            f"set {PATTERN_KEY} to a pattern of the tumour's label"
        )


def search_stored(datasets: Sequence[Dataset], pet: Volume, ct: Volume, pattern: str | None) -> StoredSearch:
    """Read the headers, choose the tumours, and only then decode their masks.

    Parameters
    ----------
    datasets
        SEG and RTSTRUCT objects with pixels; objects of other classes are passed over
    pattern
        the site's ``roi_label_pattern``

    Raises
    ------
    ConfigurationError
        the pattern is not a regular expression
    """
    unusable: list[StudyRefusedError] = []
    objects: dict[str, Dataset] = {}
    facts: list[RoiFacts] = []
    for ds in datasets:
        if reader := ROI_READERS.get(str(ds.get("SOPClassUID", ""))):
            try:
                facts += reader.facts(ds)
                objects[str(ds.SOPInstanceUID)] = ds
            except StudyRefusedError as refusal:
                unusable.append(refusal)
    tumours = choose_tumours(facts, pattern)
    placed: list[PlacedTumour] = []
    for uid in dict.fromkeys(t.facts.sop_instance_uid for t in tumours):
        try:
            placed += _placed(objects[uid], [t for t in tumours if t.facts.sop_instance_uid == uid], pet, ct)
        except StudyRefusedError as refusal:
            unusable.append(refusal)
    unusable += [_empty(p.on_ct) for p in placed if not p.on_ct.mask.any()]
    lesions = tuple(_lesions([p for p in placed if p.on_ct.mask.any()]))
    return StoredSearch(lesions, () if tumours else tuple(facts), tuple(unusable))


def _placed(ds: Dataset, tumours: Sequence[TumourRoi], pet: Volume, ct: Volume) -> list[PlacedTumour]:
    """Read regions on the series they were drawn on, else on the one whose frame of reference they share."""
    reference = reference_of(ds)
    on_pet = reference.is_on(pet) and not reference.is_on(ct)
    home = pet if on_pet or not reference.serves(ct) else ct
    why = {t.facts.number: t.why for t in tumours}
    return [
        PlacedTumour(
            on_ct=replace(roi, mask=mask_onto(roi.mask, home.geometry, ct.geometry)),
            drawn=roi,
            home=home,
            why=why[roi.number],
        )
        for roi in ROI_READERS[str(ds.SOPClassUID)].masks(ds, home, list(why))
    ]


def _lesions(placed: Sequence[PlacedTumour]) -> Iterator[PlacedTumour]:
    for lesion in one_per_lesion([p.on_ct for p in placed]):
        taken = next(p for p in placed if p.on_ct is lesion.roi)
        yield replace(taken, instead_of=lesion.instead_of)


def _warning_code(unusable: StudyRefusedError) -> WarningCode:
    if unusable.code is RefusalCode.ROI_REFERENCE_MISSING:
        return WarningCode.ROI_REFERENCE_MISSING
    return WarningCode.ROI_UNREADABLE


def _empty(roi: StoredRoi) -> StudyRefusedError:
    return StudyRefusedError(RefusalCode.NO_ROI, f"{roi.name} holds no voxel inside the CT")
