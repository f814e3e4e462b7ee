"""The command line's contract: exit codes, and with --json one document on standard output and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest

from egfr_dls import cli
from egfr_dls.errors import ConfigurationError, EgfrDlsError, StudyRefusedError, TemporaryFailureError, UsageError
from egfr_dls.refusals import RefusalCode


def end(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Run a command in this process; return exit code, standard output and standard error."""
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    captured = capsys.readouterr()
    return int(caught.value.code or 0), captured.out, captured.err


def commands() -> list[tuple[str, ...]]:
    """Return every command and sub-command."""
    names: list[tuple[str, ...]] = []
    context = click.Context(cli.cli)
    for name in cli.COMMANDS:
        command = cli.cli.get_command(context, name)
        assert command is not None
        names.append((name,))
        if isinstance(command, click.Group):
            names += [(name, sub) for sub in command.commands]
    return names


@pytest.mark.parametrize("name", commands(), ids=" ".join)
def test_every_command_explains_itself(name: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = end([*name, "--help"], capsys)
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: egfr-dls {' '.join(name)}")
    summary = out.split("\n\n")[1].strip()
    assert len(summary) > 10, "a command without a sentence"


def test_commands_of_the_contract_are_there() -> None:
    served = {
        "demo",
        "run",
        "listener",
        "inference",
        "reporter",
        "analyze",
        "suv",
        "studies",
        "models",
        "phantom",
        "config",
    }
    assert served <= set(cli.COMMANDS)


class Raises(click.Command):
    """A command that ends with an error of the test's choice."""

    def __init__(self, error: BaseException) -> None:
        def callback(as_json: bool) -> None:
            raise error

        super().__init__("raises", callback=callback, params=[click.Option(["--json", "as_json"], is_flag=True)])


ENDS: list[tuple[BaseException, int, str]] = [
    (UsageError("give a folder"), 2, "usage"),
    (ConfigurationError("storage.root is missing"), 78, "configuration"),
    (StudyRefusedError(RefusalCode.NO_ROI, "no lesion"), 3, "refused"),
    (TemporaryFailureError("locked"), 1, "temporary"),
    (EgfrDlsError("the analysis left no findings"), 1, "defect"),
    (ValueError("DOE^JOHN"), 1, "defect"),
    (KeyboardInterrupt(), 1, "interrupted"),
    (click.UsageError("no such option"), 2, "usage"),
]


@pytest.mark.parametrize(("error", "code", "kind"), ENDS, ids=lambda value: type(value).__name__)
def test_error_ends_with_its_code_and_one_document(
    error: BaseException, code: int, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: Raises(error))
    ended, out, err = end(["raises", "--json"], capsys)
    document: dict[str, Any] = json.loads(out)
    assert ended == code
    assert document.keys() == {"error"}
    assert document["error"].keys() == {"exit", "kind", "message"}
    assert (document["error"]["exit"], document["error"]["kind"]) == (code, kind)
    assert "DOE" not in out + err
    ended, out, err = end(["raises"], capsys)
    assert (ended, out) == (code, "")
    assert err
    assert "DOE" not in err


def test_defect_says_where_it_was(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: Raises(ValueError("DOE^JOHN")))
    _, _, err = end(["raises"], capsys)
    assert "test_cli.py" in err
    assert "ValueError" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command", "--json"],
        ["analyze", "--json"],
        ["analyze", "x", "--out", "y", "--no-such-flag", "--json"],
        ["analyze", "absent", "--out", "out", "--json"],
        ["analyze", "absent", "--out", "out", "--at", "yesterday", "--json"],
        ["analyze", "absent", "--out", "out", "--biomarker", "x", "--json"],
        ["suv", "absent", "--json"],
        ["studies", "list", "--state", "x", "--json"],
        ["studies", "show", "--json"],
    ],
    ids=" ".join,
)
def test_wrong_command_line_is_exit_2_and_one_document(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = end(arguments, capsys)
    assert code == 2
    assert json.loads(out)["error"]["kind"] == "usage"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["config", "check", "--json"],
        ["config", "show", "--config", "absent.toml", "--json"],
        ["studies", "list", "--json"],
        ["models", "list", "--config", "absent.toml", "--json"],
        ["run"],
        ["listener"],
    ],
    ids=" ".join,
)
def test_wrong_configuration_is_exit_78(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = end(arguments, capsys)
    assert code == 78
    if "--json" in arguments:
        assert json.loads(out)["error"]["kind"] == "configuration"
    else:
        assert (out, "storage.root is missing" in err) == ("", True)
    assert list(tmp_path.iterdir()) == []
