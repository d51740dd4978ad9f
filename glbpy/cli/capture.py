"""`glb capture`: packets of a running forwarder into a pcapng file."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class At(StrEnum):
    ingress = "ingress"
    egress = "egress"
    drop = "drop"


def register(app: typer.Typer) -> None:
    app.command("capture")(capture)


def capture(
    target: Annotated[Path, typer.Option("-w", "--write", metavar="FILE.pcapng", help="The file to write.")],
    at: Annotated[list[At] | None, typer.Option(help="Where, repeatable; default ingress.")] = None,
    service: Annotated[str | None, typer.Option(help="Only of this service: name or id.")] = None,
    client: Annotated[str | None, typer.Option(metavar="PREFIX", help="Only of these clients.")] = None,
    drop_reason: Annotated[
        str | None,
        typer.Option(metavar="REASON", help="Only for this reason; --at drop is the default then."),
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="Stop after so many packets.")] = None,
    seconds: Annotated[int, typer.Option(min=1, max=3595, help="Stop after this time.")] = 60,
    snaplen: Annotated[
        int | None, typer.Option(min=1, max=16344, help="Keep so many bytes of a packet; default 2008.")
    ] = None,
    socket: Annotated[Path | None, typer.Option(help="Control socket; default: the only one here.")] = None,
) -> None:
    """Capture live from the forwarder on this machine, with each packet's verdict as its comment.

    Ctrl-C ends it. The forwarder never waits for the capture: what comes too fast is missed, and counted.
    """
    from glbpy import capture as capturing
    from glbpy.cli.signals import interruptible
    from glbpy.forwarder import Forwarder

    places = [each.value for each in at or ([At.drop] if drop_reason else [At.ingress])]
    with interruptible():
        result = capturing.capture(
            Forwarder(socket or capturing.find()), target,
            at=places, service=service, prefix=client, reason=drop_reason, count=count, seconds=seconds,
            snaplen=snaplen,
            started=lambda: typer.echo(f"capturing for up to {seconds} s; Ctrl-C ends it", err=True),
        )  # fmt: skip
    typer.echo(f"{result.packets} packets written, {result.missed} missed", err=True)
