"""``egfr-dls models verify``: are the files those that were packed, who signed them, and do they compute the same here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from egfr_dls import settings
from egfr_dls.errors import ConfigurationError, ExitCode, UsageError
from inference.engine.verification import CANDIDATES, Check, Outcome, verify
from inference.models.catalogue import package_folders
from inference.models.manifest import MANIFEST_NAME, ModelPackage
from inference.models.signature import SignatureState, Trust

SCHEMA = "egfr-dls-model-verify/1"
PACKAGE_FAULTY, GOLDEN_DIFFERS, NOT_RUN = "PACKAGE_FAULTY", "GOLDEN_DIFFERS", "NOT_RUN"
SIGNED = {
    SignatureState.NONE: "not signed",
    SignatureState.UNCHECKED: "signed, not checked: [inference] trusted_keys names no key",
    SignatureState.TRUSTED: "by the trusted key",
}


@dataclass(frozen=True)
class Verified:
    """One package folder: what was read of it and how its golden tests ended, or why it is refused."""

    folder: Path
    package: ModelPackage | None
    checks: tuple[Check, ...] = ()
    refusal: tuple[str, str] | None = None


@click.command(name="verify")
@click.argument("what", metavar="[NAME|DIR]", required=False)
@click.option("--backend", type=click.Choice(list(CANDIDATES)), help="Only this one; default: every one.")
@click.option("--config", type=click.Path(dir_okay=False, path_type=Path), help="TOML file.")
@click.option("--json", "as_json", is_flag=True, help=f"Print one JSON document ({SCHEMA}).")
def verify_models(what: str | None, backend: str | None, config: Path | None, *, as_json: bool) -> None:
    """Check digests and signature of a package (default: of each that is installed) and run its golden test here."""
    inference = settings.load_or_default(config).inference
    trust, names = Trust.of(inference), [backend] if backend else list(CANDIDATES)
    folders = [Path(what)] if what and Path(what).is_dir() else package_folders(inference.models)
    with Console(stderr=True).status("golden tests"):
        read = [(folder, *_read(folder, trust)) for folder in folders]
        wanted = read if what is None or Path(what).is_dir() else [found for found in read if _is_named(what, *found)]
        if not wanted:
            known = ", ".join(package.key if package else folder.name for folder, package, _ in read)
            raise UsageError(f"{what}: no such package is installed, and no folder; installed: {known}")
        verified = [_verified(folder, package, problem, names) for folder, package, problem in wanted]
    if as_json:
        click.echo(json.dumps(_document(verified)))
    else:
        _print(verified)
    if any(found.refusal for found in verified):
        raise SystemExit(ExitCode.REFUSED)


def _read(folder: Path, trust: Trust) -> tuple[ModelPackage | None, str | None]:
    try:
        return ModelPackage.read(folder, trust), None
    except ConfigurationError as error:
        return None, str(error)


def _is_named(name: str, folder: Path, package: ModelPackage | None, _problem: str | None) -> bool:
    return name == folder.name if package is None else name in (package.manifest.name, package.key)


def _verified(folder: Path, package: ModelPackage | None, problem: str | None, backends: list[str]) -> Verified:
    if package is None:
        return Verified(folder, None, refusal=(PACKAGE_FAULTY, problem or ""))
    try:
        checks = verify(package, backends)
    except ConfigurationError as error:
        return Verified(folder, package, refusal=(PACKAGE_FAULTY, str(error)))
    return Verified(folder, package, checks, _refusal(checks))


def _refusal(checks: tuple[Check, ...]) -> tuple[str, str] | None:
    failed = [f"{c.backend} {c.precision}: {c.reason}" for c in checks if c.outcome is Outcome.FAILED]
    if failed:
        return GOLDEN_DIFFERS, "; ".join(failed)
    if all(c.outcome is Outcome.NOT_AVAILABLE for c in checks):
        return NOT_RUN, "; ".join(f"{c.backend}: {c.reason}" for c in checks)
    return None


# --- what is printed --------------------------------------------------------------------------------------------------


def _document(verified: list[Verified]) -> dict[str, Any]:
    refused = [found for found in verified if found.refusal]
    return {
        "schema": SCHEMA,
        "status": "refused" if refused else "verified",
        "refusal": _code_and_message(refused[0]) if refused else None,
        "models": [_facts(found) for found in verified],
    }


def _facts(found: Verified) -> dict[str, Any]:
    package = found.package
    return {
        "key": package.key if package else None,
        "folder": str(found.folder),
        "status": "refused" if found.refusal else "verified",
        "refusal": _code_and_message(found),
        "files": sorted([MANIFEST_NAME, *package.manifest.files]) if package else [],
        "signature": {"state": package.signature.state, "key": package.signature.key} if package else None,
        "checks": [_check_facts(check) for check in found.checks],
    }


def _code_and_message(found: Verified) -> dict[str, str] | None:
    return None if found.refusal is None else dict(zip(("code", "message"), found.refusal, strict=True))


def _check_facts(check: Check) -> dict[str, Any]:
    return {
        "backend": check.backend,
        "precision": check.precision,
        "status": check.outcome,
        "reason": check.reason,
        "library_version": check.library_version,
        "hidden": check.deviation.hidden if check.deviation else None,
        "outputs": [
            {"output": output, "difference": difference, "tolerance": allowed}
            for output, difference, allowed in _outputs(check)
        ],
    }


def _outputs(check: Check) -> Iterator[tuple[str, float | None, float]]:
    """Yield output, difference (null: not a number) and tolerance; ``cam`` and ``logits`` relative to their largest."""
    found, allowed = check.deviation, check.tolerance
    if found is None or allowed is None:
        return
    rows = (
        ("prob", found.prob, allowed.prob),
        ("cam", found.cam_rel, allowed.cam_rel),
        ("logits", found.logit_rel, allowed.logit_rel),
    )
    for output, difference, limit in rows:
        if difference is not None:
            yield output, difference if difference < float("inf") else None, limit


def _print(verified: list[Verified]) -> None:
    for found in verified:
        click.echo(f"{found.package.key if found.package else found.folder.name} in {found.folder}")
        if found.package is not None:
            click.echo(f"  files: {', '.join(sorted(found.package.manifest.files))}: digests as stated")
            signature = found.package.signature
            click.echo(f"  signature: {SIGNED[signature.state]}{f' {signature.key}' if signature.key else ''}")
        for check in found.checks:
            click.echo(f"  {_line(check)}")
        if hidden := max((check.deviation.hidden for check in found.checks if check.deviation), default=0):
            click.echo(f"  {hidden} golden probabilities are exactly 0 or 1: what lies behind them is not compared")
        click.echo(f"  REFUSED {': '.join(found.refusal)}" if found.refusal else "  verified")


def _line(check: Check) -> str:
    name = f"{check.backend} {check.precision}" if check.precision else check.backend
    result = check.outcome.replace("_", " ")
    told = f"{result}: {check.reason}" if check.outcome is Outcome.NOT_AVAILABLE else result
    compared = (f"{output} {_shown(difference)} of {limit:g}" for output, difference, limit in _outputs(check))
    return ", ".join([f"{name}: {told}", *compared])


def _shown(difference: float | None) -> str:
    return "no number" if difference is None else f"{difference:.2g}"
