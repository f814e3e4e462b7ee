"""Where a PET lies on a CT: a rigid estimate from the images, and when not to believe it. Pure.

It is made where the frames of reference differ, or on request. Positions of different frames have no relation to each
other (PS3.3 C.7.4.1), so the search runs along the whole patient. The same volumes give the same bytes
(docs/decisions/0019-registration.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from egfr_dls.refusals import Remark, WarningCode
from egfr_dls.volume import Geometry, Volume
from inference.imaging.registration_search import NOWHERE, Pair, Vector, frames, implausible, refined, triple

# Where an estimate is no longer believed.
LARGEST_ROTATION_DEGREES = 15.0  # both scans are of one posture: on the back, head first; more is another posture
LARGEST_SHIFT_MM = (150.0, 150.0, 2000.0)  # x, y: the width of a couch and its heights; z: the length of a couch
LEAST_BODY_OVERLAP = 0.85  # Dice; true pairs reach 0.97, arms raised against arms down cost about 0.05
LEAST_INFORMATION = 0.1  # nats; noise has 0.02, a chest of another patient 0.4, true pairs 0.6 to 0.9
# What gains less than this share stays where the headers have it: it would move by a millimetre, the estimate's own error.
LEAST_GAIN = 0.01
TURNED: dict[str, Vector] = {
    "head for feet and face down": (np.pi, 0.0, 0.0),
    "head for feet": (0.0, np.pi, 0.0),
    "face down": (0.0, 0.0, np.pi),
}


@dataclass(frozen=True)
class Registration:
    """A rigid motion ``matrix @ p + offset_mm`` from the PET's positions to the CT's (LPS mm), and its measure.

    ``shift_mm`` is how far the middle of the body moves. Mutual information is in nats; ``before`` is that of the headers'
    positions, None where the fields do not overlap there. ``body_overlap`` is the Dice of the body in both images.
    """

    matrix: tuple[Vector, Vector, Vector]
    offset_mm: Vector
    shift_mm: Vector
    rotation_degrees: float
    information: float
    before: float | None
    body_overlap: float

    def moved(self, pet: Volume) -> Volume:
        """Return the PET with its grid in the CT's frame of reference; no voxel is resampled."""
        return replace(pet, geometry=_placed(pet.geometry, self.matrix, self.offset_mm), stored_geometry=pet.geometry)

    @property
    def measure(self) -> str:
        """The estimate in figures."""
        x, y, z = self.shift_mm
        before = "no overlap" if self.before is None else f"{self.before:.3f}"
        return (
            f"shift {np.linalg.norm(self.shift_mm):.1f} mm (x {x:.1f}, y {y:.1f}, z {z:.1f}), rotation "
            f"{self.rotation_degrees:.1f} degrees, Mattes mutual information {self.information:.3f} (by the headers: "
            f"{before}), overlap of the bodies {self.body_overlap:.2f}"
        )


def register(pet: Volume, ct: Volume) -> Registration:
    """Estimate where the PET lies on the CT.

    Raises
    ------
    StudyRefusedError
        ``REGISTRATION_IMPLAUSIBLE``, with what was measured
    """
    pair = Pair.of(pet, ct)
    before = pair.information(pair.motion(NOWHERE)) if pair.shares_field(NOWHERE) else None
    starts = pair.starts() + ([(before, NOWHERE)] if before is not None else [])
    information, start = max(starts, default=(0.0, NOWHERE))
    if information < LEAST_INFORMATION:
        found = f"their mutual information is {information:.3f} where it is highest"
        raise implausible(pet, ct, found, f"at least {LEAST_INFORMATION:g}")
    motion = refined(pet, ct, pair, start)
    if before is not None and pair.information(motion) < (1 + LEAST_GAIN) * before:
        motion = pair.motion(NOWHERE)
    registration = _measured(pair, motion, before)
    if broken := _broken(registration, pair):
        found, needed = broken
        raise implausible(pet, ct, f"{found} ({registration.measure})", needed)
    return registration


def estimated(registration: Registration, pet: Volume, ct: Volume) -> Remark:
    """Return what every reader of the score must know of it."""
    return Remark(
        WarningCode.REGISTRATION_ESTIMATED.value,
        f"{frames(pet, ct)}: the PET was placed on the CT by a rigid estimate from the images: {registration.measure}; "
        "look at the pages whether PET and CT fit",
    )


def _measured(pair: Pair, motion: Any, before: float | None) -> Registration:
    """Turn the motion from CT to PET into the one that carries the PET, and measure it."""
    turn = np.array(motion.GetMatrix()).reshape(3, 3).T
    offset = -turn @ np.array(motion.TransformPoint(NOWHERE))
    at_pet = np.array(motion.TransformPoint(tuple(pair.centre)))
    x, y, z = (triple(row) for row in turn)
    return Registration(
        matrix=(x, y, z),
        offset_mm=triple(offset),
        shift_mm=triple(pair.centre - at_pet),
        rotation_degrees=float(np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1.0, 1.0)))),
        information=pair.information(motion),
        before=before,
        body_overlap=pair.overlap(_placed(pair.pet_grid, (x, y, z), triple(offset))),
    )


def _broken(registration: Registration, pair: Pair) -> tuple[str, str] | None:
    """Return which bound the estimate breaks, and the bound."""
    if registration.rotation_degrees > LARGEST_ROTATION_DEGREES:
        return "the PET would have to be turned", f"at most {LARGEST_ROTATION_DEGREES:g} degrees"
    if (np.abs(registration.shift_mm) > LARGEST_SHIFT_MM).any():
        bounds = " x ".join(f"{mm:g}" for mm in LARGEST_SHIFT_MM)
        return "the PET would have to be shifted", f"at most {bounds} mm (x, y, z)"
    if registration.body_overlap < LEAST_BODY_OVERLAP:
        return "the bodies do not fit", f"an overlap of at least {LEAST_BODY_OVERLAP:g}"
    if registration.information < LEAST_INFORMATION:
        return "one image says nothing of the other", f"mutual information of at least {LEAST_INFORMATION:g}"
    for posture, turn in TURNED.items():
        turned = max((information for information, _ in pair.starts(turn)), default=0.0)
        if turned > registration.information:
            return (
                f"the PET fits better {posture}, with mutual information {turned:.3f}",
                "PET and CT of one patient in one posture",
            )
    return None


def _placed(grid: Geometry, matrix: tuple[Vector, Vector, Vector], offset_mm: Vector) -> Geometry:
    """Return the grid carried by a rigid motion."""
    turn = np.array(matrix)
    x, y, z = (triple(turn @ np.array(axis)) for axis in grid.direction)
    return replace(grid, origin_mm=triple(turn @ np.array(grid.origin_mm) + offset_mm), direction=(x, y, z))
