"""`egfr-dls models`: which networks are installed, and what each of them says of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from egfr_dls import settings
from egfr_dls.errors import UsageError
from inference.models.card_text import card_text
from inference.models.catalogue import read_catalogue
from inference.models.manifest import ModelPackage
from inference.models.signature import Trust
from inference.verify_command import verify_models

SCHEMA = "egfr-dls-models/1"
config_option = click.option("--config", type=click.Path(dir_okay=False, path_type=Path), help="TOML file.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


@click.group()
def models() -> None:
    """List, show, verify, import, describe and sign model packages; every file's digest is checked."""


models.add_command(verify_models)


@models.command(name="list")
@config_option
@json_option
def list_models(config: Path | None, as_json: bool) -> None:
    """Print one line a package."""
    packages = _installed(config)
    if as_json:
        click.echo(json.dumps({"schema": SCHEMA, "models": [_facts(p) for p in packages]}))
        return
    table = Table("name", "version", "task", "status", "preprocessing", "sha256 of model.onnx", box=None)
    for package in packages:
        manifest = package.manifest
        recipe = manifest.preprocessing.id if manifest.preprocessing else "none: no biomarker takes it"
        table.add_row(manifest.name, manifest.version, manifest.task, manifest.status, recipe, package.sha256[:16])
    Console().print(table)


@models.command()
@click.argument("name")
@config_option
@json_option
def show(name: str, config: Path | None, as_json: bool) -> None:
    """Print card and manifest of package NAME (or NAME@VERSION, where several versions are installed)."""
    package = _named(_installed(config), name)
    if as_json:
        click.echo(json.dumps({"schema": SCHEMA, "model": _facts(package)}))
        return
    click.echo(card_text(package.manifest))
    for key, value in _flat("", _facts(package)):
        click.echo(f"{key} = {value if isinstance(value, str) else json.dumps(value)}")


def _installed(config: Path | None) -> tuple[ModelPackage, ...]:
    inference = settings.load_or_default(config).inference
    return read_catalogue(inference.models, Trust.of(inference))


def _named(packages: tuple[ModelPackage, ...], name: str) -> ModelPackage:
    found = [p for p in packages if name in (p.manifest.name, p.key)]
    if len(found) == 1:
        return found[0]
    known = ", ".join(p.key for p in found or packages)
    raise UsageError(
        f"{name}: {'several versions are' if found else 'no such package is'} installed; name one of {known}"
    )


def _facts(package: ModelPackage) -> dict[str, Any]:
    facts = package.manifest.model_dump(mode="json", exclude={"schema_"})
    signature = {"state": package.signature.state, "key": package.signature.key}
    return {"key": package.key, "folder": str(package.folder), "signature": signature, **facts}


def _flat(prefix: str, facts: dict[str, Any]) -> list[tuple[str, Any]]:
    lines: list[tuple[str, Any]] = []
    for key, value in facts.items():
        lines += _flat(f"{prefix}{key}.", value) if isinstance(value, dict) and value else [(prefix + key, value)]
    return lines
