"""`glb rollback` and `glb diff`: go back to an earlier revision, or see what one changed."""

from typing import Annotated

import typer

from glbpy.cli.remote import DryRun, Force, Output, Shown, Token, Url, connect

Revision = Annotated[int, typer.Argument(min=1, help="A number that `glb get revisions` lists.")]


def register(app: typer.Typer) -> None:
    @app.command()
    def rollback(
        revision: Revision,
        dry_run: DryRun = False,
        force: Force = False,
        output: Shown = Output.TABLE,
        url: Url = None,
        token: Token = None,
    ) -> None:
        """Make the configuration what it was at a revision. This is a new revision; none is lost."""
        from glbpy.cli import render
        from glbpy.client import path_of

        with connect(url, token) as client:
            path = path_of("revisions", str(revision), "rollback")
            result = client.post(path, dry_run=dry_run, force=force)
        render.changes(result, output)

    @app.command()
    def diff(
        revision: Revision,
        since: Annotated[int | None, typer.Option(min=0, help="Compare with this, not the last.")] = None,
        output: Shown = Output.TABLE,
        url: Url = None,
        token: Token = None,
    ) -> None:
        """Show what a revision changed."""
        from glbpy.cli import render
        from glbpy.client import path_of

        params = {} if since is None else {"since": since}
        with connect(url, token) as client:
            found = client.get(path_of("revisions", str(revision), "diff"), **params)
        if output is Output.TABLE:
            render.differences(found["changes"])
        else:
            render.data(found, output)
