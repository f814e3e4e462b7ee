"""The tallies as Markdown, with the goals beside the figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.proposals.real_study import Overlap, RealProposal, RealStudy
from benchmarks.proposals.rows import ROWS
from benchmarks.proposals.tally import LesionTally, ScanTally

GOAL_SENSITIVITY = 0.95
GOAL_FALSE_A_SCAN = 0.2
GOAL_DICE = 0.90
GOAL_FIRST_RIGHT = 0.95
GOAL_SECONDS = 2.0
SMALL_BANDS_MM = ((8.0, 9.0), (9.0, 10.0), (10.0, 11.0), (11.0, 12.0))


@dataclass(frozen=True)
class Summary:
    """The figures of some scans."""

    scans: int
    lesions: int
    found: int
    false: int
    dice: tuple[float, float, float]  # median and quartiles, a missed lesion counts as 0
    first_right: int

    @property
    def sensitivity(self) -> float:
        """Share of the lesions that a proposal covers."""
        return self.found / self.lesions

    @property
    def false_a_scan(self) -> float:
        """Proposals that touch no lesion, a scan."""
        return self.false / self.scans


def summary(scans: Sequence[ScanTally]) -> Summary:
    """Return the figures of scans."""
    lesions = [lesion for scan in scans for lesion in scan.lesions]
    median, low, high = np.quantile([lesion.dice for lesion in lesions], (0.5, 0.25, 0.75))
    return Summary(
        scans=len(scans),
        lesions=len(lesions),
        found=sum(lesion.missed_because is None for lesion in lesions),
        false=sum(len(scan.false) for scan in scans),
        dice=(float(median), float(low), float(high)),
        first_right=sum(scan.first_is_right for scan in scans),
    )


def phantom_tables(scans: Sequence[ScanTally]) -> str:
    """Return the goals, a row for each difficulty, what is missed and invented, and the small lesions."""
    by_row = {row: [scan for scan in scans if scan.row == row] for row in ROWS}
    harder = [scan for scan in scans if scan.row.harder]
    lines = [line(row.name, found) for row, found in by_row.items() if found]
    parts = [
        goal_table(harder) if harder else "",
        "\n".join([*heading(COLUMNS), *lines]),
        _causes("Missed, by cause", [(s.row.name, x.missed_because) for s in scans for x in s.lesions]),
        _causes("False proposals, by what they touch", [(s.row.name, cause) for s in scans for cause in s.false]),
        _small([lesion for scan in scans if scan.row.small for lesion in scan.lesions]),
    ]
    return "\n\n".join(part for part in parts if part)


COLUMNS = (
    ("phantoms with", "---"),
    ("scans", "--:"),
    ("lesions found", "--:"),
    ("sensitivity", "--:"),
    ("false a scan", "--:"),
    ("Dice, median (quartiles)", "--:"),
    ("first right", "--:"),
    ("CPU s, median (most)", "--:"),
)
REAL_COLUMNS = (
    ("proposal", "--:"),
    ("ml", "--:"),
    ("SUVmax", "--:"),
    ("hot spots", "--:"),
    ("stored segment", "---"),
    ("of the proposal in it", "--:"),
    ("of it in the proposal", "--:"),
    ("Dice", "--:"),
    ("the proposal's hottest voxel", "---"),
)


def heading(columns: Sequence[tuple[str, str]]) -> list[str]:
    """Return the two lines above a table's body."""
    return [f"| {' | '.join(name for name, _ in columns)} |", f"|{'|'.join(rule for _, rule in columns)}|"]


def line(name: str, scans: Sequence[ScanTally]) -> str:
    """Return one row."""
    s = summary(scans)
    seconds = [scan.cpu_seconds for scan in scans]
    median, low, high = s.dice
    return (
        f"| {name} | {s.scans} | {s.found} of {s.lesions} | {s.sensitivity:.3f} | {s.false_a_scan:.2f} "
        f"| {median:.3f} ({low:.3f}–{high:.3f}) | {s.first_right} of {s.scans} "
        f"| {np.median(seconds):.2f} ({max(seconds):.2f}) |"
    )


