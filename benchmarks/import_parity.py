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

from training_export.convert import convert
from training_export.golden import CpuNetwork

PARITY = 1e-6
FOLDER = Path(os.environ.get("SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")) / "keras_213"


@dataclass(frozen=True)
class Row:
    """One file: what was imported, and its largest difference from the reference answers, if there are some."""

    name: str
    keras_version: str
    nodes: int
    classes: int
    grid: tuple[int, int] | None
    difference: float | None
    seconds: float


def measured(path: Path) -> Row:
    """Import a file and compare it with the answers beside it."""
    start = time.perf_counter()
    converted = convert(path)
    seconds = time.perf_counter() - start
    reference = path.with_name(f"{path.stem}_ref.npz")
    difference = None
    if reference.exists():
        with np.load(reference, allow_pickle=False) as arrays:
            image = np.ascontiguousarray(arrays["x"].transpose(0, 3, 1, 2), np.float32)
            prob = CpuNetwork(converted.network, converted.input_names).run(image)["prob"]
            difference = float(np.abs(prob.astype(np.float64) - arrays["y"]).max())
    grid = converted.class_map.grid if converted.class_map else None
    version = converted.source["keras_version"]
    return Row(
        path.name,
        version,
        len(onnx.load_from_string(converted.network).graph.node),
        converted.n_classes,
        grid,
        difference,
        seconds,
    )


def main() -> None:
    """Print the table; end with 1 where a difference is too large."""
    rows = [measured(path) for path in sorted(FOLDER.iterdir()) if path.suffix in (".hdf5", ".h5")]
    print("| file | Keras | ONNX nodes | classes | class maps | largest difference from Keras | seconds |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        grid = "{} x {}".format(*row.grid) if row.grid else "none"
        difference = "no reference answers" if row.difference is None else f"{row.difference:.1e}"
        print(
            f"| {row.name} | {row.keras_version} | {row.nodes} | {row.classes} | {grid} | {difference} | {row.seconds:.1f} |"
        )
    raise SystemExit(any(row.difference is not None and row.difference > PARITY for row in rows))


if __name__ == "__main__":
    main()
