"""Volumes and segmentations for tests, made without the product's readers and writers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian

from egfr_dls.volume import Geometry, Unit, Volume
from tests.builders import STUDY_UID


def set_raw(ds: Dataset, keyword: str, value: str, vr: str = "LO") -> None:
    """Write an element as a hostile file may hold it, whatever its VR allows."""
    tag, data = Tag(tag_for_keyword(keyword) or 0), value.encode()
    ds[tag] = RawDataElement(tag, vr, len(data), data, 0, is_implicit_VR=False, is_little_endian=True)


def volume_of(slices: Sequence[Dataset], unit: Unit, factor: float = 1.0) -> Volume:
    """Stack slices by position; every slice with its own rescale."""
    orientation = np.array(slices[0].ImageOrientationPatient, dtype=float)
    normal = np.cross(orientation[:3], orientation[3:])
    ordered = sorted(slices, key=lambda ds: float(np.dot(ds.ImagePositionPatient, normal)))
    heights = [float(np.dot(ds.ImagePositionPatient, normal)) for ds in ordered]
    step = (heights[-1] - heights[0]) / (len(heights) - 1)
    voxels = np.stack(
        [(ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept)) * factor for ds in ordered]
    )
    row_spacing, column_spacing = (float(v) for v in ordered[0].PixelSpacing)
    x, y, z = (float(v) for v in ordered[0].ImagePositionPatient)
    along_x, along_y, along_z = (tuple(float(c) for c in v) for v in (orientation[:3], orientation[3:], normal))
    return Volume(
        voxels=voxels.astype(np.float32),
        geometry=Geometry(voxels.shape, (x, y, z), (step, row_spacing, column_spacing), (along_x, along_y, along_z)),
        unit=unit,
        series_instance_uid=str(ordered[0].SeriesInstanceUID),
        frame_of_reference_uid=str(ordered[0].FrameOfReferenceUID),
        sop_instance_uids=tuple(str(ds.SOPInstanceUID) for ds in ordered),
    )


def folder_volume(folder: Path, unit: Unit, factor: float = 1.0) -> Volume:
    """Stack the images of a folder."""
    datasets = [dcmread(path) for path in sorted(folder.iterdir()) if path.is_file()]
    return volume_of([ds for ds in datasets if ds.Modality in {"PT", "CT"}], unit, factor)


def segmentation(
    sources: Sequence[Dataset],
    pixels: NDArray[np.generic],
    labels: Sequence[str] = ("tumour",),
    *,
    kind: hd.seg.SegmentationTypeValues = hd.seg.SegmentationTypeValues.BINARY,
    type_code: Code = codes.SCT.Tissue,
    tracked: bool = True,
    number: int = 1,
    omit_empty_frames: bool = True,
    transfer_syntax_uid: str = ExplicitVRLittleEndian,
) -> Dataset:
    """Return a SEG that highdicom wrote; ``pixels`` is ``[z, y, x]``, or ``[z, y, x, segment]`` for overlapping ones."""
    descriptions = [
        hd.seg.SegmentDescription(
            segment_number=i,
            segment_label=label,
            segmented_property_category=codes.SCT.Tissue,
            segmented_property_type=type_code,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
            tracking_uid=f"{STUDY_UID}.77.{i}" if tracked else None,
            tracking_id=label if tracked else None,
        )
        for i, label in enumerate(labels, 1)
    ]
    return hd.seg.Segmentation(
        source_images=list(sources),
        pixel_array=pixels,
        segmentation_type=kind,
        segment_descriptions=descriptions,
        series_instance_uid=f"{STUDY_UID}.70.{number}",
        series_number=70,
        sop_instance_uid=f"{STUDY_UID}.70.{number}.1",
        instance_number=1,
        manufacturer="test",
        manufacturer_model_name="test",
        software_versions="1",
        device_serial_number="1",
        omit_empty_frames=omit_empty_frames,
        transfer_syntax_uid=transfer_syntax_uid,
    )
