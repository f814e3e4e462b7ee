"""The table that says which stored regions are tumours. Pure.

The site's pattern decides alone where it matches any region; otherwise codes, then the words of the label
(docs/reference/science.md). A region that no rule takes is never scored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from egfr_dls.errors import ConfigurationError
from inference.roi.stored import RoiFacts


@dataclass(frozen=True)
class TumourRoi:
    """A region that counts as a tumour, and why."""

    facts: RoiFacts
    why: str


# Neoplasm and lesion codes, as category or as type, in SNOMED CT and in the SRT codes of older objects (PS3.16 annex
# D has the pairs): tumour morphologies (CID 7159 and neighbours), and the structural lesions that readers draw.
TUMOUR_CODES: dict[tuple[str, str], str] = {
    ("SCT", "108369006"): "Neoplasm",
    ("SRT", "M-8FFFF"): "Neoplasm",
    ("SCT", "86049000"): "Neoplasm, Primary",
    ("SRT", "M-80003"): "Neoplasm, Primary",
    ("SCT", "14799000"): "Neoplasm, Secondary",
    ("SRT", "M-80006"): "Neoplasm, Secondary",
    ("SCT", "52988006"): "Lesion",
    ("SRT", "M-01100"): "Lesion",
    ("SCT", "4147007"): "Mass",
    ("SRT", "M-03000"): "Mass",
    ("SCT", "27925004"): "Nodule",
    ("SRT", "M-03010"): "Nodule",
    ("SCT", "68453008"): "Carcinoma",
    ("SRT", "M-80103"): "Carcinoma",
    ("SCT", "1187425009"): "Carcinoma",
    ("SCT", "35917007"): "Adenocarcinoma",
    ("SRT", "M-81403"): "Adenocarcinoma",
    ("SCT", "1187332001"): "Adenocarcinoma",
    ("SCT", "254626006"): "Adenocarcinoma of lung",
    ("SRT", "D2-F1105"): "Adenocarcinoma of lung",
    ("SCT", "254634000"): "Squamous cell carcinoma of lung",
    ("SRT", "D2-F110E"): "Squamous cell carcinoma of lung",
    ("SCT", "94391008"): "Pulmonary metastasis",
    ("SRT", "D2-F1106"): "Pulmonary metastasis",
    ("SCT", "228791009"): "Gross tumor volume",
    ("SRT", "R-429E0"): "Gross tumor volume",
    ("RT ROI Interpreted Type", "GTV"): "Gross Tumor Volume",  # (3006,00A4), PS3.3 C.8.8.8.1
}
TUMOUR_WORDS = ("tumor", "tumour", "lesion", "nodule", "mass", "cancer", "carcinoma", "metasta", "gtv")
# What is left of an organ without its tumour is no tumour: words before the tumour's, and the hyphen of structure names,
# which subtracts ("Lungs-GTV": AAPM TG-263).
SUBTRACTED = re.compile(r"(\b|_)(minus|without|excluding|excl|exc|ex|sub|non|no|not)[\W_]*$")
SUBTRACTED_TARGET = re.compile(r"\w\s*-\s*$")
TARGET_VOLUMES = frozenset({"gtv"})
PATTERN_KEY = "[biomarkers.pet_ct_egfr] roi_label_pattern"


def choose_tumours(rois: Sequence[RoiFacts], pattern: str | None) -> tuple[TumourRoi, ...]:
    """Return the regions that are tumours, with the reason; empty where no rule matches.

    The site's ``pattern`` (a regular expression, searched in the label without regard to case) decides alone where it
    matches any; otherwise each region is judged by its codes, then by the words of its label.

    Raises
    ------
    ConfigurationError
        the pattern is not a regular expression
    """
    for rules in ((_by_pattern(pattern),) if pattern is not None else (), (_by_code, _by_word)):
        taken = tuple(TumourRoi(roi, why) for roi in rois if (why := _first(rules, roi)))
        if taken:
            return taken
    return ()


_Rule = Callable[[RoiFacts], str | None]


def _first(rules: Sequence[_Rule], roi: RoiFacts) -> str | None:
    return next((why for rule in rules if (why := rule(roi))), None)


def _by_pattern(pattern: str) -> _Rule:
    try:
        expression = re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise ConfigurationError(
            f"{PATTERN_KEY}: {pattern!r} is not a regular expression: {error}; give one, or remove the key"
        ) from error
    return lambda roi: f"its label matches the site's {PATTERN_KEY}" if expression.search(roi.label) else None


def _by_code(roi: RoiFacts) -> str | None:
    for concept in roi.concepts:
        if (concept.scheme, concept.value) in TUMOUR_CODES:
            meaning = TUMOUR_CODES[concept.scheme, concept.value]
            return f"it is coded as {meaning} ({concept.value}, {concept.scheme})"
    return None


def _by_word(roi: RoiFacts) -> str | None:
    label = roi.label.casefold()
    for word in TUMOUR_WORDS:
        before, held, _ = label.partition(word)
        if held and not _subtracted(before, word):
            return f"its label holds the word {word!r}"
        if held:
            return None
    return None


def _subtracted(before: str, word: str) -> bool:
    return bool(SUBTRACTED.search(before) or (word in TARGET_VOLUMES and SUBTRACTED_TARGET.search(before)))
