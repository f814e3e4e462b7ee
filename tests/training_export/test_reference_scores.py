"""Scores that someone else computed: how they are read, and what is allowed to differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from egfr_dls.errors import UsageError
from tests.training_export.keras_files import Network
from training_export.convert import Converted, convert
from training_export.network_refusal import NetworkRefusedError, Reason
from training_export.reference_scores import compare

IMAGES = np.random.default_rng(4).normal(0, 1, (3, 8, 9, 3)).astype(np.float32)


def made() -> Network:
    """Return a network of 8 x 9 pixels."""
    network = Network()
    network.head(network.add("Conv2D", network.input(8, 9, 3), filters=4, kernel_size=[3, 3]))
    return network


@pytest.fixture
def converted(tmp_path: Path) -> Converted:
    """The imported network."""
    return convert(made().write(tmp_path / "net.h5"))


def written(folder: Path, images: object, text: str) -> tuple[Path, Path]:
    """Write both files."""
    np.save(folder / "x.npy", np.asarray(images))
    (folder / "y.txt").write_text(text, encoding="utf-8")
    return folder / "x.npy", folder / "y.txt"


@pytest.mark.parametrize("digits", [2, 4, 8])
@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("channels_last", [True, False])
def test_both_layouts_and_both_forms_of_scores(
    converted: Converted, tmp_path: Path, digits: int, columns: int, channels_last: bool
) -> None:
    """What is allowed is half a unit of the last digit, and 1e-5."""
    images = IMAGES if channels_last else IMAGES.transpose(0, 3, 1, 2)
    scores = made().answer(IMAGES)[:, -columns:]
    text = "# of the publication\n" + "\n".join(", ".join(f"{s:.{digits}f}" for s in row) for row in scores)
    found = compare(converted, *written(tmp_path, images, text), 1)
    assert found.allowed == pytest.approx(1e-5 + 0.5 * 10**-digits)
    assert found.largest <= found.allowed
    assert found.n_scores == 3


def test_other_scores_are_refused(converted: Converted, tmp_path: Path) -> None:
    """The message names the image and both numbers."""
    scores = made().answer(IMAGES)[:, 1]
    scores[1] = 1 - scores[1]
    with pytest.raises(NetworkRefusedError) as caught:
        compare(converted, *written(tmp_path, IMAGES, "\n".join(f"{s:.6f}" for s in scores)), 1)
    assert caught.value.reason is Reason.REFERENCE_DIFFERS
    assert "image 2 of 3" in caught.value.message


ONES = "0.5\n0.5\n0.5\n"
FAULTS: dict[str, tuple[object, str, str]] = {
    "rank": (IMAGES[0], ONES, "needed: numbers"),
    "size": (np.zeros((3, 8, 8, 3)), ONES, "needed: numbers"),
    "objects": (np.array([{}, {}], dtype=object), ONES, "no NPY file of numbers"),
    "words": (np.full((3, 8, 9, 3), "x"), ONES, "needed: numbers"),
    "NaN": (np.full((3, 8, 9, 3), np.nan), ONES, "NaN"),
    "none": (np.zeros((0, 8, 9, 3)), "", "needed: numbers"),
    "lines": (IMAGES, "0.5\n", "1 lines; needed: 3 lines"),
    "no number": (IMAGES, "0.5\nnan\n0.5\n", "line 2 is 'nan'"),
    "beyond": (IMAGES, "0.5\n1.5\n0.5\n", "line 2 is '1.5'"),
    "columns": (IMAGES, "0.1 0.2 0.7\n" * 3, "1 or 2 numbers"),
    "mixed": (IMAGES, "0.1 0.9\n0.1\n0.1 0.9\n", "line 2"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_files_that_are_no_references_are_usage_errors(converted: Converted, tmp_path: Path, fault: str) -> None:
    """A pickled array among them is not opened."""
    images, text, said = FAULTS[fault]
    with pytest.raises(UsageError, match=said):
        compare(converted, *written(tmp_path, images, text), 1)


def test_binary_scores_and_no_array_at_all(converted: Converted, tmp_path: Path) -> None:
    """Files taken for one another."""
    inputs, scores = written(tmp_path, IMAGES, ONES)
    with pytest.raises(UsageError, match="no text"):
        compare(converted, inputs, inputs, 1)
    with pytest.raises(UsageError, match="no NPY"):
        compare(converted, scores, scores, 1)
