"""`glb drain` and `glb undrain`: take new connections off a backend, and give them back."""

from typing import Annotated

import typer

from glbpy.cli.remote import BackendName, Output, Shown, Token, Url

Wait = Annotated[
    bool, typer.Option("--wait", help="Return only when every director forwards by it; fail after --timeout.")
]
Timeout = Annotated[float, typer.Option(help="Seconds that --wait waits.", min=0)]


def register(app: typer.Typer) -> None:
    @app.command()
    def drain(
        backend: BackendName,
        wait: Wait = False,
        timeout: Timeout = 30.0,
        output: Shown = Output.TABLE,
        url: Url = None,
        token: Token = None,
    ) -> None:
        """Send new connections elsewhere. Those that a backend has go on, by the second chance.

        A warning names services whose flows cannot, such as UDP without a flow cache.
        """
        change(backend, "drain", "drains", wait, timeout, output, url, token)

    @app.command()
    def undrain(
        backend: BackendName,
        wait: Wait = False,
        timeout: Timeout = 30.0,
        output: Shown = Output.TABLE,
        url: Url = None,
        token: Token = None,
    ) -> None:
        """Give a backend new connections again."""
        change(backend, "undrain", "is active", wait, timeout, output, url, token)


def change(
    name: str,
    verb: str,
    outcome: str,
    wait: bool,
    timeout_s: float,
    output: Output,
    url: str | None,
    token: str | None,
) -> None:
    from glbpy.cli import render
    from glbpy.cli.remote import connect, split_backend
    from glbpy.client import path_of

    pool, backend = split_backend(name)
    people = output is Output.TABLE
    with connect(url, token) as client:
        result = client.post(path_of("pools", pool, "backends", backend, verb))
        if people:
            already = "" if result["changed"] else " already"
            typer.echo(f"{name} {outcome}{already}, revision {result['revision']}")
            render.remarks(result)
        else:
            render.data(result, output)
        if wait:
            client.wait(result["revision"], timeout_s)
            if people:
                typer.echo("every director forwards by it")
