"""The region of interest that a biomarker scores, wherever it came from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from egfr_dls.refusals import Remark
from egfr_dls.study import RoiSource
from egfr_dls.uids import derived_uid
from egfr_dls.volume import Mask
from inference.roi.lesion_statistics import RoiStatistics
from inference.roi.stored import RoiFacts


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
        false for a proposal that no reader has accepted
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


@dataclass(frozen=True, eq=False)
class RoiResult:
    """The lesions of a study, the primary first, and what a reader must know of them."""

    rois: tuple[Roi, ...]
    warnings: tuple[Remark, ...]


def ranked(rois: Sequence[Roi], study_instance_uid: str) -> tuple[Roi, ...]:
    """Order lesions by TLG, or by volume where a TLG is unknown; label them and give each its Tracking UID."""
    by_tlg = all(roi.statistics is not None for roi in rois)
    ordered = sorted(rois, key=lambda roi: -(roi.statistics.tlg_g if by_tlg and roi.statistics else roi.volume_ml))
    return tuple(_labelled(roi, f"Lesion {i}", study_instance_uid) for i, roi in enumerate(ordered, 1))


def _labelled(roi: Roi, label: str, study_instance_uid: str) -> Roi:
    if roi.stored is None:
        uid = derived_uid(study_instance_uid, _digest(roi.mask), label)
    else:
        own = roi.stored.tracking_uid
        uid = own or derived_uid(study_instance_uid, roi.stored.sop_instance_uid, roi.stored.number)
    return replace(roi, label=label, tracking_uid=uid)


def _digest(mask: Mask) -> str:
    digest = hashlib.sha256(repr(mask.shape).encode())
    digest.update(np.packbits(mask).tobytes())
    return digest.hexdigest()
