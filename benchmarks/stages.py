"""CPU seconds of each stage of an analysis: the real study, and phantoms of ever more slices.

    python -m benchmarks.stages [--study DIR] [--slices 60 120 240 480] [--rounds 3] [--out docs/stage-benchmark.md]

`egfr-dls analyze` does the work, by the stage functions of the service. A phantom of n slices is one patient, cut into n CT
and n PET slices: ever thinner ones of the same chest. The growth is fitted as seconds = c n^exponent, by least squares of
the logarithms. Of each figure the least of some runs, in one process that has analysed a study before; CPU of all threads,
so that another process costs nothing but the caches.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from egfr_dls import analysis, biomarkers, settings, stages
from egfr_dls.uids import derived_uid
from egfr_dls.volume import Geometry, Volume
from inference.engine.gate import Scorer
from inference.imaging.resample import Interpolation, volume_onto
from training_export.phantom_dicom import write_phantom
from training_export.phantom_roi import RoiKind
from training_export.phantoms import Phantom, make_phantom

REAL = Path(__file__).parents[2] / "shared" / "data" / "petct_lung_acrin042"
REGION = "pt_segment_1"  # its stored tumour; the other regions are organs
SEED = 7
SHORTEST_FITTED = 0.002  # s; below it the clock and the caches are what grows
Seconds = dict[str, float]

# Row of the table -> the steps of the analysis that it sums (``progress`` names them; "load" and "score" are timed within)
ROWS: Mapping[str, tuple[str, ...]] = {
    "read: files into the spool, and out of it": ("files", "spool"),
    "select: series, roles, reasons": ("series",),
    "SUV: rules and factor": ("suv",),
    "pixels: decode to HU and SUV": ("pixels",),
    "resampling: PET onto the CT grid": ("one grid",),
    "ROI: stored, else proposed": ("regions",),
    "hyper-images, and pictures for the pages": ("networks",),
    "inference: two networks": ("score",),
    "report: SR, SEG, pages, report.html": ("report", "files out"),
}


def main() -> None:
    """Measure, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, default=REAL)
    parser.add_argument("--slices", type=int, nargs="+", default=[60, 120, 240, 480])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        phantoms = {n: written(sliced(make_phantom(SEED), n), folder / f"phantom-{n}") for n in options.slices}
        measured(next(iter(phantoms.values())), folder / "warm")
        parts = []
        if options.study.is_dir():
            columns = {"a stored region": REGION, "proposed regions": None}
            parts.append(real_table({c: least(options.study, folder, options.rounds, p) for c, p in columns.items()}))
        else:
            parts.append(f"The real study is not here ({options.study.name}).\n")
        parts.append(growth_table({n: least(path, folder, options.rounds) for n, path in phantoms.items()}))
    text = "\n".join([heading((load, os.getloadavg()[0]), options.rounds), *parts])
    print(text)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")


def sliced(phantom: Phantom, n: int) -> Phantom:
    """Return the phantom cut into n CT and n PET slices over the same length."""
    ct, pet = phantom.ct_hu, phantom.pet_suv
    return replace(
        phantom,
        ct_hu=_cut(ct, n, outside=-1000.0),
        pet_suv=_cut(pet, n, outside=0.0),
        lesions=(),
    )


def _cut(volume: Volume, n: int, outside: float) -> Volume:
    thick, grid = volume.geometry.spacing_mm[0], volume.geometry
    thin = thick * grid.shape[0] / n
    x, y, z = grid.origin_mm
    finer = Geometry((n, *grid.shape[1:]), (x, y, z + (thin - thick) / 2), (thin, *grid.spacing_mm[1:]), grid.direction)
    voxels = volume_onto(volume.voxels, grid, finer, Interpolation.LINEAR, outside)
    uids = tuple(derived_uid("stages", volume.series_instance_uid, i) for i in range(n))
    return replace(volume, voxels=voxels, geometry=finer, sop_instance_uids=uids)


def written(phantom: Phantom, folder: Path) -> Path:
    """Write a phantom without a region, and return its folder."""
    write_phantom(phantom, folder, RoiKind.NONE)
    return folder


def least(study: Path, folder: Path, rounds: int, region: str | None = None) -> Seconds:
    """Return the least of every figure over some analyses: what disturbs a run only adds to it."""
    runs = [measured(study, folder / "out", region) for _ in range(rounds)]
    return {name: min(run[name] for run in runs) for name in runs[0]}