def goal_table(harder: Sequence[ScanTally]) -> str:
    """Return the goals beside the figures of all rows that are harder than the reference phantom, lesions from 12 mm."""
    s = summary(harder)
    first = s.first_right / s.scans
    rows = (
        (
            "sensitivity",
            f"≥ {GOAL_SENSITIVITY:.2f}",
            f"{s.sensitivity:.3f} ({s.found} of {s.lesions})",
            s.sensitivity >= GOAL_SENSITIVITY,
        ),
        (
            "false proposals a scan",
            f"≤ {GOAL_FALSE_A_SCAN:.1f}",
            f"{s.false_a_scan:.3f} ({s.false} in {s.scans})",
            s.false_a_scan <= GOAL_FALSE_A_SCAN,
        ),
        ("Dice, median", f"≥ {GOAL_DICE:.2f}", f"{s.dice[0]:.3f}", s.dice[0] >= GOAL_DICE),
        (
            "first proposal right",
            f"≥ {GOAL_FIRST_RIGHT:.2f}",
            f"{first:.3f} ({s.first_right} of {s.scans})",
            first >= GOAL_FIRST_RIGHT,
        ),
    )
    return goals(rows)


def goals(rows: Sequence[tuple[str, str, str, bool]]) -> str:
    """Return a table of goal, figure, and whether it is met."""
    body = [f"| {what} | {goal} | {figure} | {'met' if met else '**not met**'} |" for what, goal, figure, met in rows]
    return "\n".join(["| | goal | measured | |", "|---|--:|--:|---|", *body])


def _causes(title: str, found: Sequence[tuple[str, str | None]]) -> str:
    counted = Counter((row, cause) for row, cause in found if cause is not None)
    if not counted:
        return f"{title}: none."
    body = [f"| {row} | {cause} | {n} |" for (row, cause), n in sorted(counted.items(), key=lambda kv: -kv[1])]
    return "\n".join([f"{title}:", "", "| phantoms with | cause | |", "|---|---|--:|", *body])


def _small(lesions: Sequence[LesionTally]) -> str:
    rows = []
    for low, high in SMALL_BANDS_MM:
        band = [lesion for lesion in lesions if low <= lesion.diameter_mm < high]
        if band:
            found = sum(lesion.missed_because is None for lesion in band)
            middle, seen = (np.median([getattr(x, name) for x in band]) for name in ("dice", "suv_max"))
            rows.append(f"| {low:.0f} to {high:.0f} mm | {found} of {len(band)} | {middle:.3f} | {seen:.1f} |")
    head = [
        "Small lesions:",
        "",
        "| diameter | found | Dice, median | SUVmax as measured, median |",
        "|---|--:|--:|--:|",
    ]
    return "\n".join([*head, *rows]) if rows else ""


def real_table(study: RealStudy) -> str:
    """Return the proposals of the real study with their overlap with its stored segments, and the time of each step."""
    body = [_real_line(n, p, overlap) for n, p in enumerate(study.proposals, 1) for overlap in p.overlaps]
    times = [f"| {step} | {cpu:.2f} |" for step, cpu in study.cpu_seconds.items()]
    met = study.proposing_seconds <= GOAL_SECONDS
    goal = goals(
        [("proposing, thorax of 135 slices, CPU s", f"≤ {GOAL_SECONDS:.0f}", f"{study.proposing_seconds:.2f}", met)]
    )
    return "\n".join([*heading(REAL_COLUMNS), *body, "", "| one core | CPU s |", "|---|--:|", *times, "", goal])


def _real_line(number: int, proposal: RealProposal, overlap: Overlap) -> str:
    where = "inside" if overlap.hottest_inside else "outside"
    return (
        f"| {number} | {proposal.volume_ml:.1f} | {proposal.suv_max:.1f} | {proposal.parts} "
        f"| {overlap.segment} ({overlap.segment_ml:.1f} ml) | {overlap.of_proposal:.2f} | {overlap.of_segment:.2f} "
        f"| {overlap.dice:.3f} | {where} |"
    )
