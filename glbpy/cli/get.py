"""`glb get`: list or show services, pools, backends, directors and revisions."""

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


def register(app: typer.Typer) -> None:
    @app.command()
    def get(
        kind: Annotated[Kind, typer.Argument(help="What to list.")],
        name: Annotated[
            str | None,
            typer.Argument(help="Only this one; for backends and quic POOL/BACKEND, or POOL for all of it."),
        ] = None,
        output: Shown = Output.TABLE,
        url: Url = None,
        token: Token = None,
    ) -> None:
        """List what the API has, or show one of it by name."""
        from glbpy.cli import render

        with connect(url, token) as client:
            value = fetch(client, kind, name)
        show = {
            Kind.SERVICES: render.services,
            Kind.POOLS: render.pools,
            Kind.BACKENDS: render.backends,
            Kind.DIRECTORS: render.directors,
            Kind.REVISIONS: render.revisions,
            Kind.QUIC: render.quic,
        }
        render.show(value, output, show[kind])


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
