"""Seconds from the findings until the report is proven at an Orthanc that is well, and the share of each step.

    python -m benchmarks.delivery_time [--studies 5] [--way plain --way tls --way query --way stow]

Each way of delivery has a service with the shipped networks and an Orthanc of its own, in a network namespace (needs root).
Phantoms without a stored region go through, one after the other; the first of the processes does not count. Medians of the
others, as Markdown. `plain` and `tls`: C-STORE and storage commitment; `query`: C-STORE and C-FIND; `stow`: STOW-RS and QIDO-RS.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.orthanc_site import WAYS, site
from tests.system.orthanc import NODE_PORT, network_namespace, running_orthanc
from tests.system.scanner import send_whole
from tests.system.service import Service, running_service
from training_export.phantom_dicom import phantom_datasets
from training_export.phantom_roi import RoiKind
from training_export.phantoms import make_phantom

LIMIT_SECONDS = 300.0
PROVEN = ("delivery_committed", "delivery_verified")
STEPS = (
    "until the reporter has the findings",
    "SEG and report: built, kept, queued",
    "until the SEG is stored at the PACS: connection, transfer, answer",
    "until the report is stored there",
    "until the report is proven there: DELIVERED",
)
WHOLE, PAGES = "findings to delivered", "findings to the last page proven"
Measured = dict[str, float]  # step -> seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=5)
    parser.add_argument("--way", choices=WAYS, action="append")
    options = parser.parse_args()
    found = {}
    for way in options.way or WAYS:
        with tempfile.TemporaryDirectory(prefix="delivery-time-") as folder:
            found[way] = measured(Path(folder), way, options.studies)
    print(table(found))


def measured(folder: Path, way: str, studies: int) -> list[Measured]:
    """Return the steps of so many studies, delivered in one way."""
    sections, keys = site(folder, way)
    with (
        network_namespace() as namespace,
        running_orthanc(folder / "orthanc", namespace, **keys),
        running_service(folder / "node", sections, prefix=namespace.prefix) as service,
    ):
        found = []
        for seed in range(1, studies + 2):
            datasets = list(phantom_datasets(make_phantom(seed), RoiKind.NONE).values())
            namespace.call(send_whole, NODE_PORT, datasets)
            document = service.wait_until_all_is_sent(str(datasets[0].StudyInstanceUID), seconds=LIMIT_SECONDS)
            found.append(steps(service, document["study_key"]))
    return found[1:]


def steps(service: Service, study_key: str) -> Measured:
    """Return what the log says of a study, in seconds; the steps follow one another."""
    found_at, built_at = (_at(service, event, study_key) for event in ("study_analysed", "report_built"))
    (built,) = service.events("report_built", study_key=study_key)
    seg_at, report_at = (_at(service, "delivery_stored", study_key, kind=kind) for kind in ("roi", "report"))
    proven = {line["kind"]: _seconds(line) for event in PROVEN for line in service.events(event, study_key=study_key)}
    times = (found_at, built_at - built["seconds"], built_at, seg_at, report_at, proven["report"])
    spans = {step: end - begin for step, begin, end in zip(STEPS, times, times[1:], strict=False)}
    return {**spans, WHOLE: proven["report"] - found_at, PAGES: max(proven.values()) - found_at}


def table(found: Mapping[str, Sequence[Measured]]) -> str:
    """Return the medians as Markdown: seconds, and of a step its share of the whole."""
    lines = [
        _row([f"seconds, median of {min(map(len, found.values()))}", *found]),
        _row(["---", *("--:" for _ in found)]),
    ]
    rows = (*STEPS, WHOLE, PAGES)
    lines += [_row([step, *(_cell(studies, step) for studies in found.values())]) for step in rows]
    return "\n".join(lines)


def _cell(studies: Sequence[Measured], step: str) -> str:
    seconds, whole = (statistics.median(study[name] for study in studies) for name in (step, WHOLE))
    return f"{seconds:.2f} ({seconds / whole:.0%})" if step in STEPS else f"{seconds:.2f}"


def _at(service: Service, event: str, study_key: str, **fields: object) -> float:
    (line,) = service.events(event, study_key=study_key, **fields)
    return _seconds(line)


def _seconds(line: Mapping[str, Any]) -> float:
    return datetime.fromisoformat(str(line["timestamp"])).timestamp()


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
