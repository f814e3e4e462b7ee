"""The card says what the manifest holds, and of the rest that it is unknown."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from inference.models.card import Card, Data, Estimate, Evaluation
from inference.models.card_text import card_text
from inference.models.manifest import Manifest
from tests.inference.packages import manifest, network

EVALUATION = Evaluation(
    cohort="Tampa",
    patients=65,
    positives=28,
    cut_off=0.5,
    aggregation="mean",
    metrics={
        "auc": Estimate(value=0.8612345, ci95=(0.77, 0.95)),
        "sensitivity": Estimate(value=None, ci95=None),
        "specificity": Estimate(value=0.75, ci95=None),
    },
    product_version="1.2.3",
    sha256="ab" * 32,
)


def text(card: Card | None = None) -> str:
    """The card of a tiny network."""
    stated = {"files": dict.fromkeys(("model.onnx", "golden.npz"), "0" * 64)}
    document = manifest(network(), **stated) | {"card": card.model_dump() if card else None}
    return card_text(Manifest.model_validate(document))


def section(found: str, heading: str) -> list[str]:
    """The lines under a heading."""
    return [line for line in found.split(f"## {heading}\n")[1].split("\n## ")[0].splitlines() if line]


def test_what_nobody_stated_is_unknown() -> None:
    """Nothing is made up for an imported network."""
    found = text()
    assert section(found, "Intended use") == ["unknown"]
    assert section(found, "Limits") == ["unknown"]
    assert section(found, "Training data") == [
        "nothing", "* description: unknown", "* patients: unknown", "* centres: unknown", "* period: unknown",
        "* truth: unknown",
    ]  # fmt: skip
    assert section(found, "Performance") == ["none"]
    assert "* citation: unknown" in found
    assert "0.5" not in found, "no figure of anybody's"


def test_what_was_stated_and_measured_stands_in_it() -> None:
    """Figures with their intervals; what could not be estimated is said so."""
    found = text(
        Card(
            intended_use="triage of nobody",
            limits=("adults only", "FDG only"),
            training_data=Data(patients=429, centres="two"),
            evaluations=(EVALUATION,),
        )
    )
    assert section(found, "Intended use") == ["triage of nobody"]
    assert section(found, "Limits") == ["* adults only", "* FDG only"]
    assert "* patients: 429" in found
    assert "| auc | 0.861 | 0.770 to 0.950 |" in found
    assert "| sensitivity | not estimable | unknown |" in found
    assert "| specificity | 0.750 | unknown |" in found
    assert "| npv | unknown | unknown |" in found
    assert "Cohort Tampa: 65 patients, 28 positive; cut-off 0.5, aggregation mean." in found
    assert "document sha256 " + "ab" * 32 in found


@pytest.mark.parametrize("value", [1.01, -0.1, float("nan")])
def test_a_figure_is_a_proportion(value: float) -> None:
    """AUC in per cent would be read as a miracle."""
    with pytest.raises(ValidationError):
        Estimate(value=value)
