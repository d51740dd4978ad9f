"""Options that several commands share: documents, and what is decided from files without a control plane."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

OFFLINE, GLB = "From files", "From GLB's files"
FILE_HELP = "YAML or JSON document; - reads stdin."


class Checksum(StrEnum):
    """UDP checksum of what is sent."""

    ZERO = "zero"
    COMPUTED = "computed"


class Policy(StrEnum):
    """How a row's chain is made from GLB's table."""

    GLB = "glb"
    ORDERED = "ordered"


class Oversize(StrEnum):
    """What becomes of packets that would exceed the egress MTU."""

    ICMP = "icmp"
    FRAGMENT = "fragment"
    DROP = "drop"


File = Annotated[str, typer.Option("--file", "-f", help=FILE_HELP)]
Unhealthy = Annotated[
    list[str] | None, typer.Option("--unhealthy", metavar="POOL/BACKEND", help="Repeatable.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

# What offline.open_case() takes: a document, or GLB's files.
CaseFile = Annotated[str | None, typer.Option("--file", "-f", help=FILE_HELP, rich_help_panel=OFFLINE)]
CaseDirector = Annotated[
    Path | None,
    typer.Option(
        "--director", rich_help_panel=OFFLINE,
        help="The director's TOML file, for its section forward; with --table GLB's director.conf.",
    ),
]  # fmt: skip
CaseUnhealthy = Annotated[
    list[str] | None,
    typer.Option("--unhealthy", metavar="POOL/BACKEND", help="Repeatable.", rich_help_panel=OFFLINE),
]
CaseMtu = Annotated[
    int,
    typer.Option(
        "--egress-mtu", min=0, max=65535, metavar="BYTES", rich_help_panel=OFFLINE,
        help="MTU of the way to backends, bytes of IP; 0: none.",
    ),
]  # fmt: skip
CaseOversize = Annotated[
    Oversize | None,
    typer.Option(
        "--oversize", rich_help_panel=OFFLINE,
        help="What becomes of packets that would exceed it; default as each service says, for GLB's icmp.",
    ),
]  # fmt: skip
CaseLists = Annotated[
    list[str] | None,
    typer.Option(
        "--list", metavar="NAME=FILE", rich_help_panel=OFFLINE,
        help="A source list that services block or allow: one prefix in a line. Repeatable.",
    ),
]  # fmt: skip
CaseTable = Annotated[
    Path | None,
    typer.Option(
        "--table", metavar="GLB.json", help="GLB's forwarding_table.json, instead of -f.", rich_help_panel=GLB
    ),
]
CaseChecksum = Annotated[
    Checksum | None,
    typer.Option("--outer-udp-checksum", help="Default zero; GLB on DPDK computes it.", rich_help_panel=GLB),
]
CasePolicy = Annotated[
    Policy | None,
    typer.Option("--policy", help="How a row's two hops are ordered; default glb.", rich_help_panel=GLB),
]
