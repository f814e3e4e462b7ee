"""EvidenceImages: the few pixels that a report draws, handed from inference to reporting as one npz file.

Findings are JSON and small; the ROI masks and the crops that a reader looks at are arrays. They travel beside the
findings in the object store, named by digest, so that reporting never decodes pixels and never imports inference.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from egfr_dls.volume import Mask


@dataclass(frozen=True, eq=False)
class LesionEvidence:
    """The pixels of one lesion.

    Parameters
    ----------
    label
        the lesion's label in the findings
    mask
        bool ``[n, rows, columns]`` on the full CT grid, for the CT slices ``mask_sop_instance_uids`` only
    mask_sop_instance_uids
        CT SOP Instance UIDs of ``mask``'s slices, ascending along the slice normal
    ct_hu, pet, roi
        crops about the lesion, ``[slice, row, column]`` for each *scored* slice, all on one pixel grid:
        int16 HU, float32 PET (SUV where known), bool ROI
    box
        int32 ``[slice, 4]``: row0, column0, row1, column1 of the square that the network saw, in crop pixels
    cam_positive, cam_negative
        float32 crops like ``pet`` (0 outside the box), on one common scale for the patient; None without maps
    pixel_mm
        row and column spacing of the crops, mm
    origin_pixel
        row and column of the crops' first pixel on the CT slices (may lie outside them): with a slice's
        ImagePositionPatient (0020,0032) its place in the patient
    """

    label: str
    mask: Mask
    mask_sop_instance_uids: tuple[str, ...]
    ct_hu: NDArray[np.int16]
    pet: NDArray[np.float32]
    roi: Mask
    box: NDArray[np.int32]
    cam_positive: NDArray[np.float32] | None
    cam_negative: NDArray[np.float32] | None
    pixel_mm: tuple[float, float]
    origin_pixel: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class EvidenceImages:
    """The pixels behind one study's findings; empty where nothing was scored."""

    lesions: tuple[LesionEvidence, ...]
    pet_is_suv: bool

    def to_bytes(self) -> bytes:
        """Serialise; the same images give the same bytes."""
        arrays: dict[str, NDArray[Any]] = {}
        head: dict[str, Any] = {"pet_is_suv": self.pet_is_suv, "lesions": []}
        for i, lesion in enumerate(self.lesions):
            head["lesions"].append(
                {
                    "label": lesion.label,
                    "mask_shape": lesion.mask.shape,
                    "mask_sop_instance_uids": lesion.mask_sop_instance_uids,
                    "pixel_mm": lesion.pixel_mm,
                    "origin_pixel": lesion.origin_pixel,
                    "maps": lesion.cam_positive is not None,
                }
            )
            arrays[f"mask_{i}"] = np.packbits(lesion.mask)
            for name in ("ct_hu", "pet", "roi", "box", "cam_positive", "cam_negative"):
                value = getattr(lesion, name)
                if value is not None:
                    arrays[f"{name}_{i}"] = value
        arrays["head"] = np.frombuffer(json.dumps(head, sort_keys=True).encode(), dtype=np.uint8)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # numpy types the keywords as one bool option
        return buffer.getvalue()

    @staticmethod
    def from_bytes(data: bytes) -> EvidenceImages:
        """Read back what ``to_bytes`` wrote."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            head = json.loads(arrays["head"].tobytes())
            return EvidenceImages(
                tuple(_lesion(i, facts, arrays) for i, facts in enumerate(head["lesions"])), head["pet_is_suv"]
            )


def _lesion(i: int, facts: dict[str, Any], arrays: Any) -> LesionEvidence:
    shape = tuple(facts["mask_shape"])
    mask = np.unpackbits(arrays[f"mask_{i}"], count=int(np.prod(shape))).reshape(shape).astype(bool)
    return LesionEvidence(
        label=facts["label"],
        mask=mask,
        mask_sop_instance_uids=tuple(facts["mask_sop_instance_uids"]),
        ct_hu=arrays[f"ct_hu_{i}"],
        pet=arrays[f"pet_{i}"],
        roi=arrays[f"roi_{i}"],
        box=arrays[f"box_{i}"],
        cam_positive=arrays[f"cam_positive_{i}"] if facts["maps"] else None,
        cam_negative=arrays[f"cam_negative_{i}"] if facts["maps"] else None,
        pixel_mm=(facts["pixel_mm"][0], facts["pixel_mm"][1]),
        origin_pixel=None if (origin := facts.get("origin_pixel")) is None else (origin[0], origin[1]),
    )
