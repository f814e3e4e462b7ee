"""Small PET/CT studies that are scored in a fraction of a second: the builders' patient with its lesion as a stored SEG."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from functools import lru_cache
from typing import Any

import numpy as np
from highdicom.seg import Segmentation, SegmentationTypeValues, SegmentDescription
from pydicom import DataElement, Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID

from tests.builders import STUDY_UID, body_mask, ct_slices, pet_slices

# Root of every UID of the builders, and what it becomes in study number N.
_BUILDERS_ROOT = STUDY_UID.rsplit(".", 1)[0]


def study_uid(number: int) -> str:
    """Return the Study Instance UID of study ``number``."""
    return STUDY_UID.replace(_BUILDERS_ROOT, _root(number))


def small_study(number: int, **attributes: Any) -> list[Dataset]:
    """Return study ``number``: 8 CT slices, 8 PET slices, one SEG, in this order; ``attributes`` go into every instance.

    Studies of different numbers share no UID and no patient.
    """
    return [_of_study(ds, number, attributes) for ds in _base()]


def many_slices(number: int, count: int) -> list[Dataset]:
    """Return a CT series of study ``number`` with ``count`` small slices: something to be interrupted in."""
    hu = np.full((count, 16, 16), 40.0, np.float32)
    return [_of_study(ds, number, {}) for ds in ct_slices(hu, series_uid=f"{_BUILDERS_ROOT}.77")]


def of_modality(datasets: Sequence[Dataset], *modalities: str) -> list[Dataset]:
    """Return the instances of these modalities."""
    return [ds for ds in datasets if ds.Modality in modalities]


@lru_cache(maxsize=1)
def _base() -> tuple[Dataset, ...]:
    ct = ct_slices()
    return (*ct, *pet_slices(), _segmentation(ct))


def _segmentation(ct: Sequence[Dataset]) -> Dataset:
    lesion = SegmentDescription(
        segment_number=1,
        segment_label="Lesion",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Neoplasm,
        algorithm_type="MANUAL",
        tracking_uid=f"{_BUILDERS_ROOT}.6",
        tracking_id="Lesion",
    )
    return Segmentation(
        source_images=list(ct),
        pixel_array=body_mask().astype(np.uint8),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[lesion],
        series_instance_uid=f"{_BUILDERS_ROOT}.5",
        series_number=4,
        sop_instance_uid=f"{_BUILDERS_ROOT}.5.1",
        instance_number=1,
        manufacturer="TEST",
        manufacturer_model_name="BUILDER",
        software_versions="1",
        device_serial_number="1",
    )


def _of_study(original: Dataset, number: int, attributes: dict[str, Any]) -> Dataset:
    ds = deepcopy(original)
    ds.walk(lambda _ds, element: _renumber(element, number))
    ds.PatientName, ds.PatientID = f"TEST^NUMBER{number}", f"TEST-{number}"
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    return ds


def _renumber(element: DataElement, number: int) -> None:
    if element.VR != "UI":
        return
    if isinstance(element.value, str):
        element.value = UID(element.value.replace(_BUILDERS_ROOT, _root(number), 1))


def _root(number: int) -> str:
    return f"{_BUILDERS_ROOT}.9{number:05d}"
