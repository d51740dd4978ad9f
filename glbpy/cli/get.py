"""`glb get`: list or show services, pools, backends, directors, revisions and source lists."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from glbpy.cli.remote import Output, Shown, Token, Url, connect

if TYPE_CHECKING:
    from glbpy.client import Client


class Kind(StrEnum):
    SERVICES = "services"
    POOLS = "pools"
    BACKENDS = "backends"
    DIRECTORS = "directors"
    REVISIONS = "revisions"
    QUIC = "quic"
    ALLOW_LIST = "allow-list"
    LISTS = "lists"


def register(app: typer.Typer) -> None:
    @app.command()
    def get(
        kind: Annotated[Kind, typer.Argument(help="What to list.")],
        name: Annotated[
            str | None,
            typer.Argument(
                help="Only this one; for backends and quic POOL/BACKEND, or POOL for all of it. "
                "For allow-list the pool.",
            ),
        ] = None,
        output: Shown = Output.TABLE,
        url: Url = None,
        token: Token = None,
    ) -> None:
        """List what the API has, or show one of it by name."""
        from glbpy.cli import render

        if kind is Kind.ALLOW_LIST:
            with connect(url, token) as client:
                show_allow_list(client, name, output)
            return
        with connect(url, token) as client:
            value = fetch(client, kind, name)
        show = {
            Kind.SERVICES: render.services,
            Kind.POOLS: render.pools,
            Kind.BACKENDS: render.backends,
            Kind.DIRECTORS: render.directors,
            Kind.REVISIONS: render.revisions,
            Kind.QUIC: render.quic,
            Kind.LISTS: render.lists,
        }
        render.show(value, output, show[kind])


def show_allow_list(client: "Client", pool: str | None, output: Output) -> None:
    """Print who may send to a pool's backends: as glb-redirect reads it, or for programs."""
    from glbpy.cli import render
    from glbpy.client import path_of
    from glbpy.errors import InvalidInputError

    if pool is None:
        raise InvalidInputError("of which pool? glb get allow-list POOL")
    text = client.request("GET", path_of("pools", pool, "allow-list")).text
    if output is Output.TABLE:
        typer.echo(text, nl=False)
        return
    words = [line.split() for line in text.splitlines() if not line.startswith("#")]
    render.data([{"prefix": each[0], "role": (each[1:] or ["source"])[0]} for each in words], output)


def fetch(client: "Client", kind: Kind, name: str | None) -> Any:
    """Return the list, or the one thing that ``name`` means."""
    from glbpy.cli.remote import split_backend
    from glbpy.client import path_of

    if kind is Kind.QUIC:
        if name is not None and "/" in name:
            pool, backend = split_backend(name)
            return client.get(path_of("pools", pool, "backends", backend, "quic"))
        every = fetch(client, Kind.BACKENDS, name)
        return [fetch(client, kind, f"{item['pool']}/{item['name']}") for item in every]
    if kind is Kind.BACKENDS:
        if name is not None and "/" in name:
            pool, backend = split_backend(name)
            return client.get(path_of("pools", pool, "backends", backend))
        pools = [name] if name else [pool["name"] for pool in client.items(path_of("pools"))]
        return [item for pool in pools for item in client.items(path_of("pools", pool, "backends"))]
    if name is not None:
        return client.get(path_of(kind.value, name))
    return list(client.items(path_of(kind.value)))
