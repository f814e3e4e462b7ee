"""The output `logits`: what the softmax was made of, wherever that can be told."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper
from scipy.special import softmax

from tests.inference import packages
from tests.training_export import onnx_files
from training_export.class_map import with_class_map
from training_export.golden import CpuNetwork, golden_inputs
from training_export.logits import with_logits
from training_export.onnx_import.conform import conform


@pytest.mark.parametrize("mapped", [True, False])
def test_logits_are_what_the_scores_are_made_of(mapped: bool) -> None:
    """With and without class maps; probabilities stay the same bit for bit."""
    model = conform(onnx_files.model())
    model = with_class_map(model)[0] if mapped else model
    changed, has_logits = with_logits(model)
    assert has_logits
    assert [o.name for o in changed.graph.output] == ["prob", *(["cam"] if mapped else []), "logits"]
    image = golden_inputs((3, 8, 8))
    before, after = (CpuNetwork(m.SerializeToString(), ("image",)).run(image) for m in (model, changed))
    np.testing.assert_array_equal(after["prob"], before["prob"])
    np.testing.assert_allclose(softmax(after["logits"], axis=1), after["prob"], atol=1e-6)


def test_they_tell_what_scores_of_one_do_not() -> None:
    """200 and 300 are the same score."""
    found = []
    for bias in ((200.0, -200.0), (300.0, -300.0)):
        model = with_logits(packages.network(bias=bias))[0]
        found.append(CpuNetwork(model.SerializeToString(), ("image",)).run(golden_inputs((3, 64, 64))))
    np.testing.assert_array_equal(found[0]["prob"], found[1]["prob"])
    assert np.abs(found[0]["logits"] - found[1]["logits"]).min() > 90


@pytest.mark.parametrize("form", ["scores of no softmax", "softmax of the input", "a name that is taken"])
def test_a_network_whose_logits_cannot_be_told_keeps_its_form(form: str) -> None:
    """The golden test then looks at the logarithms of the probabilities."""
    model = packages.network()
    last = model.graph.node[-1]
    if form == "scores of no softmax":
        last.op_type = "Identity"
        del last.attribute[:]
    elif form == "softmax of the input":
        last.input[0] = "image"
    else:
        last.input[0] = "others"
        model.graph.node.insert(len(model.graph.node) - 1, helper.make_node("Neg", ["logits"], ["others"]))
    changed, has_logits = with_logits(model)
    assert not has_logits
    assert changed is model