def measured(study: Path, out: Path, region: str | None = None) -> Seconds:
    """Analyse a study once; CPU seconds of every row, of loading, and wall seconds and counts of the whole.

    Parameters
    ----------
    region
        ``roi_label_pattern`` of the stored tumour; None: what the rules say, else proposals
    """
    gc.collect()  # what an earlier study left
    spent: Seconds = dict.fromkeys([step for steps in ROWS.values() for step in steps] + ["load"], 0.0)
    began, now = "files", time.process_time()

    def progress(step: str) -> None:
        nonlocal began, now
        then, now = now, time.process_time()
        spent[began] = spent.get(began, 0.0) + now - then
        began = step

    started = time.perf_counter()
    site = {"biomarkers": {"pet_ct_egfr": {"roi_label_pattern": region}}} if region else {}
    request = analysis.Request(study, out, None, biomarkers.DEFAULT, (), None)
    with (
        _timed(spent, "load", stages, "inference_handler"),
        _timed(spent, "score", Scorer, "score"),
        analysis.private_settings(lambda own: settings.load(None, own | site)) as loaded,
    ):
        document, _found = analysis.analyse(request, loaded, progress)
    progress("over")
    if document["status"] != "scored":
        raise SystemExit(f"{study.name}: {document['refusal']}")
    spent["files"] -= spent["load"]
    spent["networks"] -= spent["score"]
    return {
        **{row: sum(spent[step] for step in steps) for row, steps in ROWS.items()},
        "load": spent["load"],
        "wall": time.perf_counter() - started,
        "scored slices": sum(len(lesion["slices"]) for lesion in document["lesions"]),
    }


@contextlib.contextmanager
def _timed(spent: Seconds, name: str, owner: Any, function: str) -> Iterator[None]:
    """Add up the CPU seconds of a function while the block runs."""
    original: Callable[..., Any] = getattr(owner, function)

    def call(*what: Any, **how: Any) -> Any:
        started = time.process_time()
        try:
            return original(*what, **how)
        finally:
            spent[name] += time.process_time() - started

    setattr(owner, function, call)
    try:
        yield
    finally:
        setattr(owner, function, original)


def heading(load: tuple[float, float], rounds: int) -> str:
    """Return the title and how it was measured, with the load before and after."""
    return (
        "# Seconds per stage\n\n"
        "Made by `python -m benchmarks.stages --out docs/stage-benchmark.md`: `egfr-dls analyze` with the demonstration "
        f"networks, CPU seconds of all threads, the least of {rounds} runs in one process that had analysed a study before. "
        f"{os.cpu_count()} cores; load {load[0]:.1f} when it began and {load[1]:.1f} when it ended, this process included: the "
        "CPU of others is not counted, what they take of caches and memory is.\n"
    )


def real_table(columns: Mapping[str, Seconds]) -> str:
    """Return the table of the real study."""
    lines = ["## The real study\n", "One thorax, CT of 512 x 512 pixels (`petct_lung_acrin042`).\n"]
    lines += _table(["CPU s", *columns], [[row, *(f"{c[row]:.3f}" for c in columns.values())] for row in ROWS])
    lines += _totals(list(columns.values()))
    return "\n".join(lines) + "\n"


def growth_table(columns: Mapping[int, Seconds]) -> str:
    """Return the table of the phantoms, with the fitted exponent of each row and that of the last doubling."""
    slices = list(columns)
    lines = [
        "## Growth with the number of slices\n",
        "One phantom, cut into n CT slices (192 x 224) and n PET slices (96 x 112); regions are proposed. Exponent 1 is "
        "linear; less has a fixed part (proposals work in cubes of one size, a report has its fonts and templates); somewhat "
        f"more where arrays outgrow the caches. Rows below {1e3 * SHORTEST_FITTED:g} ms are not fitted.\n",
    ]
    rows = []
    for row in ROWS:
        seconds = [c[row] for c in columns.values()]
        rows.append([row, *(f"{s:.3f}" for s in seconds), *_exponents(slices, seconds)])
    sums = [sum(c[row] for row in ROWS) for c in columns.values()]
    rows.append(["**all**", *(f"{s:.3f}" for s in sums), *_exponents(slices, sums)])
    lines += _table(["CPU s", *(f"{n} slices" for n in slices), "exponent", "last step"], rows)
    lines += _totals(list(columns.values()))
    return "\n".join(lines) + "\n"


def _exponents(slices: Sequence[int], seconds: Sequence[float]) -> list[str]:
    if min(seconds) < SHORTEST_FITTED:
        return ["", ""]
    n, s = np.log(slices), np.log(seconds)
    fit, last = np.polyfit(n, s, 1)[0], (s[-1] - s[-2]) / (n[-1] - n[-2])
    return [f"{fit:.2f}", f"{last:.2f}"]


def _totals(columns: Sequence[Seconds]) -> list[str]:
    """Return the lines below a table."""

    def each(name: str, form: str) -> str:
        return ", ".join(format(c[name], form) for c in columns)

    return [
        "",
        f"Scored slices: {each('scored slices', '.0f')}. Wall seconds of the whole command: {each('wall', '.2f')}; "
        f"loading and checking the networks, which a service does once: {each('load', '.2f')} CPU s.",
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---", *("--:" for _ in head[1:])]
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]


if __name__ == "__main__":
    main()
