"""The phantom's lesions: where they lie, and the two patterns that carry the labels.

The networks see each channel of a slice after its own min-max and z-score (hyper-image recipe, step 4 and 5), so a label
cannot be in the height of a number; it is in the pattern:

* EGFR mutant: small gas-filled bubbles inside the soft tissue on CT (an air bronchogram, drawn large).
* PD-L1 positive: lopsided uptake on PET, one side of the lesion at about half of the other.

Both patterns are drawn independently of each other, of size, place, peak uptake and necrosis.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from scipy import ndimage

from egfr_dls.volume import FloatVolume, Geometry, Mask
from training_export.phantom_anatomy import Ellipsoid, Organ, Point

DIAMETER_MM = (12.0, 55.0)
PEAK_SUV = (3.0, 14.0)
NECROSIS_FROM_MM = 40.0
BETWEEN_LESIONS_MM = 18.0
FROM_ORGANS_MM = 14.0
AVOIDED = frozenset({"heart wall", "liver", "spine", "off-lung spot"})
DRAWS = 500

BUBBLE_HU = -600.0
BUBBLE_SHARE = 0.25
COLD_CORE_SUV_RATIO = 0.25
COLD_SIDE_SUV_RATIO = 0.5


@dataclass(frozen=True)
class Placing:
    """What lesions may be drawn, and how far from which organs; lengths in mm."""

    diameter_mm: tuple[float, float] = DIAMETER_MM
    avoided: frozenset[str] = AVOIDED
    from_organs_mm: float = FROM_ORGANS_MM


REFERENCE_PLACING = Placing()


class Site(Enum):
    """Where a lesion touches: lung all round, chest wall, or mediastinum.

    The value is the direction from the lung's middle (lateral, anterior-posterior, cranial) with its spread, and how
    far the centre lies inside the lung's surface, in lesion radii; None: anywhere in the inner half.
    """

    CENTRAL = ((0.0, 0.0, 0.0), 1.0, None)
    PLEURAL = ((1.0, 0.4, 0.1), 0.35, 0.75)
    MEDIASTINAL = ((-1.0, 0.0, 0.45), 0.3, 0.15)


@dataclass(frozen=True, eq=False)
class LesionPlan:
    """One lesion before it is drawn; lengths in mm, ``lopsided_towards`` a unit vector in the axial plane."""

    shape: Ellipsoid
    diameter_mm: float
    peak_suv: float
    necrotic: bool
    lopsided_towards: Point


def plan_lesions(
    rng: np.random.Generator, organs: tuple[Organ, ...], placing: Placing = REFERENCE_PLACING
) -> tuple[LesionPlan, ...]:
    """Place one to three lesions clear of each other and of the organs that would hide them."""
    wanted = int(rng.integers(1, 4))
    plans: list[LesionPlan] = []
    for _ in range(DRAWS):
        plan = _draw(rng, organs, placing.diameter_mm)
        if _clear(plan, organs, plans, placing):
            plans.append(plan)
        if len(plans) == wanted:
            break
    return tuple(plans)


def _draw(rng: np.random.Generator, organs: tuple[Organ, ...], diameter_mm: tuple[float, float]) -> LesionPlan:
    diameter = float(rng.uniform(*diameter_mm))
    stretch = rng.uniform(0.88, 1.14, 3)
    semi_axes = diameter / 2 * stretch / np.prod(stretch) ** (1 / 3)
    angle = rng.uniform(0, 2 * np.pi)
    return LesionPlan(
        shape=Ellipsoid(_centre(rng, organs, diameter / 2), semi_axes),
        diameter_mm=diameter,
        peak_suv=float(rng.uniform(*PEAK_SUV)),
        necrotic=bool(diameter >= NECROSIS_FROM_MM and rng.random() < 0.5),
        lopsided_towards=np.array([np.cos(angle), np.sin(angle), 0.0]),
    )


def _centre(rng: np.random.Generator, organs: tuple[Organ, ...], radius_mm: float) -> Point:
    side = rng.choice((-1.0, 1.0))
    lung = next(o.shape for o in organs if o.name == ("left lung" if side > 0 else "right lung"))
    site = list(Site)[rng.integers(len(Site))]
    towards, spread, depth = site.value
    direction = np.array(towards) * (side, rng.choice((-1.0, 1.0)), 1.0) + rng.normal(0, spread, 3)
    direction /= np.linalg.norm(direction)
    surface_mm = 1.0 / np.linalg.norm(direction / lung.semi_axes_mm)
    distance = rng.uniform(0, 0.5) * surface_mm if depth is None else surface_mm - depth * radius_mm
    return np.asarray(lung.centre_mm + direction * distance)


def _clear(plan: LesionPlan, organs: tuple[Organ, ...], others: list[LesionPlan], placing: Placing) -> bool:
    centre, radius = plan.shape.centre_mm, plan.diameter_mm / 2
    for organ in organs:
        grown = Ellipsoid(organ.shape.centre_mm, organ.shape.semi_axes_mm + radius + placing.from_organs_mm)
        if organ.name in placing.avoided and grown.relative(centre) < 1.0:
            return False
    return all(
        np.linalg.norm(centre - other.shape.centre_mm) > radius + other.diameter_mm / 2 + BETWEEN_LESIONS_MM
        for other in others
    )


def paint_lesion(
    plan: LesionPlan, grid: Geometry, hu: FloatVolume, suv: FloatVolume, egfr: int, pdl1: int, rng: np.random.Generator
) -> Mask:
    """Draw a lesion into HU and SUV, ``[z, y, x]``, in place; return its voxels."""
    radius = plan.shape.radius(grid)
    inside = radius <= 1.0
    hu[inside] = rng.uniform(20.0, 50.0)
    suv[inside] = plan.peak_suv
    if plan.necrotic:
        core = radius <= 0.5
        hu[core] -= 15.0
        suv[core] *= COLD_CORE_SUV_RATIO
    if pdl1:
        suv[inside] *= _lopsided(plan, grid)[inside]
    bubbles = _bubbles(radius, rng)
    if egfr:
        hu[bubbles] = BUBBLE_HU
    return inside


def _lopsided(plan: LesionPlan, grid: Geometry) -> FloatVolume:
    """Return the factor of uptake: 1 on one side, ``COLD_SIDE_SUV_RATIO`` on the other, a soft step between."""
    _, y, x = (
        (grid.origin_mm[a] + np.arange(n) * d - plan.shape.centre_mm[a]) / plan.shape.semi_axes_mm[a]
        for a, n, d in zip((2, 1, 0), grid.shape, grid.spacing_mm, strict=True)
    )
    along = np.add.outer(y * plan.lopsided_towards[1], x * plan.lopsided_towards[0])
    with np.errstate(over="ignore"):  # far from a small lesion the step is 0
        factor = COLD_SIDE_SUV_RATIO + (1 - COLD_SIDE_SUV_RATIO) / (1 + np.exp(-8 * along))
    return np.broadcast_to(factor.astype(np.float32), grid.shape)


def _bubbles(radius: FloatVolume, rng: np.random.Generator) -> Mask:
    """Return about ``BUBBLE_SHARE`` of the inner lesion as blobs of some 5 mm."""
    inner = radius <= 0.85
    box = ndimage.find_objects(inner.astype(np.uint8))[0]
    noise = ndimage.gaussian_filter(rng.standard_normal(inner[box].shape), (0.5, 1.0, 1.0))
    bubbles = np.zeros_like(inner)
    bubbles[box] = inner[box] & (noise >= np.quantile(noise[inner[box]], 1 - BUBBLE_SHARE))
    return bubbles
