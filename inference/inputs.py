"""The inputs digest: every byte and header value that a result depends on, and nothing that it does not.

Not the order of arrival, the sender or the transfer syntax: the same patient sent again by another route is the same input.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence

import numpy as np
from pydicom.dataset import Dataset

from egfr_dls.refusals import Remark
from egfr_dls.settings import Settings
from egfr_dls.volume import Volume
from inference.biomarkers.clinical_context import ClinicalContext
from inference.models.manifest import Preprocessing
from inference.roi.region import Roi

COPIED_GROUPS = (0x0008, 0x0010, 0x0020, 0x0040)  # patient, study and request attributes that the objects take over


def inputs_sha256(
    volumes: Iterable[Volume],
    rois: Sequence[Roi],
    reference: Dataset,
    context: ClinicalContext,
    warnings: tuple[Remark, ...],
) -> str:
    """Return the digest of a scored study's inputs.

    Parameters
    ----------
    volumes
        what was read: the voxels carry the stored values and every factor applied to them
    rois
        the masks ``[z, y, x]`` on the CT grid, with where each came from
    reference
        the instance whose patient and study attributes the objects copy
    context
        the clinical facts on which the pathway depends
    warnings
        what the report says beside the score: a SEG that came later may change nothing else
    """
    digest = hashlib.sha256(repr((context, warnings)).encode())
    for volume in volumes:
        for z, uid in enumerate(volume.sop_instance_uids):
            digest.update(f"{uid}:{hashlib.sha256(volume.voxels[z].tobytes()).hexdigest()};".encode())
        digest.update(repr(volume.geometry).encode())
    for roi in rois:
        digest.update(f"{roi.label}:{roi.tracking_uid}:{roi.source}:{roi.description}:{roi.mask.shape}".encode())
        digest.update(np.packbits(roi.mask).tobytes())
        if roi.confirmation is not None:
            digest.update(repr(roi.confirmation).encode(errors="surrogateescape"))
    digest.update(header_sha256(reference).encode())
    return digest.hexdigest()


def refused_inputs_sha256(sop_instance_uids: Iterable[str], refusal: str, reference: Dataset | None) -> str:
    """Return the digest of a refused study's inputs: what was there, and why it was refused."""
    digest = hashlib.sha256()
    for uid in sorted(sop_instance_uids):
        digest.update(f"{uid};".encode())
    digest.update(refusal.encode())
    digest.update(header_sha256(reference).encode() if reference is not None else b"none")
    return digest.hexdigest()


def preprocessing_sha256(recipe: Preprocessing, settings: Settings) -> str:
    """Return the digest of how a network's input is made and its slice scores become one.

    That is the recipe in its package, and the settings that change what the network sees of a given region.
    """
    of_site = {
        "stored_roi_is": settings.biomarkers.pet_ct_egfr.stored_roi_is,
        "registration": settings.inference.registration,
    }
    return hashlib.sha256(json.dumps([recipe.model_dump(mode="json"), of_site], sort_keys=True).encode()).hexdigest()


def header_sha256(reference: Dataset) -> str:
    """Return the digest of the attributes that a report takes over from its reference instance."""
    digest = hashlib.sha256()
    for group in COPIED_GROUPS:
        for element in reference.group_dataset(group):
            digest.update(f"{element.tag}{element.VR}{element.value}".encode(errors="surrogateescape"))
    return digest.hexdigest()
