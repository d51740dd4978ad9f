"""`glb replay`: the real forwarder over a capture file."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Checksum(StrEnum):
    zero = "zero"
    computed = "computed"


class Policy(StrEnum):
    glb = "glb"
    ordered = "ordered"


class RunModel(StrEnum):
    run_to_completion = "run-to-completion"
    pipeline = "pipeline"


def register(app: typer.Typer) -> None:
    app.command("replay")(replay)


def replay(
    table: Annotated[Path, typer.Option(help="GLB's forwarding_table.json.")],
    director: Annotated[Path, typer.Option(help="GLB's director.conf, with local_mac.")],
    source: Annotated[Path, typer.Option("--in", metavar="IN.pcap", help="Frames as they come in.")],
    target: Annotated[Path, typer.Option("--out", metavar="OUT.pcap", help="Frames as they go out.")],
    outer_udp_checksum: Annotated[Checksum, typer.Option(help="GLB on DPDK computes it.")] = Checksum.zero,
    policy: Annotated[Policy, typer.Option(help="How a row's two hops are ordered.")] = Policy.glb,
    run_model: Annotated[
        RunModel, typer.Option(help="How lcores share the work.")
    ] = RunModel.run_to_completion,
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="Workers; at most 16 with run-to-completion.")
    ] = 1,
) -> None:
    """Run the real forwarder over a capture file and print the packet counts as one JSON object.

    in = forwarded + answered + punted + dropped; out is what OUT.pcap has. There is no MAC filter and no
    MTU; packets that no service takes are punted. One worker keeps the order of all packets, several that of
    each flow's. Exit code 2: a file is wrong.
    """
    import json

    from glbpy import replay as engine
    from glbpy.cli.signals import interruptible

    checksum, order = outer_udp_checksum.value, policy.value
    with interruptible():
        result = engine.replay(
            table, director, source, target, outer_udp_checksum=checksum, policy=order,
            run_model=run_model.value, workers=workers,
        )  # fmt: skip
    typer.echo(json.dumps(result.to_json()))
