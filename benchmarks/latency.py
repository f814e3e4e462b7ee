"""From the last answer to a sender until the report is at the PACS, split into its parts; memory and CPU of each stage.

    PYTHONPATH=. python benchmarks/latency.py [--rounds 3] [--study FOLDER]

Each round is a new service with the shipped networks: a phantom (the first study of its processes), another phantom, the study
in FOLDER (default: the real one of the reference data, where that is found). The service's quiet time is taken off. "everything
else" is what the service adds to reading, regions, networks and report: until the release is indexed, until jobs are claimed,
and the way of the SEG and the structured report (what a report consists of) to the PACS. CPU and memory of a stage are those of
all its processes (what they share is counted in each). The result is Markdown; medians over the rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.uid import Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage

import inference.models
from tests.conftest import REPOSITORY
from tests.listener.nodes import paused
from tests.system.pacs import ScriptedPacs, running_pacs
from tests.system.scanner import association, store
from tests.system.service import QUIET_SECONDS, Service, running_service, service_sections
from training_export.phantom_dicom import phantom_datasets
from training_export.phantom_roi import RoiKind
from training_export.phantoms import make_phantom

REAL_STUDY = Path(os.environ.get("SHARED_DATA", REPOSITORY.parent / "shared" / "data")) / "petct_lung_acrin042"
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
LIMIT_SECONDS = 600.0
STAGES = ("listener", "inference", "reporter")
REPORTS = {Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage}
NOT_READING = ("regions", "networks")
Measured = dict[str, float]


def main() -> None:
    """Run the rounds and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--study", type=Path, default=REAL_STUDY)
    options = parser.parse_args()
    latencies: dict[str, list[Measured]] = defaultdict(list)
    processes: dict[str, list[Measured]] = defaultdict(list)
    for round_number in range(options.rounds):
        with tempfile.TemporaryDirectory(prefix="latency-") as folder:
            _round(Path(folder), round_number, options.study, latencies, processes)
    print(_table(f"seconds, median of {options.rounds}", latencies, 2))
    print(_table("after all of them", processes, 1))


def _round(
    folder: Path, number: int, real: Path, latencies: dict[str, list[Measured]], processes: dict[str, list[Measured]]
) -> None:
    studies = [
        ("first phantom of the process", _phantom(2 * number + 1)),
        ("next phantom", _phantom(2 * number + 2)),
    ]
    if real.is_dir():
        studies.append((real.name, [dcmread(path) for path in sorted(real.rglob("*.dcm"))]))
    models = Path(inference.models.__file__).parent
    with (
        running_pacs() as pacs,
        running_service(folder, service_sections(folder, models, pacs.port, reporting={"pages": True})) as service,
    ):
        before = _cpu_seconds(service)
        for name, datasets in studies:
            measured = _latency(service, pacs, datasets)
            after = _cpu_seconds(service)
            measured |= {f"CPU {stage}": after[stage] - before[stage] for stage in ("listener", "reporter")}
            measured["CPU listener + reporter"] = measured["CPU listener"] + measured["CPU reporter"]
            before = after  # what a study leaves to be done behind its last result counts for the next one
            latencies[f"{name}, {len(datasets)} instances"].append(measured)
        for stage in STAGES:
            processes[stage].append({"peak memory, MB": sum(map(_peak_mb, _family(service.pids()[stage])))})


def _phantom(seed: int) -> list[Dataset]:
    return list(phantom_datasets(make_phantom(seed), RoiKind.SEG).values())


def _latency(service: Service, pacs: ScriptedPacs, datasets: list[Dataset]) -> Measured:
    uid = str(datasets[0].StudyInstanceUID)
    with association(service.port, datasets) as assoc:
        for ds in datasets:
            paused(assoc)
            assert store(assoc, ds) == 0x0000
        last_answer = time.time()
    document = service.wait_until_all_is_sent(uid, seconds=LIMIT_SECONDS)
    key = document["study_key"]
    analysed, built = (service.events(event, study_key=key)[0] for event in ("study_analysed", "report_built"))
    steps = document["findings"]["timings_seconds"]
    arrivals = [request.at for request in pacs.of_study(uid)]
    report_at = next(r.at for r in pacs.of_study(uid) if r.sop_class_uid in REPORTS)
    parts = {
        "reading (spool, headers, SUV, pixels, one grid)": analysed["seconds"] - sum(steps[s] for s in NOT_READING),
        "regions": steps["regions"],
        "networks": steps["networks"],
        "report (SEG and SR, kept and queued)": built["seconds"],
    }
    whole = report_at - last_answer - QUIET_SECONDS
    waits = {
        "until the study is complete": _at(service, "study_complete", key) - last_answer - QUIET_SECONDS,
        "from the report's end to its arrival at the PACS": report_at - _at(service, "report_built", key),
    }
    return {"last answer to report": whole, **parts, "everything else": whole - sum(parts.values()),
            **{f"... of it {name}": value for name, value in waits.items()},
            "last answer to last page": max(arrivals) - last_answer - QUIET_SECONDS}  # fmt: skip


def _at(service: Service, event: str, study_key: str) -> float:
    (line, *_) = service.events(event, study_key=study_key)
    return datetime.fromisoformat(str(line["timestamp"])).timestamp()


def _cpu_seconds(service: Service) -> dict[str, float]:
    return {stage: sum(map(_ticks, _family(pid))) / CLOCK_TICKS for stage, pid in service.pids().items()}


def _family(pid: int) -> list[int]:
    """Return a stage's process and those that it forked (the listener's indexer and further receivers)."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    children = [int(child) for task in tasks for child in task.read_text(encoding="ascii").split()]
    return [pid, *(descendant for child in children for descendant in _family(child))]


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])  # utime, stime (proc(5), counted behind the name)


def _peak_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(kilobytes) / 1024


def _table(title: str, columns: dict[str, list[Measured]], digits: int) -> str:
    names = list(columns)
    rows: Iterable[str] = next(iter(columns.values()))[0]
    lines = [_line([title, *names]), _line(["---", *("--:" for _ in names)])]
    lines += [_line([row, *(f"{_median(columns[n], row):.{digits}f}" for n in names)]) for row in rows]
    return "\n".join(lines) + "\n"


def _median(rounds: Sequence[Measured], row: str) -> float:
    return statistics.median(measured[row] for measured in rounds)


def _line(cells: Sequence[Any]) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


if __name__ == "__main__":
    main()
