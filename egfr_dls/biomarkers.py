"""Which biomarkers there are, and which studies ask for them: the one table that every stage and command reads.

What a biomarker does lies in ``inference/biomarkers/<name>/``; `docs/how-to/add-a-biomarker.md` lists all the places.
"""

from __future__ import annotations

from dataclasses import dataclass

from egfr_dls.errors import UsageError
from egfr_dls.settings import Settings


@dataclass(frozen=True, slots=True)
class BiomarkerRule:
    """A biomarker as reception knows it. Modalities are values of (0008,0060).

    Parameters
    ----------
    name
        as in settings, findings and ``result.json``; also its folder's name
    asks_for
        a study that holds this modality asks for the biomarker; one without is none of ours and gets no refusal
    needs
        the modalities that it needs in one frame of reference
    """

    name: str
    asks_for: str
    needs: frozenset[str]


PET_CT_EGFR = BiomarkerRule("pet_ct_egfr", asks_for="PT", needs=frozenset({"PT", "CT"}))

RULES: tuple[BiomarkerRule, ...] = (PET_CT_EGFR,)  # the first one that a study asks for counts
DEFAULT = PET_CT_EGFR.name  # of commands that name none


def enabled_rules(settings: Settings) -> tuple[BiomarkerRule, ...]:
    """Return the rules of the biomarkers that the settings enable."""
    return tuple(rule for rule in RULES if getattr(settings.biomarkers, rule.name).enabled)


def check_name(name: str, settings: Settings) -> None:
    """Check the name of a biomarker that a person typed.

    Raises
    ------
    UsageError
        there is none of this name, or it is switched off
    """
    names = [rule.name for rule in RULES]
    if name not in names:
        raise UsageError(f"no biomarker {name}; there are: {', '.join(names)}")
    if name not in {rule.name for rule in enabled_rules(settings)}:
        raise UsageError(f"biomarker {name} is switched off; needed: [biomarkers.{name}] enabled = true")
