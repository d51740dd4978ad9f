"""`glb apply` and `glb delete`: change the configuration."""

from enum import StrEnum
from typing import Annotated

import typer

from glbpy.cli.options import File
from glbpy.cli.remote import DryRun, Force, Output, Shown, Token, Url, connect


class Kind(StrEnum):
    SERVICE = "service"
    POOL = "pool"
    BACKEND = "backend"
    LIST = "list"


def register(app: typer.Typer) -> None:
    @app.command()
    def apply(
        file: File,
        dry_run: DryRun = False,
        prune: Annotated[
            bool, typer.Option("--prune", help="Also remove services and pools that it does not have.")
        ] = False,
        force: Force = False,
        output: Shown = Output.TABLE,
        url: Url = None,
        token: Token = None,
    ) -> None:
        """Create or replace what a document describes: all of it, or, when a field is wrong, nothing."""
        from glbpy import document
        from glbpy.cli import render

        body = document.read(file).model_dump(mode="json", exclude_unset=True)
        with connect(url, token) as client:
            result = client.post("/v1/apply", body, dry_run=dry_run, prune=prune, force=force)
        render.changes(result, output)

    @app.command()
    def delete(
        kind: Annotated[Kind, typer.Argument(help="What to delete.")],
        name: Annotated[str, typer.Argument(help="Its name; for a backend POOL/BACKEND.")],
        output: Shown = Output.TABLE,
        url: Url = None,
        token: Token = None,
    ) -> None:
        """Delete a service, a pool or list that no service uses, or a backend. Drain a backend first."""
        from glbpy.cli import render
        from glbpy.cli.remote import split_backend
        from glbpy.client import path_of

        if kind is Kind.BACKEND:
            pool, backend = split_backend(name)
            path = path_of("pools", pool, "backends", backend)
        else:
            path = path_of(f"{kind.value}s", name)
        with connect(url, token) as client:
            result = client.delete(path)
        if output is not Output.TABLE:
            render.data(result, output)
            return
        typer.echo(f"{kind.value} {name} is deleted")
        if kind is not Kind.LIST:
            render.remarks(result)
