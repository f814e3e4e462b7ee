"""The documentation keeps up: whatever the operator can set, call, read or be told has its line in ``docs/reference``."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from pydantic import BaseModel

from egfr_dls import cli
from egfr_dls.codes import not_scored_code
from egfr_dls.delivery import DeliveryState
from egfr_dls.errors import ExitCode
from egfr_dls.findings import LESION_KEYS, MODEL_KEYS, SLICE_KEYS
from egfr_dls.refusals import SCALE_FAILURES, RefusalCode, WarningCode
from egfr_dls.settings import Settings
from egfr_dls.settings_faults import NOT_IN_THIS_VERSION
from egfr_dls.telemetry import ALLOWED_KEYS
from inference.biomarkers.clinical_context import ClinicalContext
from inference.biomarkers.pet_ct_egfr.pathway import TABLE, Level
from inference.imaging.suv_checks import CHECKS, FactorSource
from inference.imaging.suv_times import ReferenceSource

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
PACKAGES = ("egfr_dls", "listener", "inference", "reporting", "training_export")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def page(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


def rows(text: str) -> dict[str, list[list[str]]]:
    """Return the rows of all tables by the code words (in back-ticks) of their first cell."""
    found: dict[str, list[list[str]]] = {}
    for line in text.splitlines():
        if line.startswith("|"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))]
            for word in re.findall(r"`([^`]+)`", cells[0]):
                found.setdefault(word, []).append(cells)
    return found


def section(text: str, heading: str) -> str:
    """Return what stands under a heading that begins so."""
    return next(part for part in re.split(r"^## ", text, flags=re.M) if part.startswith(heading))


# --- configuration ----------------------------------------------------------------------------------------------------


def leaves(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, str, object]]:
    """Yield (section, key, default); arrays of tables are sections of their own."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        inner = (getattr(kind, "__args__", ()) or (kind,))[0]
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from leaves(inner, f"{path}.{name}" if path else name)
        else:
            yield path, name, "must be given" if field.is_required() else field.default


def _printed(default: object) -> str:
    """Return a default as TOML writes it; "none" where there is no value."""
    if default is None or default == ():
        return "none"
    if isinstance(default, bool) or default == "must be given":
        return str(default).lower()
    return f'"{default}"' if isinstance(default, str) else f"{default}"


SECTIONS = {
    "listener": "`[listener]`", "listener.peers": "`[listener]`", "listener.tls": "`[listener.tls]`",
    "study": "`[study]`", "storage": "`[storage]`", "storage.s3": "`[storage]`",
    "ledger": "`[ledger]`", "inference": "`[inference]`", "biomarkers.pet_ct_egfr": "`[biomarkers.pet_ct_egfr]`",
    "reporting": "`[reporting]`", "destinations": "`[[destinations]]`", "destinations.tls": "`[[destinations]]`",
    "sources": "`[[sources]]`", "sources.tls": "`[[sources]]`", "context": "`[context]`", "http": "`[http]`",
    "logging": "`[logging]`",
}  # fmt: skip


@pytest.mark.parametrize(("path", "key", "default"), [pytest.param(*x, id=f"{x[0]}.{x[1]}") for x in leaves(Settings)])
def test_every_setting_has_its_line_with_its_default(path: str, key: str, default: object) -> None:
    lines = rows(section(page("configuration.md"), SECTIONS[path]))[key]
    wanted = {_printed(default), f"`{_printed(default)}`"}
    assert any(line[1] in wanted for line in lines), f"{key}: {default!r} in {lines}"


def test_every_key_of_a_later_version_is_listed() -> None:
    listed = set(rows(section(page("configuration.md"), "Keys of later versions")))
    assert listed == set(NOT_IN_THIS_VERSION)


# --- commands ---------------------------------------------------------------------------------------------------------


