"""What leaves training: one network in two precisions, in the form that every engine takes (needs PyTorch)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra training)")

from inference.engine.contract import EngineOptions  # noqa: E402  # after the skip
from inference.engine.gate import load_scorer  # noqa: E402
from inference.engine.onnx import OrtBackend  # noqa: E402
from inference.models.card import Card  # noqa: E402
from inference.models.manifest import ModelPackage, Preprocessing  # noqa: E402
from tests.training_export.test_demonstration import LEGACY_EXPORTER  # noqa: E402
from training_export.export_onnx import OPSET, PackageFacts, export_package  # noqa: E402
from training_export.networks import SmallResidualNetwork  # noqa: E402

pytestmark = [pytest.mark.training, LEGACY_EXPORTER]


def network(**changes: float) -> SmallResidualNetwork:
    """An untrained network, the same each time."""
    torch.manual_seed(0)
    return SmallResidualNetwork().eval()


def exported(folder: Path, made: Any, signature: str = "stacked") -> ModelPackage:
    """The package of a network."""
    facts = PackageFacts(
        name="made",
        version="1.0.0",
        status="research",
        task="egfr",
        labels=("wild type", "mutant"),
        licence="none",
        trained_on="nothing",
        performance="none",
        preprocessing=Preprocessing.model_validate({"input_signature": signature}),
        input_shape=(3, 64, 64),
        card=Card(limits=("untrained",)),
    )
    return export_package(made, facts, folder)


@pytest.mark.parametrize("signature", ["stacked", "planes"])
def test_both_precisions_compute_what_the_network_does(tmp_path: Path, signature: str) -> None:
    """float32 to 1e-5; fp16 to the bound that the package states; any number of images."""
    made = network()
    package = exported(tmp_path / "p", made, signature)
    image = np.random.default_rng(0).normal(0, 1, (5, 3, 64, 64)).astype(np.float32)
    with torch.inference_mode():
        maps = made(torch.from_numpy(image))
        wanted = {"prob": torch.softmax(maps.mean((2, 3)), 1), "cam": maps, "logits": maps.mean((2, 3))}
    for precision, bound in (("fp32", 1e-5), ("fp16", package.manifest.tolerance["fp16"].prob)):
        scorer = load_scorer(package, OrtBackend(), EngineOptions(precision=precision))
        for count in (1, 5):
            found = scorer.score(image[:count])
            np.testing.assert_allclose(found.prob, wanted["prob"].numpy()[:count], atol=bound)
            assert found.cam is not None
            assert found.logits is not None
            scale = float(wanted["cam"].abs().max())
            np.testing.assert_allclose(found.cam, wanted["cam"].numpy()[:count], atol=10 * bound * scale)
            np.testing.assert_allclose(found.logits, wanted["logits"].numpy()[:count], atol=10 * bound)


def test_form_of_the_graph(tmp_path: Path) -> None:
    """Opset, dynamic N, outputs, and a head of a 1x1 convolution and a mean: no dense layer, which some GPUs refuse."""
    package = exported(tmp_path / "p", network())
    for name in ("model.onnx", "model.fp16.onnx"):
        model = onnx.load_from_string(package.content(name))
        onnx.checker.check_model(model, full_check=True)
        assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
        assert [value.name for value in model.graph.output] == ["prob", "cam", "logits"]
        for value in (*model.graph.input, *model.graph.output):
            assert value.type.tensor_type.shape.dim[0].dim_param == "N"
            assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        assert not {node.op_type for node in model.graph.node} & {"Gemm", "MatMul"}
    assert package.manifest.card is not None
    assert "* untrained" in (package.folder / "card.md").read_text(encoding="utf-8")


def test_a_network_that_is_always_sure_is_exported(tmp_path: Path) -> None:
    """Its golden scores are all 0 or 1, and its golden logits tell it from another."""
    made = network()
    with torch.no_grad():
        made.linear()[1].copy_(torch.tensor([200.0, -200.0]))
    package = exported(tmp_path / "p", made)
    with np.load(package.golden) as golden:
        assert set(np.unique(golden["prob"])) == {0.0, 1.0}
        assert float(np.abs(golden["logits"]).min()) > 100
