"""Holds an imported network against scores that someone else computed with the original."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from egfr_dls.errors import UsageError
from training_export.convert import Converted
from training_export.golden import CpuNetwork
from training_export.network_refusal import NetworkRefusedError, Reason

EXACT = 1e-5  # of scores in full precision; printed ones get half a unit of their last digit more
MAX_IMAGES = 10_000
BATCH = 64
NUMBER = re.compile(r"[+-]?(?:\d+\.?(\d*)|\.(\d+))(?:[eE]([+-]?\d+))?")


@dataclass(frozen=True)
class Agreement:
    """The largest difference from the reference scores, what was allowed, and over how many of them."""

    largest: float
    allowed: float
    n_scores: int
    inputs_sha256: str
    scores_sha256: str

    @property
    def facts(self) -> Mapping[str, str]:
        """What the manifest's ``source`` keeps of it."""
        return {
            "reference_inputs_sha256": self.inputs_sha256,
            "reference_scores_sha256": self.scores_sha256,
            "reference_scores": str(self.n_scores),
            "reference_largest_difference": f"{self.largest:.3g}",
        }


def compare(converted: Converted, inputs: Path, scores: Path, class_index: int) -> Agreement:
    """Run the network on ``inputs`` (NPY) and compare with ``scores`` (text).

    The images are ``[N, channels, rows, columns]`` or, as Keras has them, ``[N, rows, columns, channels]``; a network of
    three inputs takes its planes from the channels. The text has a line for each image: the score of the positive class
    (column ``class_index``), or one number for each class.

    Raises
    ------
    UsageError
        a file is not what it must be
    NetworkRefusedError
        the network gives other scores
    """
    image = _images(converted, inputs)
    wanted, allowed = _scores(scores, len(image), converted.n_classes)
    session = CpuNetwork(converted.network, converted.input_names)
    prob = np.concatenate([session.run(image[i : i + BATCH])["prob"] for i in range(0, len(image), BATCH)])
    if wanted.shape[1] == 1:
        prob = prob[:, [min(class_index, converted.n_classes - 1)]]
    difference = np.abs(prob.astype(np.float64) - wanted).max(axis=1)
    worst = int(difference.argmax())
    agreement = Agreement(float(difference[worst]), allowed, len(image), _sha256(inputs), _sha256(scores))
    if not agreement.largest <= allowed:
        raise NetworkRefusedError(
            Reason.REFERENCE_DIFFERS,
            f"image {worst + 1} of {len(image)} scores {_shown(prob[worst])}, but {scores.name} has {_shown(wanted[worst])}; "
            f"at most {allowed:.1g} was allowed. Check the order of the images, their channels and the class's column",
        )
    return agreement


def _images(converted: Converted, path: Path) -> NDArray[np.float32]:
    channels, rows, columns = converted.input_shape
    channels *= len(converted.input_names)
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)  # a header that lies is found out
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"--reference-inputs {path}: no NPY file of numbers: {error}") from error
    needed = f"numbers [N, {rows}, {columns}, {channels}] or [N, {channels}, {rows}, {columns}], N at most {MAX_IMAGES}"
    if not isinstance(array, np.ndarray) or array.ndim != 4 or array.dtype.kind not in "fiu":
        raise UsageError(f"--reference-inputs {path}: {getattr(array, 'shape', 'an archive')}; needed: {needed}")
    if array.shape[1:] == (rows, columns, channels):
        array = array.transpose(0, 3, 1, 2)
    if array.shape[1:] != (channels, rows, columns) or not 1 <= len(array) <= MAX_IMAGES:
        raise UsageError(f"--reference-inputs {path}: {list(array.shape)}; needed: {needed}")
    image = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(image).all():
        raise UsageError(f"--reference-inputs {path} holds NaN or infinite values; needed: {needed}")
    return image


def _scores(path: Path, n_images: int, n_classes: int) -> tuple[NDArray[np.float64], float]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--reference-scores {path}: no text: {error}") from error
    words = [line.replace(",", " ").split() for line in io.StringIO(text) if line.strip() and not line.startswith("#")]
    needed = f"{n_images} lines, one an image, with 1 or {n_classes} numbers from 0 to 1"
    for number, line in enumerate(words, 1):
        if len(line) not in (1, n_classes) or len(line) != len(words[0]) or not all(map(_is_score, line)):
            raise UsageError(f"--reference-scores {path}: line {number} is {' '.join(line)[:80]!r}; needed: {needed}")
    if len(words) != n_images:
        raise UsageError(f"--reference-scores {path}: {len(words)} lines; needed: {needed}")
    return np.array(words, np.float64), EXACT + _half_last_digit(words)


def _is_score(word: str) -> bool:
    return NUMBER.fullmatch(word) is not None and 0.0 <= float(word) <= 1.0


def _half_last_digit(words: Sequence[Sequence[str]]) -> float:
    """Return half a unit of the last digit of the most exact number: a text of four decimals is right to 5e-5."""
    exact = 0
    for word in (word for line in words for word in line):
        match = NUMBER.fullmatch(word)
        if match is not None:
            exact = max(exact, len(match[1] or match[2] or "") - int(match[3] or 0))
    return float(0.5 * 10.0**-exact)


def _shown(values: NDArray[np.floating]) -> str:
    return " ".join(f"{value:.6f}" for value in values[:8])


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
