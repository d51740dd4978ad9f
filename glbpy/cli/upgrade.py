"""`glb upgrade`: a new forwarder process takes over from the running one."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    @app.command()
    def upgrade(
        config: Annotated[
            Path, typer.Option("--config", "-c", help="The director's TOML file, as it is now.")
        ],
        program: Annotated[
            Path | None, typer.Option(help="The new glb-forwarder. Default: the installed one.")
        ] = None,
        timeout: Annotated[float, typer.Option(help="Seconds to wait for each process.", min=1)] = 30.0,
    ) -> None:
        """Replace the running forwarder by a new process, with no packet lost.

        For ports that two processes can share (net_af_packet); others are told to stop and start.
        """
        from glbpy import engine
        from glbpy import upgrade as hand_over

        done = hand_over.upgrade(engine.read_config(config), program, timeout)
        typer.echo(
            f"process {done.new_pid} ({done.new_version}) took over from {done.old_pid} ({done.old_version})"
            f"; both forwarded for {done.overlap_us / 1000:.1f} ms"
        )
