"""`glb table`: look into the tables that the compiler makes of a document, without a control plane."""

from typing import TYPE_CHECKING, Annotated

import typer

from glbpy.cli.options import File, Unhealthy

if TYPE_CHECKING:
    from glbpy.rows import Rows


def register(app: typer.Typer) -> None:
    commands = typer.Typer(no_args_is_help=True, help="Look into row tables, offline.")
    commands.command("rows")(rows)
    app.add_typer(commands, name="table")


def rows(
    file: File,
    service: Annotated[str, typer.Option("--service", help="Name of the service.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print all rows as one JSON object.")] = False,
    unhealthy: Unhealthy = None,
    show: Annotated[int, typer.Option("--show", min=0, help="Rows to print after the summary.")] = 4,
) -> None:
    """Compile a service's rows as directors get them: each backend's share, or every row's chain."""
    import json

    from glbpy import document
    from glbpy.compiler import offline, offline_health
    from glbpy.rows import rows_of

    state, secret = offline(document.read(file))
    found = rows_of(state, secret, service, offline_health(state, unhealthy or ()))
    if as_json:
        names = [backend.name for backend in found.backends]
        typer.echo(json.dumps({"backends": names, "rows": found.chains}, separators=(",", ":")))
    else:
        render(found, show)


def render(found: "Rows", show: int) -> None:
    """Print a summary for people: shares, evenness, and the first ``show`` chains."""
    from glbpy.cli.render import console, table

    service, total = found.service, len(found.chains)
    names = [backend.name for backend in found.backends]
    out = console()
    out.print(f"service {service.name}, pool {service.pool}: {service.algorithm}, {total} rows")
    out.print(
        table(
            ["backend", "address", "state", "health", "weight", "first in", "share", "in chains of"],
            [
                [b.name, b.address, b.state, b.health, b.weight, first, f"{first / total:.2%}", member]
                for b, first, member in zip(found.backends, found.firsts(), found.members(), strict=True)
            ],
        )
    )
    low, high = found.evenness()
    out.print(f"shares are from {low:.3f} to {high:.3f} times what the weights entitle to")
    for row, chain in enumerate(found.chains[:show]):
        out.print(f"row {row}: {' '.join(names[hop] for hop in chain) or 'no backend'}")
