"""What is simulated: for each row a truth, and one cohort's estimate of it with its interval."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import norm

from training_export.evaluation.agreement import icc_1_1, icc_2_1, icc_3_1
from training_export.evaluation.calibration import calibration
from training_export.evaluation.discrimination import auc, auc_interval, auc_interval_logit, paired_difference
from training_export.evaluation.estimates import NotEstimableError, Reasons
from training_export.evaluation.follow_up import FollowUp
from training_export.evaluation.hazards import cox
from training_export.evaluation.kaplan_meier import median_interval, median_months, survival_at
from training_export.evaluation.threshold import choices, wilson

Rng = np.random.Generator
Floats = NDArray[np.float64]
MONTHS_TO_PROGRESSION = 8.0  # mean, of low scores


@dataclass(frozen=True)
class Estimate:
    """One cohort's figure and its interval; an open bound is infinite."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    figure: str
    setting: str
    truth: float
    draw: Callable[[Rng], Estimate]


def normals(rng: Rng, area: float, positives: int, negatives: int) -> tuple[Floats, Floats]:
    """Return labels and scores of two normals whose area under the curve is ``area``."""
    labels = np.repeat([1.0, 0.0], [positives, negatives])
    return labels, expit(rng.normal(labels * np.sqrt(2) * norm.ppf(area), 1))


def area_of(
    interval: Callable[..., tuple[float, float]], area: float, positives: int, negatives: int, rng: Rng
) -> Estimate:
    """Return an area with one of its intervals."""
    labels, scores = normals(rng, area, positives, negatives)
    return Estimate(auc(labels, scores), *interval(labels, scores))


def share_of(p: float, n: int, rng: Rng) -> Estimate:
    """Return a proportion with Wilson's interval."""
    k = int(rng.binomial(n, p))
    return Estimate(k / n, *wilson(k, n))


