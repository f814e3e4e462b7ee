"""The stage benchmark measures what it names, on phantoms that differ in nothing but their slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.stages import ROWS, _exponents, growth_table, measured, sliced, written
from training_export.phantoms import make_phantom


def test_a_sliced_phantom_is_the_same_patient_in_other_slices() -> None:
    phantom = make_phantom(7)
    thin = sliced(phantom, 160)
    for volume, original in ((thin.ct_hu, phantom.ct_hu), (thin.pet_suv, phantom.pet_suv)):
        grid, before = volume.geometry, original.geometry
        assert grid.shape == (160, *before.shape[1:])
        assert grid.shape[0] * grid.spacing_mm[0] == before.shape[0] * before.spacing_mm[0]
        edges = [g.origin_mm[2] - g.spacing_mm[0] / 2 for g in (grid, before)]
        assert edges[0] == pytest.approx(edges[1])
        np.testing.assert_allclose(volume.voxels[40:120].mean(), original.voxels[20:60].mean(), rtol=1e-3)
        assert len(set(volume.sop_instance_uids)) == 160


def test_every_row_of_an_analysis_is_measured(tmp_path: Path) -> None:
    spent = measured(written(sliced(make_phantom(7), 40), tmp_path / "study"), tmp_path / "out")
    assert all(spent[row] > 0 for row in ROWS)
    assert spent["scored slices"] > 0
    table = growth_table({40: spent, 80: {name: 2 * value for name, value in spent.items()}})
    assert table.count("| 1.00 | 1.00 |") == sum(spent[row] >= 0.002 for row in ROWS) + 1


def test_the_exponent_is_that_of_the_growth() -> None:
    assert _exponents([60, 120, 240], [1.0, 2.0, 8.0]) == ["1.50", "2.00"]
    assert _exponents([60, 120], [0.001, 1.0]) == ["", ""]
