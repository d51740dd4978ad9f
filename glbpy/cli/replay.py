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


GLB = "With GLB's files"


def register(app: typer.Typer) -> None:
    app.command("replay")(replay)


def replay(
    source: Annotated[Path, typer.Option("--in", metavar="IN.pcap", help="Frames as they come in.")],
    target: Annotated[Path, typer.Option("--out", metavar="OUT.pcap", help="Frames as they go out.")],
    file: Annotated[
        str | None, typer.Option("--file", "-f", help="YAML or JSON document; - reads stdin.")
    ] = None,
    director: Annotated[
        Path | None,
        typer.Option(help="The director's TOML file, for its [forward]; with --table GLB's director.conf."),
    ] = None,
    unhealthy: Annotated[
        list[str] | None, typer.Option("--unhealthy", metavar="POOL/BACKEND", help="Repeatable.")
    ] = None,
    run_model: Annotated[
        RunModel, typer.Option(help="How lcores share the work.")
    ] = RunModel.run_to_completion,
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="Workers; at most 16 with run-to-completion.")
    ] = 1,
    table: Annotated[
        Path | None, typer.Option(help="GLB's forwarding_table.json, instead of -f.", rich_help_panel=GLB)
    ] = None,
    outer_udp_checksum: Annotated[
        Checksum | None,
        typer.Option(help="Default zero; GLB on DPDK computes it.", rich_help_panel=GLB),
    ] = None,
    policy: Annotated[
        Policy | None,
        typer.Option(help="How a row's two hops are ordered; default glb.", rich_help_panel=GLB),
    ] = None,
) -> None:
    """Run the real forwarder over a capture file and print the packet counts as one JSON object.

    in = forwarded + answered + punted + dropped; out is what OUT.pcap has. There is no MAC filter and no
    MTU; packets that no service takes are punted unless their VIP says otherwise. One worker keeps the order
    of all packets, several that of each flow's. Exit code 2: a file is wrong.
    """
    import json

    from glbpy import offline
    from glbpy import replay as engine
    from glbpy.cli.signals import interruptible

    case = offline.open_case(file, table, director, unhealthy or (), policy, outer_udp_checksum)
    with interruptible():
        result = engine.replay_case(case, source, target, run_model=run_model.value, workers=workers)
    typer.echo(json.dumps(result.to_json()))