def commands(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{path}{name} ")
        else:
            yield path + name, command


COMMANDS = dict(commands(cli.cli))  # type: ignore[arg-type]  # click's decorator is typed as a command


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_flag_is_described(name: str) -> None:
    text = page("commands.md")
    assert re.search(rf"`(egfr-dls )?{name}\b", text), name
    described = (
        section(text, f"`{name.split()[0]}`") if f"## `{name.split()[0]}`" in text else section(text, "The service")
    )
    for option in COMMANDS[name].params:
        if isinstance(option, click.Option) and not option.hidden:
            flag = option.opts[0]
            assert flag in described or flag == "--config", f"{name} {flag}"


@pytest.mark.parametrize("code", ExitCode)
def test_every_exit_code_is_described(code: ExitCode) -> None:
    assert re.search(rf"^\| {int(code)} \| {code.name.lower()} \|", page("commands.md"), re.M)


def test_every_key_of_the_documents_is_named() -> None:
    text = page("commands.md")
    keys = {
        *LESION_KEYS,
        *SLICE_KEYS,
        *MODEL_KEYS,
        *ClinicalContext.__dataclass_fields__,
        *FactorSource,
        *ReferenceSource,
    }
    assert sorted(k for k in keys if not re.search(rf"\b{k}\b", text)) == []


# --- refusals, warnings, SUV, pathway ---------------------------------------------------------------------------------


@pytest.mark.parametrize("code", RefusalCode)
def test_every_refusal_has_its_line_with_the_code_of_the_report(code: RefusalCode) -> None:
    text = page("refusals.md").split("\n## Warnings")[0]
    (line,) = rows(text)[code]
    assert line[1] == not_scored_code(code).value
    assert all(line), "meaning, advice and example"
    if code.startswith("SUV_") or code is RefusalCode.NOT_FDG:
        assert line[2] == ("yes" if code in SCALE_FAILURES else "no")


@pytest.mark.parametrize("code", WarningCode)
def test_every_warning_has_its_line(code: WarningCode) -> None:
    (line,) = rows(section(page("refusals.md"), "Warnings"))[code]
    assert len(line) == 4
    assert all(line), "meaning, advice and example"


def test_every_suv_code_stands_among_the_rules() -> None:
    text = page("suv.md")
    codes = [c for c in (*RefusalCode, *WarningCode) if c.startswith("SUV_")]
    told_elsewhere = {WarningCode.SUV_OMITTED, WarningCode.SUV_WEIGHT_IN_GRAMS, WarningCode.SUV_DOSE_IN_MBQ}
    assert [c for c in codes if f"`{c}`" not in text and c not in told_elsewhere] == []
    assert len(CHECKS) == 10, "a check was added or taken away: write its line"


def test_the_pathway_table_is_the_one_that_decides() -> None:
    lines = [line.split(" | ") for line in page("science.md").splitlines() if re.match(r"\| (high|low) \|", line)]
    shown = {(line[0].strip("| "), line[1]): line[2].strip("`") for line in lines}
    assert shown == {(e, p): cell.pathway for (e, p), cell in TABLE.items() if e is not Level.MISSING}


# --- log events -------------------------------------------------------------------------------------------------------

LEVELS = {"debug", "info", "warning", "error"}
SETTLED = [s for s in DeliveryState if s is not DeliveryState.SENT]  # an attempt ends in any other state


def logged(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (event, field) of each call of the logger in a module; the field is empty once for each event."""
    for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(function, ast.FunctionDef):
            continue
        names = {
            t.id: a.value
            for a in ast.walk(function)
            if isinstance(a, ast.Assign)
            for t in a.targets
            if isinstance(t, ast.Name)
        }
        for call in ast.walk(function):
            if isinstance(call, ast.Call) and _is_log(call.func) and call.args:
                for event in events(call.args[0], names):
                    yield event, ""
                    yield from ((event, keyword.arg) for keyword in call.keywords if keyword.arg)


def _is_log(function: ast.expr) -> bool:
    if isinstance(function, ast.Name):
        return function.id == "log"
    if isinstance(function, ast.Attribute) and function.attr == "_said":
        return True
    return isinstance(function, ast.Attribute) and function.attr in LEVELS and "get_logger()" in ast.unparse(function)


def events(node: ast.expr, names: dict[str, ast.expr]) -> list[str]:
    """Return the names that an event can have: a text, a choice of two, a local variable, or one with the state in it."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.IfExp):
        return events(node.body, names) + events(node.orelse, names)
    if isinstance(node, ast.JoinedStr):
        return [f"delivery_{state}" for state in SETTLED]
    assert isinstance(node, ast.Name), ast.dump(node)
    return events(names[node.id], names) if node.id in names else []  # an argument: its callers name it


LOGGED = {pair for package in PACKAGES for path in (ROOT / package).rglob("*.py") for pair in logged(path)}


def test_the_events_are_those_that_are_described() -> None:
    text = page("log-events.md")
    assert {event for event, _ in LOGGED} == {word for word in rows(text) if re.fullmatch(r"[a-z_]+", word)}


def test_no_event_is_described_twice() -> None:
    assert [
        event for event, lines in rows(page("log-events.md")).items() if len(lines) > 1 and event in dict(LOGGED)
    ] == []


def test_every_field_may_be_logged_and_is_described() -> None:
    lines = rows(page("log-events.md"))
    for event, field in sorted(LOGGED):
        if field:
            assert field in ALLOWED_KEYS, f"{event} {field} would be dropped"
            cell = lines[event][0][2]
            assert f"`{field}`" in cell or "the same" in cell, f"{event}: {field}"


# --- every page -------------------------------------------------------------------------------------------------------


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=[str(p.relative_to(ROOT)) for p in PAGES])
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), f"{path.name}: {target}"
        assert not anchor or anchor in anchors(there), f"{path.name}: {target}"


@pytest.mark.parametrize("path", PAGES, ids=[str(p.relative_to(ROOT)) for p in PAGES])
def test_every_make_target_and_command_that_a_page_names_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    named = {
        word
        for code in re.findall(r"`[^`]+`|^```.*?^```", text, re.M | re.S)
        for word in re.findall(r"\bmake ([a-z]+)", code)
    }
    assert named <= targets, path.name
    for words in re.findall(
        r"\begfr-dls ((?:[a-z-]+ ?)+)", " ".join(re.findall(r"`[^`]+`|^```.*?^```", text, re.M | re.S))
    ):
        assert resolves(words.split()), f"{path.name}: egfr-dls {words}"


def resolves(words: list[str]) -> bool:
    """Whether the words lead from the root to a command; what follows a command are its arguments."""
    group: click.Command | None = cli.cli  # type: ignore[assignment]  # click's decorator is typed as a command
    for word in words:
        if not isinstance(group, click.Group):
            return True
        group = group.get_command(click.Context(group), word)
    return group is not None


def test_a_command_that_does_not_exist_is_found() -> None:
    assert resolves(["models", "list"])
    assert not resolves(["models", "forget"])
    assert not resolves(["import"])


def test_every_source_file_that_a_page_names_exists() -> None:
    for path in PAGES:
        for name in re.findall(
            rf"`((?:{'|'.join(PACKAGES)}|tests|benchmarks|deploy)/[\w/.-]+\.\w+)`", path.read_text("utf-8")
        ):
            assert (ROOT / name).exists(), f"{path.name}: {name}"
