"""`glb plan`: what applying a document would do to connections, before it is done."""

from typing import Annotated, Any

import typer

from glbpy.cli.options import AsJson, File
from glbpy.cli.remote import Token, Url, connect

NAMES = 5  # of backends in a line


def register(app: typer.Typer) -> None:
    @app.command()
    def plan(
        file: File,
        against: Annotated[
            str | None,
            typer.Option("--against", metavar="FILE", help="Compare with this document; ask no server."),
        ] = None,
        prune: Annotated[
            bool, typer.Option("--prune", help="As `glb apply --prune`: what it does not have goes.")
        ] = False,
        unhealthy: Annotated[
            list[str] | None,
            typer.Option("--unhealthy", metavar="POOL/BACKEND", help="With --against; repeatable."),
        ] = None,
        check: Annotated[
            bool,
            typer.Option("--check", help="Exit code 1 when connections can break, or it would be refused."),
        ] = False,
        as_json: AsJson = False,
        url: Url = None,
        token: Token = None,
    ) -> None:
        """Say which flows `glb apply` would move, which connections it can break, why, and what would help.

        Compares with what the server's directors forward by, or with another document.
        """
        import json

        from glbpy import document
        from glbpy.errors import InvalidInputError

        given = document.read(file)
        if against is not None:
            from glbpy.plan import offline_plan

            made = offline_plan(document.read(against), given, prune, unhealthy or ())
            found: dict[str, Any] = made.model_dump(mode="json")
        elif unhealthy:
            raise InvalidInputError("--unhealthy: only with --against; a server knows its backends' health")
        else:
            body = given.model_dump(mode="json", exclude_unset=True)
            with connect(url, token) as client:
                found = client.post("/v1/plan", body, prune=prune)
        if as_json:
            typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        else:
            render(found)
        if check and (found["breaks"] or found["refused"]):
            raise typer.Exit(1)


def group(breaks: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Put backends together that leave for the same reason, and that the same would help."""
    found: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for one in breaks:
        found.setdefault((one["why"], *one["prevent"]), []).append(one)
    return list(found.values())


def render(found: dict[str, Any]) -> None:
    """Print a plan for people."""
    from rich.text import Text

    from glbpy.cli.render import console, differences, percent

    out = console()
    differences(found["changes"])
    if not found["changed"]:
        out.print("this changes nothing")
    for service in found["services"]:
        name = f"service {service['service']} (pool {service['pool']}, {service['algorithm']})"
        if service["change"] == "added":
            out.print(f"{name}: new, {service['rows']} rows")
            continue
        share = percent(service["share_moved"])
        moved = f"{service['rows_moved']} of {service['rows']} rows move, {share} of flows"
        if service["change"] == "removed":
            out.print(f"{name}: removed")
        elif service["share_moved_between"]:
            between = percent(service["share_moved_between"])
            out.print(f"{name}: {moved}, {between} between backends that stay as they are")
        else:
            out.print(f"{name}: {moved}, none between backends that stay as they are")
        for note in service["notes"]:
            out.print(Text(f"    {note}"))
        for alike in group(service["breaks"]):
            rows, first, share = (sum(one[key] for one in alike) for key in ("rows", "first", "share"))
            names = [one["backend"] for one in alike[:NAMES]]
            more = f" and {len(alike) - NAMES} more" if len(alike) > NAMES else ""
            leaves = f"{', '.join(names)}{more} leave{'s' if len(alike) == 1 else ''} {rows} rows"
            lost = f"{percent(share)} of connections" if first else "what older changes left there"
            out.print(Text(f"  ! {leaves}, first in {first}: can break {lost}", style="yellow"))
            out.print(Text(f"    why: {alike[0]['why']}"))
            for help_ in alike[0]["prevent"]:
                out.print(Text(f"    instead: {help_}"))
    for rail in found["refused"]:
        out.print(Text(f"refused: {rail['detail']}", style="bold yellow"))
        out.print(Text(f"    instead: {rail['fix']}; or --force"))
    breaking = [service["service"] for service in found["services"] if service["breaks"]]
    if breaking:
        out.print(Text(f"connections can break: {', '.join(breaking)}", style="bold yellow"))
    else:
        out.print("no connection can break")
