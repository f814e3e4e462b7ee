"""The table that says which stored regions are tumours. Pure.

The site's pattern decides alone where it matches any region; otherwise codes, then the words of the label
(docs/reference/science.md). A region that no rule takes is never scored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from egfr_dls.errors import ConfigurationError
from inference.roi.stored import INTERPRETED_TYPE, RoiFacts


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
    (INTERPRETED_TYPE, "GTV"): "Gross Tumor Volume",  # PS3.3 C.8.8.8.1
}
TUMOUR_WORDS = ("tumor", "tumour", "lesion", "nodule", "mass", "cancer", "carcinoma", "metasta", "gtv")
_AS_WRITTEN = {"gtv": "i?gtv"}  # the internal one is the tumour in every phase of breathing
_WORDS = {word: re.compile(_AS_WRITTEN.get(word, word)) for word in TUMOUR_WORDS}
# What is left of an organ without its tumour is no tumour, nor is what lies round it: words before the tumour's, words
# behind it, and the hyphen of structure names, which subtracts ("Lungs-GTV": AAPM TG-263).
SUBTRACTED = re.compile(
    r"((?<![a-z])(minus|without|w\W?o|excluding|excluded|excl|exc|ex|sub|non|no|not|no evidence of|no sign of|free of|ring)"
    r"|peri)[\W_]*$"
)
LEFT_OUT = re.compile(r"[a-z]{0,5}\d*[\W_]*(excluded|excl|exc|subtracted|removed|bed|ring|shell|margin|free)(?![a-z])")
SUBTRACTED_TARGET = re.compile(r"\w\s*[-\u2010-\u2015\u2212]\s*[\[({]?\s*$")
TARGET_VOLUMES = frozenset({"gtv"})
TISSUE_MASS = re.compile(r"(muscle|body|fat|lean|bone|water)[\W_]*$")
# Volumes that hold a tumour and more than it, by name (ICRU 83) or by RT ROI Interpreted Type (3006,00A4). ORGAN is none of
# them: some programs write it for whatever was drawn.
OTHER_VOLUME = re.compile(r"(?<![a-z])(ptv|ctv|itv|prv)")
OTHER_TYPES = frozenset(
    {
        "AVOIDANCE", "BOLUS", "BRACHY_ACCESSORY", "BRACHY_CHANNEL", "BRACHY_CHNL_SHLD", "BRACHY_SRC_APP", "CAVITY",
        "CONTRAST_AGENT", "CONTROL", "CTV", "DOSE_MEASUREMENT", "DOSE_REGION", "EXTERNAL", "FIXATION", "IRRAD_VOLUME",
        "ISOCENTER", "MARKER", "PTV", "REGISTRATION", "SUPPORT", "TREATED_VOLUME",
    }
)  # fmt: skip
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
    if OTHER_VOLUME.search(label) or any(c.scheme == INTERPRETED_TYPE and c.value in OTHER_TYPES for c in roi.concepts):
        return None
    for word, expression in _WORDS.items():
        if held := expression.search(label):
            before, after = label[: held.start()], label[held.end() :]
            return None if _is_another(before, word, after) else f"its label holds the word {word!r}"
    return None


def _is_another(before: str, word: str, after: str) -> bool:
    """Whether what stands round a tumour's word says that something else is meant."""
    return bool(
        SUBTRACTED.search(before)
        or LEFT_OUT.match(after)
        or (word in TARGET_VOLUMES and SUBTRACTED_TARGET.search(before))
        or (word == "mass" and TISSUE_MASS.search(before))
    )
