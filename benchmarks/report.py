"""CPU and wall seconds of building a report, by its parts, and the peak memory of the process.

    PYTHONPATH=. python benchmarks/report.py [--rounds 5] [--slices 19 120]

Each case is the tests' synthetic study with that many scored slices, two images (CT and PET) each, activation maps and one
proposed region on a CT of 512 x 512 pixels. Medians, as Markdown.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from egfr_dls.evidence import EvidenceImages, LesionEvidence
from egfr_dls.findings import SliceFinding
from reporting.build import ReportObject, prepare, to_bytes
from reporting.refusal_sr import refusal_report
from reporting.secondary_capture import page_images
from reporting.seg import segmentation
from reporting.source_header import SourceImages
from reporting.sr import score_report
from tests.builders import CT_SERIES_UID, PET_SERIES_UID, ct_slices, pet_slices
from tests.reporting.report_cases import Case, headers, lesion_evidence, lesion_finding, scored, scored_findings

CT_PIXELS = 512
Seconds = tuple[float, float]  # CPU, wall


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slices", type=int, nargs="+", default=[19, 120])
    options = parser.parse_args()
    loading = _seconds(prepare)
    first = _seconds(lambda: _built(scored().with_pages()))
    columns = {f"{2 * n} images": _median(_case(n), options.rounds) for n in options.slices}
    print(_line(["CPU / wall, ms", *columns]))
    print(_line(["---", *("--:" for _ in columns)]))
    for part in next(iter(columns.values())):
        print(_line([part, *(f"{1e3 * c[part][0]:.0f} / {1e3 * c[part][1]:.0f}" for c in columns.values())]))
    print(f"\nloaded once, at the start of the process: {1e3 * loading[0]:.0f} / {1e3 * loading[1]:.0f} ms")
    print(f"first report of the process, 6 images: {1e3 * first[0]:.0f} / {1e3 * first[1]:.0f} ms")
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


def _case(slices: int) -> Case:
    """Return a scored study of that many scored slices, two images each."""
    ct = ct_slices(np.zeros((slices, 32, 32)))
    pet = pet_slices(np.zeros((slices, 16, 16)))
    for ds in ct:
        ds.Rows = ds.Columns = CT_PIXELS
    finding = lesion_finding(
        slices=tuple(
            SliceFinding(4.0 * z, 0.7, 0.3, f"{CT_SERIES_UID}.{z + 1}", f"{PET_SERIES_UID}.{z + 1}", 48.0, 14.0)
            for z in range(slices)
        )
    )
    read = tuple(f"{series}.{z + 1}" for series in (CT_SERIES_UID, PET_SERIES_UID) for z in range(slices))
    evidence = EvidenceImages((_evidence(slices),), pet_is_suv=True)
    findings = scored_findings(lesions=(finding,), images_read=read)
    return Case(findings, evidence, SourceImages(headers([*ct, *pet]), pet[0])).with_pages()


def _evidence(slices: int) -> LesionEvidence:
    small = lesion_evidence()
    crops = ("ct_hu", "pet", "roi", "box", "cam_positive", "cam_negative")
    mask = np.zeros((slices, CT_PIXELS, CT_PIXELS), dtype=bool)
    mask[:, 200:230, 200:230] = True
    return replace(
        small,
        mask=mask,
        mask_sop_instance_uids=tuple(f"{CT_SERIES_UID}.{z + 1}" for z in range(slices)),
        **{name: np.repeat(getattr(small, name)[:1], slices, axis=0) for name in crops},
    )


def _built(case: Case) -> tuple[ReportObject, ...]:
    return tuple(case.build_all())


def _parts(case: Case) -> dict[str, Callable[[], Any]]:
    roi = segmentation(case.context)
    objects = _built(case)
    report = score_report if case.context.scored else lambda context, _roi: refusal_report(context)
    return {
        "SEG": lambda: segmentation(case.context),
        "pages": lambda: page_images(case.context),
        "SR": lambda: report(case.context, roi),
        "build_objects": lambda: _built(case),
        "encoding": lambda: [to_bytes(made) for made in objects],
    }


def _median(case: Case, rounds: int) -> dict[str, Seconds]:
    measured = {name: [_seconds(part) for _ in range(rounds)] for name, part in _parts(case).items()}
    return {name: (_middle(s[0] for s in m), _middle(s[1] for s in m)) for name, m in measured.items()}


def _middle(values: Any) -> float:
    return statistics.median(values)


def _seconds(work: Callable[[], Any]) -> Seconds:
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
