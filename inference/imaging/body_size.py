"""SUV by lean body mass, ideal weight or body surface to SUV by body weight: ``SUVbw = x * W / n``.

References
----------
LBM: James 1976 with the coefficients that scanners use, and Morgan and Bray 1994 (128); LBMJANMA: Janmahasatian 2005;
IBW: Devine as in DICOM SUVType (0054,1006); BSA: Du Bois 1916. docs/reference/suv.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from egfr_dls.errors import StudyRefusedError
from egfr_dls.refusals import RefusalCode
from inference.imaging.suv_header import PetSlice

METRES_BELOW = 3.0

# SUVType -> sex -> n in kg of W kg and H cm.
NORMS: dict[str, dict[str, Callable[[float, float], float]]] = {
    "LBM": {
        "M": lambda w, h: 1.10 * w - 120 * (w / h) ** 2,
        "F": lambda w, h: 1.07 * w - 148 * (w / h) ** 2,
    },
    "LBMJAMES128": {
        "M": lambda w, h: 1.10 * w - 128 * (w / h) ** 2,
        "F": lambda w, h: 1.07 * w - 148 * (w / h) ** 2,
    },
    "LBMJANMA": {
        "M": lambda w, h: 9270 * w / (6680 + 216 * _bmi(w, h)),
        "F": lambda w, h: 9270 * w / (8780 + 244 * _bmi(w, h)),
    },
    "IBW": {
        "M": lambda _, h: 48.0 + 1.06 * (h - 152),
        "F": lambda _, h: 45.5 + 0.91 * (h - 152),
    },
}


def _bmi(weight_kg: float, height_cm: float) -> float:
    return weight_kg / (height_cm / 100) ** 2


def bw_over_type(suv_type: str, weight_kg: float, s: PetSlice) -> float:
    """Return SUVbw over SUV of this type: 1 for BW, else W / n.

    Raises
    ------
    StudyRefusedError
        ``SUV_UNITS_NOT_BW``: size or sex is missing, or gives no positive n
    """
    if suv_type == "BW":
        return 1.0
    if s.size is None or s.size <= 0:
        raise _refuse(s, "the patient's size in metres")
    height_cm = s.size * 100 if s.size < METRES_BELOW else s.size
    if suv_type == "BSA":
        return 1000 * weight_kg / (71.84 * math.pow(weight_kg, 0.425) * math.pow(height_cm, 0.725))
    sexes = {"M": "M", "F": "F", "O": "MF"}.get(s.sex)
    if sexes is None:
        raise _refuse(s, "sex M, F or O")
    norm = math.fsum(NORMS[suv_type][sex](weight_kg, height_cm) for sex in sexes) / len(sexes)
    if norm <= 0:
        raise _refuse(s, f"a size for which the {suv_type} mass is above 0")
    return weight_kg / norm


def _refuse(s: PetSlice, needed: str) -> StudyRefusedError:
    return StudyRefusedError(
        RefusalCode.SUV_UNITS_NOT_BW,
        f"{s.found('Units', 'SUVType', 'PatientSize', 'PatientSex')}. Needed: {needed}, to convert to body weight.",
    )
