"""`run`, `listener`, `inference`, `reporter`: the commands that stay until they are told to stop."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import click

from egfr_dls import PRODUCT_VERSION, settings, stages, supervisor, telemetry
from egfr_dls.installation import refuse_name_clash

config_option = click.option(
    "--config", type=click.Path(dir_okay=False, path_type=Path), help="TOML file; else EGFR_DLS_CONFIG names it."
)


@click.command()
@config_option
def run(config: Path | None) -> int:
    """Run every stage on this machine, supervised, until SIGTERM or Ctrl-C."""
    loaded = settings.load(config)
    refuse_name_clash()
    telemetry.configure(loaded, "supervisor", "supervisor")
    telemetry.site_key(loaded)
    stop = threading.Event()
    supervisor.stop_on_signals(stop)
    telemetry.get_logger().info("started", version=PRODUCT_VERSION)
    code = supervisor.supervise(loaded, config, stop)
    telemetry.get_logger().info("stopped", exit_code=int(code))
    return int(code)


def _stage_command(stage: str, help_text: str) -> click.Command:
    @click.command(stage, help=help_text)
    @config_option
    @click.option("--worker", default=None, hidden=True, help="Name under which jobs are leased.")
    @click.option("--supervised", is_flag=True, hidden=True, help="Stop when standard input closes.")
    def command(config: Path | None, worker: str | None, supervised: bool) -> None:  # click passes flags so
        loaded = settings.load(config)
        refuse_name_clash()
        name = worker or _default_name(stage)
        telemetry.configure(loaded, stage, name)
        stop = threading.Event()
        supervisor.stop_on_signals(stop, supervised=supervised)
        stages.main_of(stage)(loaded, name, stop)
        telemetry.get_logger().info("stopped")

    return command


def _default_name(stage: str) -> str:
    """Return a worker's name. A listener's is the same at each start: its folder of the spool has it."""
    host = socket.gethostname()
    return f"{stage}-{host}" if stage == "listener" else f"{stage}-{host}-{os.getpid()}"


listener = _stage_command("listener", "Accept associations and make instances durable.")
inference = _stage_command("inference", "Score complete studies.")
reporter = _stage_command("reporter", "Build the result objects and deliver them.")
web = _stage_command("web", "Serve /livez, /readyz and /metrics at [http].")
