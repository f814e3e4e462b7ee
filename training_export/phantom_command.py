"""``egfr-dls phantom``: synthetic DICOM studies with known truth."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.progress import track

from training_export.phantom_dicom import write_phantom
from training_export.phantom_roi import RoiKind
from training_export.phantoms import make_phantom


@click.group()
def phantom() -> None:
    """Write synthetic DICOM studies with known truth (truth.json beside them)."""


@phantom.command("pet-ct")
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Same seed, same bytes.")
@click.option(
    "--roi",
    type=click.Choice([kind.value for kind in RoiKind]),
    default=RoiKind.SEG.value,
    show_default=True,
    help="How the lesions are stored.",
)
@click.option(
    "--count",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Studies with rising seeds; more than one: OUT/0001, OUT/0002 and so on.",
)
def pet_ct(out: Path, seed: int, roi: str, count: int) -> None:
    """Write FDG PET/CT studies of a chest with one to three lesions into the folder OUT."""
    numbers = track(range(count), description="phantoms", console=Console(stderr=True), disable=count == 1)
    for i in numbers:
        write_phantom(make_phantom(seed + i), out if count == 1 else out / f"{i + 1:04d}", RoiKind(roi))
