"""Maps and crops find back to the patient: what a report draws lies where the network looked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egfr_dls.evidence import EvidenceImages, LesionEvidence
from egfr_dls.volume import Geometry, Volume
from inference.biomarkers.pet_ct_egfr.evidence import lesion_evidence
from inference.biomarkers.pet_ct_egfr.hyperimage import prepare
from inference.imaging.saliency import ClassMaps
from inference.models.manifest import Preprocessing
from tests.inference.biomarkers.volumes import SHAPE, SPACING_MM, ball, ct, pet
from tests.inference.motion import rotation

CELLS = 8


def _turned(volume: Volume, grid: Geometry) -> Volume:
    return replace(volume, geometry=grid)


@given(
    st.tuples(*[st.floats(-180, 180)] * 3),
    st.tuples(*[st.floats(-500, 500)] * 3),
    st.tuples(st.integers(4, 8), st.integers(12, 115), st.integers(12, 115)),
    st.tuples(st.integers(0, CELLS - 1), st.integers(0, CELLS - 1)),
)
@settings(max_examples=20, deadline=None)
def test_the_hottest_cell_of_a_map_lies_at_its_place_in_the_patient(
    degrees: tuple[float, float, float],
    origin_mm: tuple[float, float, float],
    centre: tuple[int, int, int],
    cell: tuple[int, int],
) -> None:
    """From the cell by the square's corner in LPS mm, and from the drawn pixel by the crop's place on its CT slice: one point.

    On oblique grids, also for a lesion at the edge of the image, whose square and crop lie partly outside.
    """
    direction = tuple(tuple(float(v) for v in axis) for axis in rotation(degrees).T)
    grid = Geometry(SHAPE, origin_mm, SPACING_MM, direction)  # type: ignore[arg-type]  # 3 each
    mask = ball(centre=centre)
    images, functional = _turned(ct(), grid), _turned(pet(), grid)
    hyper = prepare(images, functional, mask, Preprocessing())
    maps = np.zeros((len(hyper.frames), CELLS, CELLS), np.float32)
    maps[:, cell[0], cell[1]] = 1.0
    drawn = lesion_evidence("Lesion 1", images, functional, mask, hyper.frames, ClassMaps(maps, maps * 0))
    assert drawn.cam_positive is not None
    assert drawn.origin_pixel is not None
    for frame, cam in zip(hyper.frames, drawn.cam_positive, strict=True):
        side = frame.side_mm
        down_mm = frame.box.row0_mm + (cell[0] + 0.5) * side / CELLS
        right_mm = frame.box.column0_mm + (cell[1] + 0.5) * side / CELLS
        meant = grid.index_to_mm @ (right_mm / SPACING_MM[2], down_mm / SPACING_MM[1], frame.slice_index, 1.0)
        weights = np.where(cam >= cam.max() - 1e-6, 1.0, 0.0)
        rows, columns = (np.average(i, weights=weights) for i in np.indices(cam.shape))
        column, row = columns + drawn.origin_pixel[1], rows + drawn.origin_pixel[0]
        found = grid.index_to_mm @ (column, row, frame.slice_index, 1.0)
        # the cell's centre is hottest; at the rim of the map its value goes on to the edge, half a cell further
        slack_mm = SPACING_MM[1] + (side / CELLS / 2 if {*cell} & {0, CELLS - 1} else 0.0)
        assert np.abs(found - meant)[:3].max() <= slack_mm * np.sqrt(2)


def test_the_crops_place_is_kept_in_the_object_store() -> None:
    """What reporting reads is what inference drew, and older evidence has no place."""
    hyper = prepare(ct(), pet(), ball(), Preprocessing())
    drawn = lesion_evidence("Lesion 1", ct(), pet(), ball(), hyper.frames, None)
    (read,) = EvidenceImages.from_bytes(EvidenceImages((drawn,), pet_is_suv=True).to_bytes()).lesions
    assert read.origin_pixel == drawn.origin_pixel
    older = replace(drawn, origin_pixel=None)
    (read,) = EvidenceImages.from_bytes(EvidenceImages((older,), pet_is_suv=True).to_bytes()).lesions
    assert read.origin_pixel is None


@pytest.mark.parametrize("centre", [(6, 60, 70), (6, 14, 110)])
def test_the_crops_place_is_that_of_its_pixels(centre: tuple[int, int, int]) -> None:
    """Cut at that place from the CT, the pixels are the crop's."""
    mask = ball(centre=centre)
    hyper = prepare(ct(), pet(), mask, Preprocessing())
    drawn: LesionEvidence = lesion_evidence("Lesion 1", ct(), pet(), mask, hyper.frames, None)
    assert drawn.origin_pixel is not None
    margin = 200
    row, column = (o + margin for o in drawn.origin_pixel)
    _, height, width = drawn.ct_hu.shape
    for frame, crop in zip(hyper.frames, drawn.ct_hu, strict=True):
        whole = np.pad(ct().voxels[frame.slice_index], margin, constant_values=-1000.0)
        assert np.array_equal(np.rint(whole[row : row + height, column : column + width]), crop)
