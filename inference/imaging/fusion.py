"""The third channel: PET and CT in one image (Mu et al. 2020: alpha blending with alpha = 1)."""

from __future__ import annotations

from collections.abc import Callable

from inference.imaging.normalize import Image, min_max, z_score


def sum_of_minmax(pet: Image, ct: Image, ddof: int) -> Image:
    """Add the images scaled to 0..1, never their z-scores (published code), then standardise."""
    return z_score(min_max(pet) + min_max(ct), ddof)


def sum_of_zscores(pet: Image, ct: Image, ddof: int) -> Image:
    """Add the standardised images, then standardise: serves a foreign network that was trained so."""
    return z_score(z_score(pet, ddof) + z_score(ct, ddof), ddof)


# the manifest's preprocessing.fuse
FUSIONS: dict[str, Callable[[Image, Image, int], Image]] = {
    "sum_of_minmax": sum_of_minmax,
    "sum_of_zscores": sum_of_zscores,
}
