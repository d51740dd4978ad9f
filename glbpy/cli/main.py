"""Entry point of `glb`: collects the commands and turns errors into messages and exit codes.

Exit codes: 0 done, 1 it failed, 2 the input or the usage is wrong.
"""

import importlib
import os
import sys

import typer

from glbpy import __version__
from glbpy.errors import GlbError

# Each module has register(app), which adds its commands. Heavy imports belong inside the commands.
MODULES: list[str] = [
    "serve",
    "status",
    "get",
    "lists",
    "apply",
    "plan",
    "drain",
    "rollback",
    "token",
    "compat",
    "compile",
    "table",
    "capture",
    "doctor",
    "trace",
    "replay",
    "lab",
    "upgrade",
]


def print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"glb {__version__}")
        raise typer.Exit


def build() -> typer.Typer:
    """Return the whole command tree."""
    app = typer.Typer(
        name="glb",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        help="Layer-4 load balancer: manage services, pools and backends; compile, trace and replay offline.",
    )

    @app.callback()
    def root(
        version: bool = typer.Option(
            False, "--version", callback=print_version, is_eager=True, help="Print the version and exit."
        ),
    ) -> None:
        pass

    for name in MODULES:
        importlib.import_module(f"glbpy.cli.{name}").register(app)
    return app


def main() -> None:
    try:
        build()()
    except GlbError as error:
        typer.echo(f"glb: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:  # no place left for what is printed, no process left to start
        typer.echo(f"glb: {error}", err=True)
        # What could not be printed may still be buffered: at exit that would fail again, with another status.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
