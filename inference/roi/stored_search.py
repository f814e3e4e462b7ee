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
from inference.roi.header import reference_missing, unplaced
from inference.roi.rtstruct import RT_STRUCTURE_SET, structure_facts, structure_masks
from inference.roi.seg import SEGMENTATION_CLASSES, segment_facts, segment_masks
from inference.roi.stored import RoiFacts, StoredRoi, one_per_lesion, share_outside, shown
from inference.roi.tumour_rules import PATTERN_KEY, TumourRoi, choose_tumours

MOST_NAMED = 12  # regions that a message names
LOST_SHARE = 0.5  # of a region that another replaces; where more lies outside all that are taken, a tumour may be lost


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
        """Why stored objects were not used, and what is lost of those that others replace, as warnings."""
        unusable = tuple(Remark(_warning_code(e).value, e.message) for e in self.unusable)
        return (*unusable, *_partly_replaced(self.tumours))

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


_Object = tuple[Dataset, tuple[RoiFacts, ...]]  # a SEG or RTSTRUCT, and its regions


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
    objects = list(_objects(datasets, unusable))
    here = [facts for _, regions in objects for facts in regions if _serves(facts, pet, ct)]
    tumours = choose_tumours(here, pattern)
    placed: list[PlacedTumour] = []
    for ds, regions in objects:
        its = [tumour for tumour in tumours if tumour.facts in regions]
        unusable += [_empty(tumour.facts) for tumour in its if tumour.facts.hollow]
        placed += _placed(ds, [tumour for tumour in its if not tumour.facts.hollow], pet, ct, unusable)
        lost = choose_tumours([facts for facts in regions if not _serves(facts, pet, ct)], pattern)
        unusable += [reference_missing(ds, tumour.facts.reference, ct) for tumour in lost[:1]]
    unusable += [_empty(p.on_ct) for p in placed if not p.on_ct.mask.any()]
    lesions = tuple(_lesions([p for p in placed if p.on_ct.mask.any()]))
    unmarked = () if tumours else tuple(facts for facts in here if not facts.hollow)
    return StoredSearch(lesions, unmarked, tuple({refusal.message: refusal for refusal in unusable}.values()))


def _serves(facts: RoiFacts, pet: Volume, ct: Volume) -> bool:
    return facts.reference.serves(pet) or facts.reference.serves(ct)


def _objects(datasets: Sequence[Dataset], unusable: list[StudyRefusedError]) -> Iterator[_Object]:
    """Yield what can be read; why another cannot, or which regions of it cannot be told apart, goes to ``unusable``."""
    for ds in datasets:
        if reader := ROI_READERS.get(text(ds, "SOPClassUID")):
            try:
                facts = reader.facts(ds)
            except StudyRefusedError as refusal:
                unusable.append(refusal)
                continue
            uses = Counter(one.number for one in facts)
            unusable += [_doubled(ds, facts, number) for number, count in uses.items() if count > 1]
            yield ds, tuple(one for one in facts if uses[one.number] == 1)


def _placed(
    ds: Dataset, tumours: Sequence[TumourRoi], pet: Volume, ct: Volume, unusable: list[StudyRefusedError]
) -> list[PlacedTumour]:
    """Read regions of one object together; where that fails each by itself, so that one costs no other."""
    homes = [(tumour, _home(tumour.facts, pet, ct)) for tumour in tumours]
    placed: list[PlacedTumour] = []
    for home in (pet, ct):
        drawn_there = [tumour for tumour, its in homes if its is home]
        try:
            placed += _read(ds, drawn_there, home, ct)
        except StudyRefusedError as refusal:
            if len(drawn_there) == 1:
                unusable.append(refusal)
            else:
                placed += [p for tumour in drawn_there for p in _placed(ds, [tumour], pet, ct, unusable)]
    return placed


def _home(facts: RoiFacts, pet: Volume, ct: Volume) -> Volume:
    """Return the series that a region was drawn on, else the one whose frame of reference it shares, the CT first."""
    of = facts.reference
    if of.is_on(pet) and not of.is_on(ct):
        return pet
    return ct if of.serves(ct) else pet


def _read(ds: Dataset, tumours: Sequence[TumourRoi], home: Volume, ct: Volume) -> list[PlacedTumour]:
    why = {tumour.facts.number: tumour.why for tumour in tumours}
    if not why:
        return []
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


def _partly_replaced(tumours: Sequence[PlacedTumour]) -> Iterator[Remark]:
    """Yield a warning of each replaced region of which no region taken holds the larger part: two tumours drawn as one."""
    taken = [tumour.on_ct for tumour in tumours]
    for tumour in tumours:
        for other in tumour.instead_of:
            if (share := share_outside(other, taken)) > LOST_SHARE:
                yield Remark(
                    WarningCode.ROI_PARTLY_REPLACED.value,
                    f"{other.name} is replaced by {tumour.drawn.name}, and {share:.0%} of it lies outside every region "
                    "that is scored; a tumour there needs a region of its own",
                )


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
