"""`glb trace`: what becomes of one packet, and why."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from glbpy.cli.options import (
    OFFLINE,
    AsJson,
    CaseChecksum,
    CaseDirector,
    CaseFile,
    CaseLists,
    CaseMtu,
    CaseOversize,
    CasePolicy,
    CaseTable,
    CaseUnhealthy,
)


class Protocol(StrEnum):
    tcp = "tcp"
    udp = "udp"
    icmp = "icmp"


PACKET, LIVE = "The packet, instead of --frame", "From a running forwarder (--live)"
Port = Annotated[int | None, typer.Option(min=0, max=65535, help="Port at the VIP.", rich_help_panel=PACKET)]


def register(app: typer.Typer) -> None:
    app.command()(trace)


def trace(
    frame: Annotated[
        str | None, typer.Option(metavar="HEX", help="The Ethernet frame, without checksum.")
    ] = None,
    file: CaseFile = None,
    director: CaseDirector = None,
    unhealthy: CaseUnhealthy = None,
    neighbour: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS=MAC",
            help="A backend on the director's own link; the others are behind the gateway. Repeatable.",
            rich_help_panel=OFFLINE,
        ),
    ] = None,
    egress_mtu: CaseMtu = 0,
    oversize: CaseOversize = None,
    lists: CaseLists = None,
    table: CaseTable = None,
    outer_udp_checksum: CaseChecksum = None,
    policy: CasePolicy = None,
    service: Annotated[
        str | None, typer.Option(help="To this service: name or id.", rich_help_panel=PACKET)
    ] = None,
    vip: Annotated[str | None, typer.Option(help="To this address.", rich_help_panel=PACKET)] = None,
    port: Port = None,
    protocol: Annotated[
        Protocol | None, typer.Option(help="icmp: an echo request.", rich_help_panel=PACKET)
    ] = None,
    client: Annotated[
        str | None, typer.Option(help="Source address; default: one of our own.", rich_help_panel=PACKET)
    ] = None,
    client_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Source port.", rich_help_panel=PACKET)
    ] = 65000,
    syn: Annotated[
        bool,
        typer.Option("--syn", help="TCP: a first packet, not one in mid-stream.", rich_help_panel=PACKET),
    ] = False,
    live: Annotated[
        bool,
        typer.Option("--live", help="Let a packet through the forwarder here.", rich_help_panel=LIVE),
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
    as_json: AsJson = False,
) -> None:
    """Explain what a director does with one packet: service, hash, row, chain, verdict, and the bytes sent.

    From files (-f, or --table) there is no filter by destination MAC, and no MTU but --egress-mtu.

    With --live a marked packet goes through the running forwarder. Unless --send is given it is freed where
    it would be sent. Both times the packet is one to --service or --vip, or the --frame; both times the
    forwarder's own code decides.
    """
    import json

    from glbpy import live_trace, offline
    from glbpy import trace as tracing
    from glbpy.errors import InvalidInputError

    packet: live_trace.Asked = {
        "frame": frame, "service": service, "vip": vip, "port": port, "protocol": protocol, "client": client,
        "client_port": client_port, "syn": syn,
    }  # fmt: skip
    if live:
        if file or table or director or lists:
            raise InvalidInputError("--live: -f, --table, --list and --director are for a trace from files")
        found, said = live_trace.run_for(socket, **packet, on=on, queue=queue, send=send)
        steps = live_trace.explain(found)
    else:
        case = offline.open_case(
            file,
            table,
            director,
            unhealthy or (),
            policy,
            outer_udp_checksum,
            mtu=egress_mtu,
            oversize=oversize,
            lists=lists or (),
        )
        path = case.path(offline.parse_neighbours(neighbour or ()))
        decision = path.decide(live_trace.frame_for(path.snapshot, **packet))
        said, steps = tracing.as_json(decision), tracing.explain(path, decision)
    if as_json:
        typer.echo(json.dumps(said))
        return
    for stage, text in steps:
        typer.echo(f"{stage:<8} {text}")
