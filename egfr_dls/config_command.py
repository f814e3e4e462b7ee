"""`egfr-dls config`: what the service would run with, whether it may, and the schema of the file."""

from __future__ import annotations

import json
from pathlib import Path

import click

from egfr_dls import settings
from egfr_dls.ledger.engine import ledger_url

SCHEMA = "egfr-dls-config/1"
config_option = click.option("--config", type=click.Path(dir_okay=False, path_type=Path), help="TOML file.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


@click.group()
def config() -> None:
    """Show, check and describe the configuration."""


@config.command()
@config_option
@json_option
def show(config: Path | None, as_json: bool) -> None:  # click passes flags so
    """Print every setting with its value in force, defaults and environment included."""
    values = settings.load_or_default(config).model_dump(mode="json")
    if values["ledger"]["url"]:
        values["ledger"]["url"] = ledger_url(values["ledger"]["url"]).render_as_string(hide_password=True)
    if as_json:
        click.echo(json.dumps({"schema": SCHEMA, **values}))
        return
    for section, keys in values.items():
        for key, value in keys.items() if isinstance(keys, dict) else [("", keys)]:
            click.echo(f"{section}{'.' if key else ''}{key} = {json.dumps(value)}")


@config.command()
@config_option
@json_option
def check(config: Path | None, as_json: bool) -> None:
    """Check the file and end with 0, or say what is wrong and end with 78."""
    loaded = settings.load(config)
    ledger_url(loaded.ledger_url)
    if as_json:
        click.echo(json.dumps({"schema": SCHEMA, "status": "ok"}))
        return
    click.echo(f"ok: {len(loaded.listener.peers)} peers, {len(loaded.destinations)} destinations")
    if not loaded.listener.peers and not loaded.listener.accept_any_peer:
        click.echo("note: no [[listener.peers]]: nobody may send to this node", err=True)
    if not loaded.destinations:
        click.echo("note: no [[destinations]]: results stay on this node", err=True)
    if loaded.context is not None and not loaded.context.folder.is_dir():
        click.echo(
            f"note: [context] folder {loaded.context.folder} is not there: clinical facts stay unknown", err=True
        )


@config.command()
@json_option
def schema(as_json: bool) -> None:  # noqa: ARG001  # the schema is JSON either way
    """Print the JSON Schema of the file."""
    click.echo(json.dumps(settings.Settings.model_json_schema(), indent=2))
