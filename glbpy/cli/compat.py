"""`glb compat`: work with a GLB Director's own files."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    commands = typer.Typer(no_args_is_help=True, help="Read and write the files of a GLB Director fleet.")
    commands.command("build-config")(build_config)
    app.add_typer(commands, name="compat")


def build_config(
    source: Annotated[Path, typer.Argument(metavar="SRC.json", help="GLB's forwarding_table.json.")],
    target: Annotated[Path, typer.Argument(metavar="DST.bin", help="The file to write, replaced at once.")],
) -> None:
    """Write GLB's binary forwarding table, byte for byte what glb-director-cli writes.

    What the format cannot represent is refused with exit code 2 and the field's path; DST.bin then stays.
    """
    from glbpy import compat, snapshot
    from glbpy.errors import GlbError

    forwarding = compat.load_table(source)
    data = compat.build_config(forwarding)
    try:
        snapshot.write_file(target, data)
    except OSError as error:
        raise GlbError(f"{target}: cannot be written: {error.strerror}") from error
    typer.echo(f"{target}: {len(forwarding.tables)} tables, {len(data)} bytes")
