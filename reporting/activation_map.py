"""The activation maps as numbers: a Parametric Map (PS3.3 A.75) in the patient's space, for those who compute with them.

One object holds the maps of all lesions on one grid of CT pixels: for each scored slice a frame for the mutant and one for the
wild-type pattern, on one scale from 0 to 1 for the patient.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from highdicom import (
    PixelMeasuresSequence,
    PlaneOrientationSequence,
    PlanePositionSequence,
    VOILUTTransformation,
)
from highdicom.pm import ParametricMap, RealWorldValueMapping
from numpy.typing import NDArray
from pydicom import Dataset

from egfr_dls import PRODUCT_NAME, codes
from egfr_dls.evidence import LesionEvidence
from egfr_dls.uids import OBJECT_KINDS
from reporting.context import ReportContext
from reporting.header import stamp
from reporting.identity import kind_series_uid
from reporting.image_library import concept
from reporting.page_slices import map_scale
from reporting.seg import BODY_PART, own_dimension_uid, slice_position_mm, with_thickness

KIND = "map"
PATTERNS = (("MUTANT", "Gradient-weighted class activation, EGFR-mutant pattern"),
            ("WILD TYPE", "Gradient-weighted class activation, wild-type pattern"))  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Placed:
    """A slice's two maps and where its first pixel lies on the CT slice."""

    ct_sop_instance_uid: str
    row: int
    column: int
    maps: tuple[NDArray[np.float32], NDArray[np.float32]]


def activation_map(context: ReportContext) -> Dataset | None:
    """Return the object; None where no network gave maps, or where they lie is not known."""
    placed = [p for lesion in context.evidence.lesions for p in _placed(context, lesion)]
    if not placed:
        return None
    row0, column0 = min(p.row for p in placed), min(p.column for p in placed)
    uids = dict.fromkeys(p.ct_sop_instance_uid for p in placed)
    images = with_thickness(sorted((Dataset(context.image(uid)) for uid in uids), key=slice_position_mm))
    ds = ParametricMap(
        source_images=images,
        pixel_array=_pixels(placed, images, row0, column0, map_scale(context)),
        series_instance_uid=kind_series_uid(context.findings, KIND),
        series_number=OBJECT_KINDS[KIND],
        sop_instance_uid=context.findings.study_instance_uid,  # written by ``stamp``
        instance_number=context.revision.number,
        manufacturer=PRODUCT_NAME,
        manufacturer_model_name=context.device.model_name,
        software_versions=context.device.version,
        device_serial_number=context.device.serial,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[[_mapping(*pattern)] for pattern in PATTERNS],
        voi_lut_transformations=[VOILUTTransformation(window_center=0.5, window_width=1.0)],
        content_label="GRADCAM",
        content_description="Activation maps of EGFR-DLS, not diagnostic",
        plane_positions=[_position(image, row0, column0) for image in images],
        plane_orientation=PlaneOrientationSequence("PATIENT", [float(v) for v in images[0].ImageOrientationPatient]),
        pixel_measures=PixelMeasuresSequence(
            pixel_spacing=[float(v) for v in images[0].PixelSpacing],
            slice_thickness=float(images[0].SliceThickness),
        ),
    )
    ds.BodyPartExamined = BODY_PART
    stamp(ds, context, KIND)
    own_dimension_uid(ds)
    return ds


def _placed(context: ReportContext, evidence: LesionEvidence) -> Iterator[_Placed]:
    if evidence.cam_positive is None or evidence.cam_negative is None or evidence.origin_pixel is None:
        return
    slices = (s for lesion in context.findings.lesions if lesion.label == evidence.label for s in lesion.slices)
    for shown, positive, negative in zip(slices, evidence.cam_positive, evidence.cam_negative, strict=False):
        yield _Placed(shown.ct_sop_instance_uid, *evidence.origin_pixel, (positive, negative))


def _pixels(placed: list[_Placed], images: list[Dataset], row0: int, column0: int, scale: float) -> NDArray[np.float32]:
    """Return float32 ``[slice, row, column, pattern]``, 0 to 1; where two lesions' maps meet the larger value stands."""
    rows = max(p.row + p.maps[0].shape[0] for p in placed) - row0
    columns = max(p.column + p.maps[0].shape[1] for p in placed) - column0
    pixels = np.zeros((len(images), rows, columns, len(PATTERNS)), dtype=np.float32)
    index = {image.SOPInstanceUID: i for i, image in enumerate(images)}
    for p in placed:
        height, width = p.maps[0].shape
        where = np.s_[index[p.ct_sop_instance_uid], p.row - row0 :, p.column - column0 :]
        target = pixels[where][:height, :width]
        np.maximum(target, np.clip(np.stack(p.maps, axis=-1) / scale, 0, 1), out=target)
    return pixels


def _mapping(label: str, explanation: str) -> RealWorldValueMapping:
    return RealWorldValueMapping(
        lut_label=label,
        lut_explanation=explanation,
        unit=concept(codes.NO_UNITS),
        value_range=(0.0, 1.0),
        slope=1.0,
        intercept=0.0,
        quantity_definition=concept(codes.CLASS_ACTIVATION),
    )


def _position(image: Dataset, row: int, column: int) -> PlanePositionSequence:
    """Return where a pixel of a CT slice lies (PS3.3 C.7.6.2.1.1): rows run along the second direction."""
    orientation = np.array([float(v) for v in image.ImageOrientationPatient])
    between_rows, between_columns = (float(v) for v in image.PixelSpacing)
    first = np.array([float(v) for v in image.ImagePositionPatient])
    place = first + column * between_columns * orientation[:3] + row * between_rows * orientation[3:]
    return PlanePositionSequence("PATIENT", [float(v) for v in np.round(place, 6)])
