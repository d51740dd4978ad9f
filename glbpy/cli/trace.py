"""`glb trace`: what becomes of one frame, and why."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Checksum(StrEnum):
    ZERO = "zero"
    COMPUTED = "computed"


class Policy(StrEnum):
    GLB = "glb"
    ORDERED = "ordered"


def register(app: typer.Typer) -> None:
    app.command()(trace)


def trace(
    table: Annotated[Path, typer.Option(metavar="GLB.json", help="GLB's forwarding_table.json.")],
    director: Annotated[
        Path, typer.Option(metavar="DIRECTOR.json", help="GLB's director.conf, with local_mac.")
    ],
    frame: Annotated[str, typer.Option(metavar="HEX", help="The Ethernet frame, without checksum.")],
    outer_udp_checksum: Annotated[
        Checksum, typer.Option(help="UDP checksum of what is sent.")
    ] = Checksum.ZERO,
    policy: Annotated[Policy, typer.Option(help="How a row's chain is made.")] = Policy.GLB,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Explain what a director does with one frame: service, hash, row, chain, verdict, and the bytes sent.

    The decision is made by the forwarder's own code. There is no filter by destination MAC and no MTU limit.
    """
    import json

    from glbpy import trace as tracing

    path = tracing.open_path(table, director, policy, outer_udp_checksum)
    decision = path.decide(tracing.parse_frame(frame))
    if as_json:
        typer.echo(json.dumps(tracing.as_json(decision)))
        return
    for stage, text in tracing.explain(path, decision):
        typer.echo(f"{stage:<8} {text}")
