"""`egfr-dls models verify`, as an operator would use it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from egfr_dls import cli
from egfr_dls.errors import ExitCode
from tests.inference.packages import golden_images, network, run, write_package
from tests.inference.signing import OURS, THEIRS, public_pem, sign


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A site with two sound packages, one of them signed, that trusts one key."""
    for name in ("one", "two"):
        write_package(tmp_path / "models" / name, network(logits=True), name=name)
    sign(tmp_path / "models" / "two", OURS)
    path = tmp_path / "egfr-dls.toml"
    path.write_text(
        f'[storage]\nroot = "{tmp_path}/store"\n[inference]\nmodels = "{tmp_path}/models"\n'
        f'trusted_keys = ["{public_pem(OURS, tmp_path / "site.pem")}"]\n',
        encoding="utf-8",
    )
    return path


def verify(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str]:
    """Run the command; returns exit code and standard output."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["models", "verify", *map(str, arguments)])
    return int(ended.value.code or 0), capsys.readouterr().out


def document(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, dict[str, Any]]:
    """Run the command with --json."""
    code, out = verify(capsys, *arguments, "--json")
    return code, json.loads(out)


def wrong_package(folder: Path) -> Path:
    """A package whose golden values are another network's."""
    image = golden_images()
    return write_package(folder, network(1), {"image": image, **run(network(2), image)}, name="wrong")


def test_every_installed_package_is_verified(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Digests, signatures, and the golden test in numbers."""
    code, out = verify(capsys, "--config", config)
    assert code == ExitCode.DONE
    assert "one@1.0.0" in out
    assert "signature: not signed" in out
    assert "by the trusted key" in out
    assert out.count("  verified") == 2
    code, found = document(capsys, "--config", config)
    assert (code, found["schema"], found["status"]) == (0, "egfr-dls-model-verify/1", "verified")
    one, two = found["models"]
    assert one["files"] == ["golden.npz", "model.json", "model.onnx"]
    assert (one["signature"]["state"], two["signature"]["state"]) == ("none", "trusted")
    (passed,) = (check for check in one["checks"] if check["status"] == "passed")
    assert (passed["backend"], passed["precision"]) == ("onnxruntime", "fp32")
    assert [(o["output"], o["tolerance"]) for o in passed["outputs"]] == [
        ("prob", 1e-5), ("cam", 1e-4), ("logits", 1e-4),
    ]  # fmt: skip
    assert all(0 <= o["difference"] <= o["tolerance"] for o in passed["outputs"])
    assert all(check["reason"] for check in one["checks"] if check["status"] == "not_available")


def test_one_package_by_name_or_by_folder(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder need not be installed."""
    assert [m["key"] for m in document(capsys, "two", "--config", config)[1]["models"]] == ["two@1.0.0"]
    assert [m["key"] for m in document(capsys, "two@1.0.0", "--config", config)[1]["models"]] == ["two@1.0.0"]
    elsewhere = write_package(tmp_path / "elsewhere")
    code, found = document(capsys, elsewhere)
    assert (code, found["models"][0]["folder"]) == (0, str(elsewhere))
    assert verify(capsys, "three", "--config", config)[0] == ExitCode.USAGE


def test_a_network_that_computes_something_else_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 3, with what differed."""
    folder = wrong_package(tmp_path / "wrong")
    code, out = verify(capsys, folder)
    assert code == ExitCode.REFUSED
    assert "REFUSED GOLDEN_DIFFERS: onnxruntime fp32: prob differs by" in out
    code, found = document(capsys, folder)
    assert (code, found["status"], found["refusal"]["code"]) == (3, "refused", "GOLDEN_DIFFERS")


def test_one_faulty_package_does_not_hide_the_others(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is judged; a package that cannot be read goes by its folder's name."""
    (tmp_path / "models" / "one" / "golden.npz").write_bytes(b"PK\3\4")
    sign(tmp_path / "models" / "two", THEIRS)
    write_package(tmp_path / "models" / "zzz", name="sound")
    code, found = document(capsys, "--config", config)
    assert code == ExitCode.REFUSED
    assert [m["status"] for m in found["models"]] == ["refused", "refused", "verified"]
    assert {m["refusal"]["code"] for m in found["models"][:2]} == {"PACKAGE_FAULTY"}
    assert "golden.npz: sha256 is" in found["models"][0]["refusal"]["message"]
    assert "by a trusted key" in found["models"][1]["refusal"]["message"]
    assert found["refusal"] == found["models"][0]["refusal"]
    assert document(capsys, "one", "--config", config)[0] == ExitCode.REFUSED


def test_a_backend_that_is_not_here_verifies_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 3, never a silent 0."""
    code, found = document(capsys, write_package(tmp_path / "tiny"), "--backend", "tensorrt")
    assert (code, found["refusal"]["code"]) == (3, "NOT_RUN")
    assert "not in this version" in found["refusal"]["message"]
    code, found = document(capsys, tmp_path / "tiny", "--backend", "onnxruntime")
    assert (code, [c["backend"] for c in found["models"][0]["checks"]]) == (0, ["onnxruntime"])


def test_a_golden_file_that_is_damaged_under_its_digest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A package that was made so."""
    write_package(tmp_path / "tiny", golden={"image": golden_images()})
    code, found = document(capsys, tmp_path / "tiny")
    assert (code, found["refusal"]["code"]) == (3, "PACKAGE_FAULTY")
    assert "array prob is missing" in found["refusal"]["message"]


def test_hidden_scores_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An older package without logits whose golden scores are exactly 0 and 1."""
    write_package(tmp_path / "tiny", network(bias=(200.0, -200.0), cam=False))
    _, out = verify(capsys, tmp_path / "tiny")
    assert "16 golden probabilities are exactly 0 or 1" in out


def test_an_answer_that_is_no_number_is_null(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON has no infinity."""
    image = golden_images()
    answers = run(network(), image)
    write_package(tmp_path / "tiny", golden={"image": image, **answers, "prob": answers["prob"][:7].astype(np.float32)})
    code, found = document(capsys, tmp_path / "tiny")
    (check, *_) = found["models"][0]["checks"]
    assert (code, check["outputs"][0]["difference"]) == (3, None)
