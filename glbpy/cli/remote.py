"""What commands that talk to the API share: the options that say where it is, and names of things in it."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from glbpy.client import Client

Url = Annotated[
    str | None,
    typer.Option(help="Base URL of the API. Default: $GLB_URL, else a running lab's, else the local one."),
]
Token = Annotated[str | None, typer.Option(help="Bearer token. Default: $GLB_TOKEN, else the running lab's.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would change, change nothing.")]

Force = Annotated[bool, typer.Option("--force", help="Also where a guard rail refuses it.")]


class Output(StrEnum):
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


Shown = Annotated[Output, typer.Option("--output", "-o", help="How to print it.")]


def connect(url: str | None, token: str | None) -> "Client":
    """Return a client of the API that the options mean."""
    from glbpy.client import Client, find_target

    return Client(find_target(url, token))


def split_backend(text: str) -> tuple[str, str]:
    """Return (pool, backend) of ``web/web1``."""
    from glbpy.errors import InvalidInputError

    pool, slash, backend = text.partition("/")
    if not slash or not pool or not backend or "/" in backend:
        raise InvalidInputError(f"{text!r}: write POOL/BACKEND, for example web/web1")
    return pool, backend


def complete_backend(context: typer.Context, incomplete: str) -> list[str]:
    """Complete POOL/BACKEND from the API. Says nothing when there is none."""
    from glbpy.client import path_of
    from glbpy.errors import GlbError

    try:
        with connect(context.params.get("url"), context.params.get("token")) as client:
            names = [
                f"{pool['name']}/{backend['name']}"
                for pool in client.items(path_of("pools"))
                for backend in pool["spec"]["backends"]
            ]
    except (GlbError, KeyError):
        return []
    return [name for name in names if name.startswith(incomplete)]


BackendName = Annotated[
    str, typer.Argument(metavar="POOL/BACKEND", help="For example web/web1.", autocompletion=complete_backend)
]
