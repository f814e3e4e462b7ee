"""TKI against ICI in each cell of the guideline: high or low EGFR-DLS by high or low PDL1_DLS (Mu et al. 2020).

Patients of all cohorts together: in the publication, too, those who had the one treatment and those who had the other are
different cohorts. They were not randomised, so a difference is no effect of treatment.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from training_export.evaluation.estimates import Floats, Mask, NotEstimableError, Reasons
from training_export.evaluation.follow_up import FollowUp, follow_up_of
from training_export.evaluation.hazards import log_rank
from training_export.evaluation.kaplan_meier import median_months
from training_export.evaluation.patients import Patients
from training_export.evaluation.proportions import OUTCOMES, fisher, outcomes
from training_export.evaluation.survival import cox_figures

TREATMENTS = ("tki", "ici")
ADENOCARCINOMA = ("adenocarcinoma", "adc", "luad")
COMPARED = ("dcb", "hyperprogression", "pfs_12m")


def cells(egfr: Floats, pdl1: Floats, cut_off: float) -> Mapping[str, Mask]:
    """Return who is in which cell; a patient without a PD-L1 score is in the cells of EGFR-DLS alone."""
    high, low = egfr >= cut_off, egfr < cut_off
    pdl1_high, pdl1_low = pdl1 >= cut_off, pdl1 < cut_off
    return {
        "egfr_high": high,
        "egfr_low": low,
        "egfr_high_pdl1_high": high & pdl1_high,
        "egfr_high_pdl1_low": high & pdl1_low,
        "egfr_low_pdl1_high": low & pdl1_high,
        "egfr_low_pdl1_low": low & pdl1_low,
    }


def pathway_cells(patients: Patients, egfr: Floats, pdl1: Floats, cut_off: float, reasons: Reasons) -> dict[str, Any]:
    """Return the family's entry; empty where nobody with follow-up has one of the two treatments."""
    known = ~np.isnan(patients.months) & ~np.isnan(patients.progression) & ~np.isnan(egfr)
    known &= np.isin(patients.treatment, TREATMENTS)
    if not known.any():
        return {}
    populations = {"all": known, "adenocarcinoma": known & np.isin(patients.histology, ADENOCARCINOMA)}
    return {
        population: {
            cell: _cell(patients.select(kept & within), cell, reasons.at(population))
            for cell, within in cells(egfr, pdl1, cut_off).items()
        }
        for population, kept in populations.items()
    }


def _cell(patients: Patients, name: str, population: Reasons) -> dict[str, Any]:
    reasons = population.at(name)
    if not len(patients):
        population.of(name, _nobody)
        reasons = Reasons()  # one reason is enough for all of an empty cell
    given = {drug: follow_up_of(patients.select(patients.treatment == drug)) for drug in TREATMENTS}
    entry: dict[str, Any] = {drug: _treated(group, reasons.at(drug)) for drug, group in given.items()}
    tki, ici = given.values()
    test = reasons.of("logrank_p", partial(log_rank, tki, ici))
    entry |= {"logrank_chi2": test and test.chi2, "logrank_p": test and test.p}
    entry["cox"] = cox_figures(tki, ici, reasons)
    entry["fisher_p"] = {
        key: reasons.at("fisher_p").of(key, partial(fisher, OUTCOMES[key].counts(tki), OUTCOMES[key].counts(ici)))
        for key in COMPARED
    }
    return entry


def _nobody() -> None:
    raise NotEstimableError("no patient in this cell")


def _treated(group: FollowUp, reasons: Reasons) -> dict[str, Any]:
    median = reasons.of("km_median", partial(median_months, group))
    found = outcomes(group, reasons.at("pfs_12m"))
    return {"n": len(group), "events": int(group.event.sum()), "km_median": median, **found}
