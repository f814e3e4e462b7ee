"""``egfr-dls models card``: what is known of a network, put into its package."""

from __future__ import annotations

from pathlib import Path

import click

from egfr_dls.errors import UsageError
from inference.models.card import Card
from inference.models.card_text import card_text
from inference.models.manifest import MANIFEST_NAME, ModelPackage
from inference.models.signature import SIGNATURE_NAME
from training_export.model_card import read_evaluations, read_facts
from training_export.package_writer import write_manifest

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(name="card")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--facts", type=FILE, help="TOML: intended use, limits, training data.")
@click.option("--evaluation", "evaluations", type=FILE, multiple=True, help="JSON of egfr-dls evaluate; repeatable.")
def write_card(folder: Path, facts: Path | None, evaluations: tuple[Path, ...]) -> None:
    """Write the card of the package in DIR anew, from facts and measured figures; what is not given stays as it was."""
    if facts is None and not evaluations:
        raise UsageError("nothing to write; needed: --facts FILE, --evaluation FILE, or both")
    package = ModelPackage.read(folder)
    before = package.manifest.card or Card()
    stated = read_facts(facts) if facts else before
    measured = [found for path in evaluations for found in read_evaluations(path, package.manifest.task)]
    card = Card(
        **stated.model_dump(exclude={"evaluations"}),
        evaluations=tuple(measured) or before.evaluations,
    )
    was_signed = (folder / SIGNATURE_NAME).exists()
    document = package.manifest.model_dump(mode="json", by_alias=True) | {"card": card.model_dump(mode="json")}
    package = write_manifest(folder, document)
    click.echo(card_text(package.manifest))
    if was_signed:
        click.echo(f"the signature was of the {MANIFEST_NAME} before and is removed: sign the package again", err=True)
