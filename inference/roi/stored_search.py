"""The tumours among a study's SEG and RTSTRUCT objects, read where they were drawn and carried to the CT."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from pydicom.dataset import Dataset

from egfr_dls.errors import StudyRefusedError
from egfr_dls.refusals import RefusalCode, Remark, WarningCode
from egfr_dls.volume import Volume
from inference.imaging.resample import mask_onto
from inference.read.header import text
from inference.roi.header import reference_of, unplaced
from inference.roi.rtstruct import RT_STRUCTURE_SET, structure_facts, structure_masks
from inference.roi.seg import SEGMENTATION_CLASSES, segment_facts, segment_masks
from inference.roi.stored import RoiFacts, StoredRoi, one_per_lesion, shown
from inference.roi.tumour_rules import PATTERN_KEY, TumourRoi, choose_tumours

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
        """What was taken and why, for the report.

        Not whose it is: pictures and ``report.html`` name nobody. Not what it was preferred to: an older region that comes
        later changes nothing, and this is part of the inputs' digest.
        """
        origin = self.drawn.origin
        parts = (
            f"{self.drawn.name}, taken because {self.why}",
            self.drawn.method,
            origin.algorithm,
            origin.software,
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


@dataclass(frozen=True, eq=False)
class _Object:
    """A SEG or RTSTRUCT and its regions; ``here`` where its positions are those of the PET or the CT."""

    ds: Dataset
    regions: tuple[RoiFacts, ...]
    here: bool


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
    objects = list(_objects(datasets, pet, ct, unusable))
    regions = [facts for one in objects if one.here for facts in one.regions]
    tumours = choose_tumours(regions, pattern)
    placed: list[PlacedTumour] = []
    for one in objects:
        its = [t for t in tumours if t.facts in one.regions] if one.here else choose_tumours(one.regions, pattern)
        unusable += [_empty(t.facts) for t in its if one.here and t.facts.hollow]
        drawn = [t for t in its if not t.facts.hollow]
        if drawn:
            try:
                placed += _placed(one.ds, drawn, pet, ct)
            except StudyRefusedError as refusal:
                unusable.append(refusal)
    unusable += [_empty(p.on_ct) for p in placed if not p.on_ct.mask.any()]
    lesions = tuple(_lesions([p for p in placed if p.on_ct.mask.any()]))
    unmarked = () if tumours else tuple(facts for facts in regions if not facts.hollow)
    return StoredSearch(lesions, unmarked, tuple(unusable))


def _objects(
    datasets: Sequence[Dataset], pet: Volume, ct: Volume, unusable: list[StudyRefusedError]
) -> Iterator[_Object]:
    """Yield what can be read; why another cannot, or which regions of it cannot be told apart, goes to ``unusable``."""
    for ds in datasets:
        if reader := ROI_READERS.get(text(ds, "SOPClassUID")):
            try:
                facts, reference = reader.facts(ds), reference_of(ds)
            except StudyRefusedError as refusal:
                unusable.append(refusal)
                continue
            uses = Counter(one.number for one in facts)
            unusable += [_doubled(ds, facts, number) for number, count in uses.items() if count > 1]
            single = tuple(one for one in facts if uses[one.number] == 1)
            yield _Object(ds, single, reference.serves(pet) or reference.serves(ct))


def _placed(ds: Dataset, tumours: Sequence[TumourRoi], pet: Volume, ct: Volume) -> list[PlacedTumour]:
    """Read regions on the series they were drawn on, else on the one whose frame of reference they share."""
    reference = reference_of(ds)
    on_pet = reference.is_on(pet) and not reference.is_on(ct)
    home = pet if on_pet or (reference.serves(pet) and not reference.serves(ct)) else ct
    why = {t.facts.number: t.why for t in tumours}
    return [
        PlacedTumour(
            on_ct=roi if home is ct else replace(roi, mask=mask_onto(roi.mask, home.geometry, ct.geometry)),
            drawn=roi,
            home=home,
            why=why[roi.number],
        )
        for roi in ROI_READERS[text(ds, "SOPClassUID")].masks(ds, home.as_stored, list(why))
    ]


def _lesions(placed: Sequence[PlacedTumour]) -> Iterator[PlacedTumour]:
    for lesion in one_per_lesion([p.on_ct for p in placed]):
        taken = next(p for p in placed if p.on_ct is lesion.roi)
        yield replace(taken, instead_of=lesion.instead_of)


# The warning that stands for the refusal of one object where another, or a proposal, serves.
_WARNINGS = {
    RefusalCode.ROI_REFERENCE_MISSING: WarningCode.ROI_REFERENCE_MISSING,
    RefusalCode.NO_ROI: WarningCode.ROI_EMPTY,
}


def _warning_code(unusable: StudyRefusedError) -> WarningCode:
    return _WARNINGS.get(unusable.code, WarningCode.ROI_UNREADABLE)


def _empty(roi: RoiFacts) -> StudyRefusedError:
    why = roi.hollow or "holds no voxel inside the CT"
    return StudyRefusedError(RefusalCode.NO_ROI, f"{roi.name} {why}; needed: a region drawn on the images")


def _doubled(ds: Dataset, facts: Sequence[RoiFacts], number: int) -> StudyRefusedError:
    names = ", ".join(repr(shown(one.label)) for one in facts if one.number == number)
    return unplaced(
        ds,
        f"number {number} (SegmentNumber (0062,0004), ROINumber (3006,0022)) is given to several regions: {names}; "
        "needed a number of its own for each",
    )
