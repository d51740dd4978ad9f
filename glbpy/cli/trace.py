"""`glb trace`: what becomes of one packet, and why."""

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


class Protocol(StrEnum):
    tcp = "tcp"
    udp = "udp"
    icmp = "icmp"


OFFLINE, LIVE = "From files", "From a running forwarder (--live)"
Port = Annotated[int | None, typer.Option(min=0, max=65535, help="Port at the VIP.", rich_help_panel=LIVE)]


def register(app: typer.Typer) -> None:
    app.command()(trace)


def trace(
    frame: Annotated[
        str | None, typer.Option(metavar="HEX", help="The Ethernet frame, without checksum.")
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(metavar="GLB.json", help="GLB's forwarding_table.json.", rich_help_panel=OFFLINE),
    ] = None,
    director: Annotated[
        Path | None,
        typer.Option(
            metavar="DIRECTOR.json", help="GLB's director.conf, with local_mac.", rich_help_panel=OFFLINE
        ),
    ] = None,
    outer_udp_checksum: Annotated[
        Checksum, typer.Option(help="UDP checksum of what is sent.", rich_help_panel=OFFLINE)
    ] = Checksum.ZERO,
    policy: Annotated[
        Policy, typer.Option(help="How a row's chain is made.", rich_help_panel=OFFLINE)
    ] = Policy.GLB,
    live: Annotated[
        bool,
        typer.Option("--live", help="Let a packet through the forwarder here.", rich_help_panel=LIVE),
    ] = False,
    service: Annotated[
        str | None, typer.Option(help="To this service: name or id.", rich_help_panel=LIVE)
    ] = None,
    vip: Annotated[str | None, typer.Option(help="To this address.", rich_help_panel=LIVE)] = None,
    port: Port = None,
    protocol: Annotated[
        Protocol | None, typer.Option(help="icmp: an echo request.", rich_help_panel=LIVE)
    ] = None,
    client: Annotated[
        str | None, typer.Option(help="Source address; default: one of our own.", rich_help_panel=LIVE)
    ] = None,
    client_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Source port.", rich_help_panel=LIVE)
    ] = 65000,
    syn: Annotated[
        bool, typer.Option("--syn", help="TCP: a first packet, not one in mid-stream.", rich_help_panel=LIVE)
    ] = False,
    on: Annotated[
        str | None, typer.Option(metavar="PORT", help="Let it come by this port.", rich_help_panel=LIVE)
    ] = None,
    queue: Annotated[
        int, typer.Option(min=0, help="And by this rx queue: chooses the lcore.", rich_help_panel=LIVE)
    ] = 0,
    send: Annotated[
        bool, typer.Option("--send", help="Send it, instead of freeing it at the end.", rich_help_panel=LIVE)
    ] = False,
    socket: Annotated[
        Path | None, typer.Option(help="Control socket; default: the only one here.", rich_help_panel=LIVE)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Explain what a director does with one packet: service, hash, row, chain, verdict, and the bytes sent.

    From GLB's files (--table, --director, --frame) there is no filter by destination MAC and no MTU limit.

    With --live a marked packet goes through the running forwarder: to --service or --vip, or the --frame.
    Unless --send is given it is freed where it would be sent. Both times the forwarder's own code decides.
    """
    import json

    from glbpy import live_trace
    from glbpy import trace as tracing
    from glbpy.errors import InvalidInputError

    if live:
        if table or director:
            raise InvalidInputError("--live: --table and --director are for a trace from files")
        found, said = live_trace.run_for(
            socket, frame=frame, service=service, vip=vip, port=port, protocol=protocol, client=client,
            client_port=client_port, syn=syn, on=on, queue=queue, send=send,
        )  # fmt: skip
        steps = live_trace.explain(found)
    else:
        if table is None or director is None or frame is None:
            raise InvalidInputError("give --table, --director and --frame, or --live")
        path = tracing.open_path(table, director, policy, outer_udp_checksum)
        decision = path.decide(tracing.parse_frame(frame))
        said, steps = tracing.as_json(decision), tracing.explain(path, decision)
    if as_json:
        typer.echo(json.dumps(said))
        return
    for stage, text in steps:
        typer.echo(f"{stage:<8} {text}")
