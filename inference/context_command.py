"""`egfr-dls context`: which files of clinical facts count, and what is wrong with the others."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from egfr_dls import settings
from egfr_dls.errors import ConfigurationError, ExitCode
from inference.context.entries import FaultyFileError
from inference.context.folder import DroppedFile, Folder

SCHEMA = "egfr-dls-context/1"


@click.command()
@click.option("--config", type=click.Path(dir_okay=False, path_type=Path), help="TOML file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def context(config: Path | None, as_json: bool) -> int:
    """Check every file in [context] folder, by name; nothing is taken over."""
    section = settings.load_or_default(config).context
    if section is None:
        raise ConfigurationError("context is missing; needed: [context] folder, where the site leaves clinical facts")
    try:
        folder = Folder(section.folder)
        files = [_judged(folder, file) for file in folder.files()]
    except OSError as error:
        raise ConfigurationError(f"context.folder {section.folder}: {error.strerror}") from error
    if as_json:
        click.echo(json.dumps({"schema": SCHEMA, "files": files}))
    else:
        for file in files:
            click.echo(f"{file['name']}: {_sentence(file)}")
        click.echo(f"{len(files)} files in {section.folder}")
    return int(ExitCode.REFUSED if any(file["code"] for file in files) else ExitCode.DONE)


def _judged(folder: Folder, file: DroppedFile) -> dict[str, Any]:
    """Return a file's name, how many entries it has (null: still being written), and what is wrong with it (null: nothing)."""
    judged: dict[str, Any] = {"name": file.name, "entries": None, "code": None, "message": None}
    try:
        entries = folder.read(file, time.time())
    except FaultyFileError as fault:
        return judged | {"code": fault.code.value, "message": str(fault)}
    return judged if entries is None else judged | {"entries": len(entries)}


def _sentence(file: dict[str, Any]) -> str:
    if file["code"]:
        return f"does not count: {file['code']}, {file['message']}"
    return "still being written" if file["entries"] is None else f"entries: {file['entries']}"
