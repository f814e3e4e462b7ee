"""What makes a phantom harder than the reference one: one name each, and the organs that each adds.

LPS millimetres as in ``training_export.phantom_anatomy``: +x is the patient's left, +y is posterior, +z is cranial.
Ranges are of what is drawn; blur and noise of the scanner come on top. None was changed after an evaluation seed was read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum

import numpy as np

from training_export.phantom_anatomy import AIR_HU, Ellipsoid, Organ, Point

NODE_SUV, NODE_MM, NODES = (2.5, 6.0), (8.0, 18.0), (2, 5)
MYOCARDIUM_SUV = (9.0, 16.0)
BLADDER_SUV, KIDNEY_SUV, BOWEL_SUV = (25.0, 60.0), (15.0, 30.0), (2.0, 7.0)
JOINT_SUV, VOCAL_CORD_SUV = (3.0, 6.0), (4.0, 9.0)
BONE_HU = (200.0, 350.0)


class Difficulty(StrEnum):
    """One thing that the reference phantom lacks."""

    BREATHING = "respiratory blur and PET/CT mismatch"
    NODES = "lymph nodes"
    PNEUMONIA = "pneumonia"
    MYOCARDIUM = "hot myocardium"
    BLADDER = "bladder, kidneys and bowel gas"
    JOINTS = "joints and a rib"
    VOCAL_CORDS = "vocal cords"
    LOW_COUNT = "low-count noise"
    SMALL = "lesions of 8 to 12 mm"


Organs = tuple[Organ, ...]


def added_organs(difficulty: Difficulty, anatomy: Organs, rng: np.random.Generator) -> Organs:
    """Return the organs that a difficulty paints over the anatomy; none where it is no matter of organs."""
    build = ORGANS.get(difficulty)
    return build(anatomy, rng) if build else ()


def _nodes(_anatomy: Organs, rng: np.random.Generator) -> Organs:
    """Paratracheal, aortopulmonary, subcarinal and hilar nodes: a few of them, hot and not the tumour."""
    stations = ((20, 14, 62), (-20, 14, 62), (0, -12, 40), (22, -8, 20), (0, 14, -8), (-38, 12, 8), (38, 12, 8))
    chosen = rng.choice(len(stations), size=int(rng.integers(*NODES)), replace=False)
    return tuple(
        _spot(f"node {i}", stations[i], rng.uniform(*NODE_MM) / 2 * rng.uniform(0.8, 1.25, 3), 40.0, NODE_SUV, rng)
        for i in chosen.tolist()
    )


def _myocardium(anatomy: Organs, rng: np.random.Generator) -> Organs:
    """The whole wall hot, or the free wall beside the left lung alone."""
    wall = next(organ for organ in anatomy if organ.name == "heart wall")
    cavity = next(organ for organ in anatomy if organ.name == "heart cavity")
    if rng.random() < 0.5:
        return (Organ("hot wall", wall.shape, 45.0, float(rng.uniform(*MYOCARDIUM_SUV))), cavity)
    lateral = wall.shape.centre_mm + wall.shape.semi_axes_mm * (0.82, 0.0, 0.0)
    return (
        _spot("hot free wall", tuple(lateral), np.array([7.0, 20.0, 24.0]), 45.0, MYOCARDIUM_SUV, rng, jitter_mm=0.0),
    )


def _abdomen(_anatomy: Organs, rng: np.random.Generator) -> Organs:
    """Hot kidneys below the lungs; a gas-filled bowel of 400 ml with a hot wall beside the hottest organ, the bladder."""
    bowel = Ellipsoid(np.array([0.0, -55.0, -250.0]) + rng.uniform(-6, 6, 3), np.array([100.0, 30.0, 33.0]))
    wall = Ellipsoid(bowel.centre_mm, bowel.semi_axes_mm + 6.0)
    return (
        *(
            _spot("kidney", (side * 68, 50, -165), np.array([24.0, 22.0, 48.0]), 35.0, KIDNEY_SUV, rng)
            for side in (-1, 1)
        ),
        Organ("bowel wall", wall, 40.0, float(rng.uniform(*BOWEL_SUV))),
        Organ("bowel gas", bowel, AIR_HU, 0.1),
        _spot("stomach gas", (68, -30, -122), np.array([26.0, 24.0, 16.0]), AIR_HU, (0.1, 0.2), rng),
        _spot("bladder", (0, -20, -330), np.array([42.0, 36.0, 36.0]), 10.0, BLADDER_SUV, rng),
    )


def _joints(anatomy: Organs, rng: np.random.Generator) -> Organs:
    """Shoulders, sternoclavicular and costovertebral joints, and a rib (fracture) at the pleura."""
    lung = next(organ for organ in anatomy if organ.name == "right lung").shape
    angle, height = rng.uniform(-0.7, 0.7), rng.uniform(-0.5, 0.4)
    towards = np.array([-np.cos(angle), np.sin(angle), height])
    rib = lung.centre_mm + 1.12 * towards / np.linalg.norm(towards / lung.semi_axes_mm)
    places: list[tuple[tuple[float, ...], tuple[float, ...]]] = [
        ((side * 150, 0, 95), (18.0, 18.0, 18.0)) for side in (-1, 1)
    ]
    places += [((side * 28, -72, 88), (13.0, 11.0, 11.0)) for side in (-1, 1)]
    places += [((side * 28, 76, rng.uniform(-40, 60)), (9.0, 8.0, 8.0)) for side in (-1, 1)]
    hot = [_spot("joint", where, np.array(size), rng.uniform(*BONE_HU), JOINT_SUV, rng) for where, size in places]
    return (*hot, _spot("rib", tuple(rib), np.array([7.0, 14.0, 8.0]), rng.uniform(*BONE_HU), JOINT_SUV, rng, 0.0))


def _vocal_cords(_anatomy: Organs, rng: np.random.Generator) -> Organs:
    """A neck above the shoulders with an air column and hot vocal cords on both sides of it."""
    larynx = Ellipsoid(np.array([0.0, 5.0, 205.0]), np.array([7.0, 10.0, 24.0]))
    neck = Ellipsoid(np.array([0.0, 20.0, 200.0]), np.array([62.0, 62.0, 150.0]))
    above = Ellipsoid(np.array([0.0, 0.0, 1150.0]), np.array([1e4, 1e4, 1000.0]))
    cords = (
        _spot("vocal cord", (s * 11, 2, 205), np.array([5.0, 11.0, 6.0]), 45.0, VOCAL_CORD_SUV, rng, 1.0)
        for s in (-1, 1)
    )
    return (
        Organ("above the shoulders", above, AIR_HU, 0.0),
        Organ("neck", neck, 35.0, 0.9),
        Organ("neck spine", Ellipsoid(np.array([0.0, 60.0, 200.0]), np.array([15.0, 15.0, 150.0])), 260.0, 1.5),
        Organ("larynx", larynx, AIR_HU, 0.2),
        *cords,
    )


def _spot(
    name: str,
    centre: tuple[float, ...],
    semi_axes_mm: Point,
    hu: float,
    suv: tuple[float, float],
    rng: np.random.Generator,
    jitter_mm: float = 4.0,
) -> Organ:
    shape = Ellipsoid(np.array(centre, dtype=float) + rng.uniform(-jitter_mm, jitter_mm, 3), semi_axes_mm)
    return Organ(name, shape, hu, float(rng.uniform(*suv)))


ORGANS: Mapping[Difficulty, Callable[[Organs, np.random.Generator], Organs]] = {
    Difficulty.NODES: _nodes,
    Difficulty.MYOCARDIUM: _myocardium,
    Difficulty.BLADDER: _abdomen,
    Difficulty.JOINTS: _joints,
    Difficulty.VOCAL_CORDS: _vocal_cords,
}
