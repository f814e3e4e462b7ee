"""The published sample slices are reproduced to the last digit (docs/reference/science.md A3)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from inference.biomarkers.pet_ct_egfr.hyperimage import grey_image, hyper_image
from inference.imaging.fusion import FUSIONS
from inference.imaging.normalize import z_score
from inference.models.manifest import Preprocessing

pytestmark = pytest.mark.shared_data

CT_FILES = ("1_15_z_72", "1_1_z_75", "1_2_z_88", "1_3_z_81", "0_25_z_90", "0_27_z_103", "0_288_z_77", "0_32_z_73")
LEVELS = (254, 252, 254, 254, 254, 254, 254, 254)
RECIPE = Preprocessing()
Arrays = dict[str, NDArray[np.float64]]


@pytest.fixture(scope="module")
def samples(shared_data: Path) -> Arrays:
    """The published network inputs, and the grey CT images they were made from."""
    folder = shared_data / "hyperimage_samples"
    arrays = {name: np.load(folder / f"xpsample{name}.npy") for name in ("pet", "ct", "fuse")}
    arrays["png"] = np.stack([np.array(Image.open(folder / "ct_png" / f"{n}.png"), np.float64) for n in CT_FILES])
    return arrays


def _ct(png: NDArray[np.float64], recipe: Preprocessing = RECIPE) -> NDArray[np.float64]:
    """The CT channel as the product makes it from a grey image (the PET is irrelevant to it)."""
    image, _ = hyper_image(np.zeros_like(png), png, recipe)
    return image[recipe.channels.index("ct")]


def _difference(found: NDArray[np.float64], wanted: NDArray[np.float64]) -> float:
    return float(np.abs(found - wanted).max())


@pytest.mark.parametrize("i", range(8))
def test_ct_from_its_grey_image(samples: Arrays, i: int) -> None:
    """Nearest, floor, min-max, z-score with ddof 1."""
    assert _difference(_ct(samples["png"][i]), samples["ct"][i]) < 1e-12


@pytest.mark.parametrize("i", range(8))
def test_negative_control_without_the_floor(samples: Arrays, i: int) -> None:
    """The floor step is part of what the published network saw."""
    assert _difference(_ct(samples["png"][i], RECIPE.model_copy(update={"floor": "none"})), samples["ct"][i]) > 1e-2


@pytest.mark.parametrize("i", range(8))
def test_negative_control_with_ddof_0(samples: Arrays, i: int) -> None:
    """The standard deviation is that of a sample."""
    assert _difference(_ct(samples["png"][i], RECIPE.model_copy(update={"zscore_ddof": 0})), samples["ct"][i]) > 1e-5


@pytest.mark.parametrize("i", range(8))
@pytest.mark.parametrize("source", ["published CT", "regenerated CT"])
def test_fuse_from_the_published_pet(samples: Arrays, i: int, source: str) -> None:
    """The sum of the min-maxed images, from the published or from our own CT."""
    ct = samples["ct"][i] if source == "published CT" else _ct(samples["png"][i])
    fused = FUSIONS[RECIPE.fuse](samples["pet"][i], ct, RECIPE.zscore_ddof)
    assert _difference(fused, samples["fuse"][i]) < 1e-10


@pytest.mark.parametrize("i", range(8))
def test_negative_control_adding_z_scores(samples: Arrays, i: int) -> None:
    """A public fork adds the z-scored channels; that is another image."""
    added = samples["pet"][i] + samples["ct"][i]
    assert _difference(added, samples["fuse"][i]) > 0.05
    assert _difference(z_score(added, 1), samples["fuse"][i]) > 0.05
    assert _difference(FUSIONS["sum_of_zscores"](samples["pet"][i], samples["ct"][i], 1), samples["fuse"][i]) > 0.05


@pytest.mark.parametrize("i", range(8))
def test_the_published_pet_lies_on_the_grid_of_floored_grey_levels(samples: Arrays, i: int) -> None:
    """Its images are not readable, but its values are whole multiples of one grey level."""
    pet = samples["pet"][i]
    steps = (pet - pet.min()) / (pet.max() - pet.min()) * LEVELS[i]
    assert _difference(steps, np.rint(steps)) < 1e-9


def test_a_published_grey_image_is_already_what_quantising_gives(samples: Arrays) -> None:
    """The step from pixels to grey levels changes nothing in an image that has been through it."""
    for png in samples["png"]:
        if png.min() == 0 and png.max() == 255:
            assert np.array_equal(grey_image(png, RECIPE), png)
