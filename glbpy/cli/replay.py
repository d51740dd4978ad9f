"""`glb replay`: the real forwarder over a capture file."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from glbpy.cli.options import (
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


class RunModel(StrEnum):
    run_to_completion = "run-to-completion"
    pipeline = "pipeline"


def register(app: typer.Typer) -> None:
    app.command("replay")(replay)


def replay(
    source: Annotated[Path, typer.Option("--in", metavar="IN.pcap", help="Frames as they come in.")],
    target: Annotated[Path, typer.Option("--out", metavar="OUT.pcap", help="Frames as they go out.")],
    file: CaseFile = None,
    director: CaseDirector = None,
    unhealthy: CaseUnhealthy = None,
    run_model: Annotated[
        RunModel, typer.Option(help="How lcores share the work.")
    ] = RunModel.run_to_completion,
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="Workers; at most 16 with run-to-completion.")
    ] = 1,
    egress_mtu: CaseMtu = 0,
    oversize: CaseOversize = None,
    lists: CaseLists = None,
    table: CaseTable = None,
    outer_udp_checksum: CaseChecksum = None,
    policy: CasePolicy = None,
) -> None:
    """Run the real forwarder over a capture file and print the packet counts as one JSON object.

    in = forwarded + answered + punted + dropped; out is what OUT.pcap has. There is no MAC filter,
    and no MTU but --egress-mtu: senders of packets that would exceed it are told so (the answers are in
    OUT.pcap), or these are fragmented, or dropped. Packets that no service takes are punted unless their VIP
    says otherwise. One worker keeps the order of all packets, several that of each flow's. Exit code 2: a
    file is wrong.
    """
    import json

    from glbpy import offline
    from glbpy import replay as engine
    from glbpy.cli.signals import interruptible

    case = offline.open_case(
        file, table, director, unhealthy or (), policy, outer_udp_checksum, mtu=egress_mtu,
        oversize=oversize, lists=lists or (),
    )  # fmt: skip
    with interruptible():
        result = engine.replay_case(case, source, target, run_model=run_model.value, workers=workers)
    typer.echo(json.dumps(result.to_json()))
