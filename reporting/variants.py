"""Which variant of the objects a destination gets: the classes that its association accepted decide.

The content tree holds no SCOORD3D, so it is legal in each of the three SR classes (PS3.3 A.35.2, A.35.3, A.35.13).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EncapsulatedPDFStorage,
    EnhancedSRStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    ParametricMapStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

SR_CLASSES: tuple[str, ...] = (Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage)  # best first
# What an association proposes so that a variant can be chosen.
PROBED_CLASSES: tuple[str, ...] = (
    *SR_CLASSES,
    SegmentationStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
    ParametricMapStorage,
    EncapsulatedPDFStorage,
)


@dataclass(frozen=True)
class Variant:
    """What the objects for a destination are made as.

    Parameters
    ----------
    sr_class_uid
        SOP Class UID (0008,0016) of the report, one of ``SR_CLASSES``
    segmentation
        whether the report points at our SEG; without, a lesion points at the images it was read on
    single_pages
        whether each page is an instance of its own (Secondary Capture), not a frame
    """

    sr_class_uid: str = SR_CLASSES[0]
    segmentation: bool = True
    single_pages: bool = False


def choose_variant(accepted: Collection[str], preferred: str | None = None) -> Variant | None:
    """Return the variant for a destination; None where it takes no class of report at all.

    Parameters
    ----------
    accepted
        SOP Class UIDs whose presentation context was accepted; of a destination that cannot be asked (STOW-RS): all
    preferred
        the destination's own choice of SR class; it holds where it is accepted
    """
    wanted = SR_CLASSES if preferred is None else (preferred, *SR_CLASSES)
    sr_class_uid = next((uid for uid in wanted if uid in accepted), None)
    if sr_class_uid is None:
        return None
    return Variant(
        sr_class_uid=sr_class_uid,
        segmentation=SegmentationStorage in accepted,
        single_pages=MultiFrameTrueColorSecondaryCaptureImageStorage not in accepted
        and SecondaryCaptureImageStorage in accepted,
    )
