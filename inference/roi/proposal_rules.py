"""The numbers of the search for lung lesions, each with its reason; docs/proposed-regions.md has them as a table. Pure.

Lengths in voxels are of the 4 mm search grid.
"""

from __future__ import annotations

from enum import StrEnum

GRID_MM = 4.0
VOXEL_ML = GRID_MM**3 / 1000.0

# Seeds: local maxima of the smoothed PET
SEED_SUV = 2.5  # above blood pool (1.5 to 2) wherever it lies
SEED_SUV_IN_LUNG = 1.5  # three times the lung's 0.5: a small nodule is blurred to a third of its uptake
IN_LUNG_SHARE = 0.4  # of a cube of 28 mm that is aerated: pleural nodules too, mediastinum not
IN_LUNG_CUBE = 7  # voxels
SEEDS_WITHIN = 2.0  # voxels of the closed lung field

# Growing
FRACTIONS = (0.41, 0.51, 0.61, 0.71)  # of the seed's SUV; 41 % is the EANM contour (Boellaard et al. 2015)
LEAST_SUV = 1.0
BACKGROUND_HU = -600.0  # aerated lung that gives the background uptake
FIELD_SHARE = 0.25  # of a region's voxels in the closed lung field
CUT_BEYOND = 4.0  # voxels (16 mm): a mediastinal mass reaches beyond the closed field, a leak further
SCENE_MARGIN = 6  # voxels about the field that are looked at; a leak that long is no lesion
MOST_OVERLAP = 0.30  # with regions found before

# Plausibility on the search grid
TISSUE_HU = -400.0
CONTACT_WITHIN = 2.0  # voxels of aerated lung
CONTACT_SHARE = 0.15  # of its surface voxels near aerated lung
TISSUE_SHARE = 0.30  # of its voxels that are tissue on CT

# Outline, in cubes of 2 mm
OUTLINE_MM = 2.0
OUTLINE_MARGIN = 4  # voxels of the search grid that are looked at about a region
PLATEAU_QUANTILE = 0.80  # of the region's SUV: neither one noisy voxel nor its rim
CONTRAST_FRACTION = 0.35  # of the way from background to plateau; half would be the edge of an even lesion
MOST_SUV = 4.0  # no outline needs more: the colder part of a very hot mass is mass too
BACKGROUND_SHELL_MM = (6.0, 14.0)  # beyond the blur of the region, within its surroundings
GROWS_MM = 10.0  # an outline stays this near to its region
CUT_LEAVES = (
    0.30  # of the region; where the CT leaves less, it shows another moment of the breath, and PET alone decides
)

# What is no lesion, told by its outline
LEAST_ML = 0.15  # a sphere of 6.6 mm
AIR_WITHIN_MM = 4.0
AMONG_TISSUE = 0.5  # less of its surface within 4 mm of aerated lung: it lies in tissue
LEAST_AIR_CONTACT = 0.1  # of its surface: deeper in tissue it is heart, node or vessel
LEAST_CONTRAST = (
    2.0  # plateau over background of what lies in tissue: twice the blood pool, as PERCIST has it for lesions
)
HAZE_HU = (-700.0, -200.0)  # neither aerated lung nor tissue
HAZE_WITHIN_MM = 8.0
HAZY_SHARE = 0.4  # of what surrounds it: an infiltrate fades out, a solid lesion ends (its blurred rim is an eighth)

KEEP = 5


class Rejection(StrEnum):
    """Why a hot spot is not proposed."""

    OUTSIDE_FIELD = "mostly outside the lung field"
    NO_CONTACT = "not beside aerated lung"
    NO_TISSUE = "not tissue on CT"
    NO_CONTRAST = "hardly hotter than the tissue about it"
    WEAK = f"below SUV {SEED_SUV:g} and not surrounded by aerated lung"
    HAZY = "an infiltrate, beside a solid lesion"
    TOO_SMALL = f"smaller than {LEAST_ML} ml"
    COUNTED_BEFORE = "part of another"
