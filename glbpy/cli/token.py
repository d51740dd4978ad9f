"""`glb token`: make a bearer token for an API that other machines reach."""

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    @app.command()
    def token(
        who: Annotated[str, typer.Argument(help="Whose it is: a note in the file, nothing more.")] = "",
    ) -> None:
        """Make a token: it goes to standard error, once; its line for --token-file to standard output."""
        from glbpy.tokens import new_token

        secret, line = new_token(who)
        typer.echo(f"token: {secret}", err=True)
        typer.echo(line)
