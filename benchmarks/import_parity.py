"""How far imported networks are from what Keras itself answered: ``python -m benchmarks.import_parity``.

Takes the fixtures of ``../shared/data/keras_213`` (or ``SHARED_DATA``) and prints the table of docs/import.md.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from training_export.convert import convert
from training_export.golden import CpuNetwork

PARITY = 1e-6
FOLDER = Path(os.environ.get("SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")) / "keras_213"


@dataclass(frozen=True)
class Row:
    """One file: what was imported, and its largest difference from the reference answers, if there are some.

    ``half`` is the fp16 variant's, without reference answers its difference from float32 on the golden images; None: there
    is no variant.
    """

    name: str
    keras_version: str
    nodes: int
    classes: int
    grid: tuple[int, int] | None
    difference: float | None
    half: float | None
    seconds: float


def measured(path: Path) -> Row:
    """Import a file and compare it with the answers beside it."""
    start = time.perf_counter()
    converted = convert(path)
    seconds = time.perf_counter() - start
    golden = converted.golden.arrays
    image, wanted, difference = golden["image"], golden["prob"], None
    reference = path.with_name(f"{path.stem}_ref.npz")
    if reference.exists():
        with np.load(reference, allow_pickle=False) as arrays:
            image, wanted = np.ascontiguousarray(arrays["x"].transpose(0, 3, 1, 2), np.float32), arrays["y"]
        difference = _apart(converted.network, converted.input_names, image, wanted)
    half = None if converted.half is None else _apart(converted.half, converted.input_names, image, wanted)
    grid = converted.class_map.grid if converted.class_map else None
    version = converted.source["keras_version"]
    return Row(
        path.name,
        version,
        len(onnx.load_from_string(converted.network).graph.node),
        converted.n_classes,
        grid,
        difference,
        half,
        seconds,
    )


def _apart(network: bytes, names: tuple[str, ...], image: NDArray[np.float32], wanted: NDArray[np.floating]) -> float:
    return float(np.abs(CpuNetwork(network, names).run(image)["prob"].astype(np.float64) - wanted).max())


def main() -> None:
    """Print the table; end with 1 where a difference is too large."""
    rows = [measured(path) for path in sorted(FOLDER.iterdir()) if path.suffix in (".hdf5", ".h5")]
    print("| file | Keras | ONNX nodes | classes | class maps | largest difference from Keras | of fp16 | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        grid = "{} x {}".format(*row.grid) if row.grid else "none"
        difference = "no reference answers" if row.difference is None else f"{row.difference:.1e}"
        half = "no variant" if row.half is None else f"{row.half:.1e}"
        cells = (row.name, row.keras_version, row.nodes, row.classes, grid, difference, half, f"{row.seconds:.1f}")
        print(f"| {' | '.join(map(str, cells))} |")
    raise SystemExit(any(row.difference is not None and row.difference > PARITY for row in rows))


if __name__ == "__main__":
    main()
