"""The model card: what a network is for, what it was made from and how well it did, as far as that was stated.

What nobody stated is None here and "unknown" in the text (after Mitchell et al. 2019, Model Cards for Model Reporting).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from inference.models.block import Block

MetricName = Literal["auc", "accuracy", "sensitivity", "specificity", "ppv", "npv"]


class Estimate(Block):
    """A proportion with its 95 % interval; None where it could not be estimated or was not given."""

    value: float | None = Field(ge=0, le=1)
    ci95: tuple[float, float] | None = None


class Evaluation(Block):
    """What ``egfr-dls evaluate`` measured in one cohort; ``sha256`` is of its document."""

    cohort: str = Field(max_length=200)
    patients: int | None = Field(ge=0)
    positives: int | None = Field(ge=0)
    cut_off: float | None
    aggregation: str | None = Field(max_length=100)
    metrics: dict[MetricName, Estimate]
    product_version: str | None = Field(max_length=100)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Data(Block):
    """Whose images the network was trained on."""

    description: str | None = Field(None, max_length=4000)
    patients: int | None = Field(None, ge=0)
    centres: str | None = Field(None, max_length=1000)
    period: str | None = Field(None, max_length=200)
    labels: str | None = Field(None, max_length=1000)  # how the truth was established


class Facts(Block):
    """What a person states of a network; every key may be left out."""

    intended_use: str | None = Field(None, max_length=4000)
    limits: tuple[str, ...] = Field((), max_length=50)
    training_data: Data = Data()
    contact: str | None = Field(None, max_length=400)
    citation: str | None = Field(None, max_length=2000)


class Card(Facts):
    """The facts, and what was measured."""

    evaluations: tuple[Evaluation, ...] = Field((), max_length=50)
