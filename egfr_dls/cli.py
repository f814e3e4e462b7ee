"""The command line: a table of commands, each imported when it runs, and one place that turns errors into exit codes."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

import click

from egfr_dls import PRODUCT_VERSION
from egfr_dls.errors import EgfrDlsError, ExitCode

# command -> "module:click command". The kernel names the stages here and imports none of them.
COMMANDS: dict[str, str] = {
    "demo": "egfr_dls.demo:demo",
    "run": "egfr_dls.service_commands:run",
    "listener": "egfr_dls.service_commands:listener",
    "inference": "egfr_dls.service_commands:inference",
    "reporter": "egfr_dls.service_commands:reporter",
    "web": "egfr_dls.service_commands:web",
    "analyze": "egfr_dls.analyze_command:analyze",
    "suv": "inference.suv_command:suv",
    "studies": "egfr_dls.studies_command:studies",
    "models": "inference.models_command:models",
    "context": "inference.context_command:context",
    "phantom": "training_export.phantom_command:phantom",
    "train": "training_export.train_command:train",
    "export-cohort": "training_export.cohort.command:export_cohort",
    "evaluate": "training_export.evaluation.command:evaluate",
    "config": "egfr_dls.config_command:config",
}
# Commands of a group that lie in another module than the group itself.
JOINED: dict[str, dict[str, str]] = {
    "models": {
        "import": "training_export.import_command:import_network",
        "card": "training_export.card_command:write_card",
        "sign": "training_export.sign_command:sign_package",
    },
    "studies": {
        "confirm": "egfr_dls.confirm_command:confirm",
        "withdraw": "egfr_dls.withdraw_command:withdraw",
        "replay": "egfr_dls.replay_command:replay",
    },
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for, so that `--help` is quick and the kernel stays alone."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the commands in the table's order."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in COMMANDS:
            return None
        command = _imported(COMMANDS[cmd_name])
        if isinstance(command, click.Group):
            for name, place in JOINED.get(cmd_name, {}).items():
                command.add_command(_imported(place), name)
        return command


def _imported(place: str) -> click.Command:
    module, name = place.split(":")
    command: click.Command = getattr(importlib.import_module(module), name)
    return command


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(PRODUCT_VERSION, prog_name="egfr-dls")
def cli() -> None:
    """egfr-dls: a DICOM node that scores PET/CT studies for EGFR mutation status. Research use only."""
    from egfr_dls import telemetry  # imported here: `--help` needs none of it

    telemetry.configure_command()


def main(arguments: list[str] | None = None) -> None:
    """Run a command and end with its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    as_json = "--json" in given
    try:
        code = cli.main(given, prog_name="egfr-dls", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else ExitCode.DONE)
    except EgfrDlsError as error:
        _end(error.exit_code, error.kind, str(error), as_json=as_json)
    except click.ClickException as error:
        if not as_json:
            error.show()
            sys.exit(ExitCode.USAGE)
        _end(ExitCode.USAGE, "usage", error.format_message(), as_json=True)
    except (click.Abort, KeyboardInterrupt):
        _end(ExitCode.DEFECT, "interrupted", "interrupted", as_json=as_json)
    except BrokenPipeError:
        sys.exit(ExitCode.DEFECT)
    except Exception as error:  # noqa: BLE001  # the outermost frame: a defect still ends as the contract says
        from egfr_dls import telemetry

        telemetry.get_logger().error("defect", **telemetry.error_fields(error))
        _end(
            ExitCode.DEFECT,
            "defect",
            f"{type(error).__name__}: a defect of egfr-dls; please report the lines above",
            as_json=as_json,
        )


def _end(exit_code: ExitCode, kind: str, message: str, *, as_json: bool) -> Any:
    if as_json:
        click.echo(json.dumps({"error": {"exit": int(exit_code), "kind": kind, "message": message}}))
    else:
        click.echo(f"egfr-dls: {message}", err=True)
    sys.exit(exit_code)