def difference_of(correlation: float, area: float, n: int, rng: Rng) -> Estimate:
    """Return the difference of two models that are as good as each other, on the same patients."""
    labels = np.repeat([1.0, 0.0], [n // 3, n - n // 3])
    shift = labels * np.sqrt(2) * norm.ppf(area)
    common, own = rng.normal(size=n), rng.normal(size=(2, n))
    first, second = shift + np.sqrt(correlation) * common + np.sqrt(1 - correlation) * own
    found = paired_difference(labels, first, second)
    return Estimate(found.difference, *found.ci95)


def followed(rng: Rng, n: int, hazard: float, *, whole_months: bool = False) -> FollowUp:
    """Return exponential times to progression, censored between 6 and 24 months."""
    months = rng.exponential(MONTHS_TO_PROGRESSION / hazard, n)
    end = rng.uniform(6, 24, n)
    seen = np.minimum(months, end)
    return FollowUp(np.ceil(seen) if whole_months else seen, months <= end)


def hazard_ratio_of(ratio: float, high: int, low: int, rng: Rng, *, ties: str = "efron") -> Estimate:
    """Return Cox's hazard ratio; for Breslow of times in whole months, so that there are ties."""
    whole = ties == "breslow"
    groups = followed(rng, high, ratio, whole_months=whole), followed(rng, low, 1.0, whole_months=whole)
    found = cox(*groups)[ties]
    return Estimate(found.hr, *found.ci95)


def median_of(n: int, rng: Rng) -> Estimate:
    """Return the Kaplan-Meier median."""
    members = followed(rng, n, 1.0)
    low, high = median_interval(members)
    return Estimate(median_months(members), low or 0.0, high or np.inf)


def year_of(n: int, rng: Rng) -> Estimate:
    """Return the share without progression at twelve months."""
    found = survival_at(followed(rng, n, 1.0), 12)
    low, high = found["ci95"]
    return Estimate(found["survival"], low, high)


def icc_of(
    form: Callable[[Floats], object], value: float, patients: int, raters: int, rater_shift: float, rng: Rng
) -> Estimate:
    """Return an intraclass correlation; rater and error variance together are ``1 - value``."""
    shift = rng.normal(0, np.sqrt((1 - value) * rater_shift), raters)
    error = rng.normal(0, np.sqrt((1 - value) * (1 - rater_shift)), (patients, raters))
    found = form(rng.normal(0, np.sqrt(value), (patients, 1)) + shift + error)
    return Estimate(found.value, *found.ci95)  # type: ignore[attr-defined]  # an Icc


def slope_of(slope: float, n: int, rng: Rng) -> Estimate:
    """Return the calibration slope."""
    scores = rng.uniform(0.05, 0.95, n)
    labels = (rng.random(n) < expit(slope * logit(scores))).astype(float)
    found = calibration(labels, scores, Reasons())
    if found["slope"] is None:
        raise NotEstimableError("the classes do not overlap")
    return Estimate(found["slope"], *found["slope_ci95"])


SIZES = ((10, 30), (30, 70), (100, 200))
AREAS = (0.75, 0.86, 0.95)
ROWS: tuple[Row, ...] = (
    *(
        Row(f"AUC, {name}", f"{m} positive, {k} negative", area, partial(area_of, interval, area, m, k))
        for name, interval in (("DeLong", auc_interval), ("DeLong on the logit", auc_interval_logit))
        for area in AREAS
        for m, k in SIZES
    ),
    *(Row("AUC difference, DeLong", f"{n} patients, AUC 0.8, correlation 0.6", 0.0, partial(difference_of, 0.6, 0.8, n))
      for n in (40, 120)),
    *(Row("proportion, Wilson", f"{n} patients", p, partial(share_of, p, n))
      for n in (16, 60, 200) for p in (0.5, 0.69, 0.9, 0.98)),
    *(Row("hazard ratio, Efron", f"{high} high, {low} low", ratio, partial(hazard_ratio_of, ratio, high, low))
      for high, low in ((29, 38), (39, 110)) for ratio in (0.24, 1.0, 2.33)),
    Row("hazard ratio, Breslow", "39 high, 110 low, whole months", 2.33, partial(hazard_ratio_of, 2.33, 39, 110, ties="breslow")),
    *(Row("median PFS, Kaplan-Meier", f"{n} patients", MONTHS_TO_PROGRESSION * np.log(2), partial(median_of, n))
      for n in (38, 110)),
    *(Row("PFS at 12 months", f"{n} patients", float(np.exp(-12 / MONTHS_TO_PROGRESSION)), partial(year_of, n))
      for n in (38, 110)),
    *(Row("ICC(2,1)", f"{n} patients, 3 raters, some shifted", value, partial(icc_of, icc_2_1, value, n, 3, 0.1))
      for n in (20, 50) for value in (0.7, 0.91)),
    Row("ICC(1,1)", "50 patients, 3 raters", 0.91, partial(icc_of, icc_1_1, 0.91, 50, 3, 0.0)),
    Row("ICC(3,1)", "50 patients, 3 raters", 0.91, partial(icc_of, icc_3_1, 0.91, 50, 3, 0.0)),
    *(Row("calibration slope", f"{n} patients", slope, partial(slope_of, slope, n)) for n in (60, 300) for slope in (0.6, 1.0)),
)  # fmt: skip


@dataclass(frozen=True)
class Optimism:
    """Youden's index of chosen cut-offs, means over cohorts: on the same patients, corrected, and on new patients."""

    setting: str
    apparent: float
    corrected: float
    true: float


def optimism(area: float, positives: int, negatives: int, cohorts: int, seed: int) -> Optimism:
    """Choose cut-offs on small cohorts, and judge each by the distributions that the patients were drawn from."""
    rng = np.random.default_rng([seed, positives, int(100 * area)])
    shift = np.sqrt(2) * norm.ppf(area)
    found = []
    for _ in range(cohorts):
        chosen = choices(*normals(rng, area, positives, negatives))["youden"]
        at = logit(chosen["cut_off"])
        found.append((chosen["index"], chosen["index_corrected"], norm.sf(at - shift) - norm.sf(at)))
    return Optimism(
        f"AUC {area:g}, {positives} positive, {negatives} negative", *(float(v) for v in np.mean(found, axis=0))
    )
