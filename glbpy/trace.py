"""One frame through the packet path, explained: what ``glb trace`` prints.

The decision is the C library's; this module only puts it into words, or into the JSON that programs read.
"""

import re
from pathlib import Path
from typing import Any

from glbpy import _native as native
from glbpy import offline, outer
from glbpy.errors import InvalidInputError

PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6"}


def parse_frame(text: str) -> bytes:
    """Return the bytes of a frame in hex; blanks and colons are fine. Raises InvalidInputError."""
    digits = re.sub(r"[\s:]", "", text)
    try:
        return bytes.fromhex(digits)
    except ValueError:
        raise InvalidInputError("--frame: must be an Ethernet frame, two hex digits a byte") from None


def open_path(table: Path, director: Path, policy: str, outer_udp_checksum: str) -> native.PacketPath:
    """Return the packet path that GLB's two files describe.

    As in replay there is no destination-MAC filter and no MTU limit. Raises CompatError.
    """
    return offline.from_glb(table, director, policy, outer_udp_checksum).path()


def as_json(decision: native.Decision) -> dict[str, Any]:
    """Return what ``glb trace --json`` prints."""
    said: dict[str, Any] = {
        "verdict": decision.verdict,
        "reason": decision.reason,
        "service": decision.service.name if decision.service else None,
        "hash": None if decision.hash is None else f"{decision.hash:016x}",
        "row": decision.row,
        "chain": [str(backend.address) for backend in decision.chain],
        "output": None if decision.output is None else decision.output.hex(),
    }
    if decision.further:
        said["further"] = [frame.hex() for frame in decision.further]
    return said


def explain(path: native.PacketPath, decision: native.Decision) -> list[tuple[str, str]]:
    """Return (stage, what it found) for each stage that the frame came to, then verdict and output."""
    steps = [("packet", describe_packet(decision))] if decision.kind else []
    if decision.service:
        service = decision.service
        wrapped = "" if service.encapsulation == "gue" else f", {service.encapsulation}"
        steps.append(("service", f"{service.name}, id {service.id}{wrapped}"))
    if decision.hash is not None and decision.service:
        steps += _rows(path.snapshot, decision, decision.service)
    if decision.by_id:
        steps.append(("quic", f"a connection id of {decision.chain[0].name}: that goes first"))
    for hop, backend in enumerate(decision.chain, 1):
        address = str(backend.address)
        name = "" if backend.name == address else f" {backend.name}"
        steps.append((f"hop {hop}", f"{address}{name}, {backend.state}, {backend.health}"))
    if decision.told_mtu:
        to, mtu = decision.told_mtu
        names = [b.name for b in path.snapshot.backends if b.address == to] or ["no backend"]
        steps.append(("about", f"an outer packet to {to}, {names[0]}; MTU {mtu}"))
    text = native.reason_text(native.REASONS.index(decision.reason))
    steps.append(("verdict", f"{decision.verdict} ({decision.reason}): {text}"))
    if decision.output is not None:
        by = decision.service if decision.verdict == "forward" else None
        steps.append(("send", outer.describe(decision.output, by.encapsulation if by else None)))
        steps += [("" if at else "output", decision.output[at : at + 32].hex(" ", -4))
                  for at in range(0, len(decision.output), 32)]  # fmt: skip
    if decision.further:
        sizes = ", ".join(str(len(frame)) for frame in decision.further)
        steps.append(("further", f"{len(decision.further)} more of {sizes} bytes"))
    return steps


def describe_packet(decision: native.Decision) -> str:
    """Describe the client's packet and the flow that it belongs to."""
    flow, vip = decision.flow, decision.vip
    ends = f"to {vip}"
    if flow and flow.source_port | flow.destination_port:
        ends = f"{flow.source} port {flow.source_port} → {flow.destination} port {flow.destination_port}"
    elif flow:
        ends = f"{flow.source} → {flow.destination}"
    protocol = PROTOCOLS.get(flow.protocol, f"protocol {flow.protocol}") if flow else ""
    kind = {
        "tcp": "TCP",
        "udp": "UDP",
        "echo": "echo request",
        "too_big": f"too-big to {vip}, about {protocol}" if flow else "too-big that quotes no ports",
        "error": f"ICMP error to {vip}, about {protocol}" if flow else "ICMP error that quotes no ports",
        "icmp": f"{protocol}, neither echo request nor error",
        "fragment": f"later fragment of {protocol}",
        "other": protocol,
    }[decision.kind or "other"]
    version = f"IPv{vip.version}" if vip else ""
    tags = f", {decision.tags} VLAN tag{'s' * (decision.tags > 1)}" if decision.tags else ""
    return f"{kind} {ends}; {version}, {decision.length} bytes{tags}"


def _rows(
    snapshot: native.Snapshot, decision: native.Decision, service: native.ServiceInfo
) -> list[tuple[str, str]]:
    table = snapshot.tables[service.table]
    fields = [_source(service, decision.flow) if f == "src_addr" else f for f in service.hash_fields]
    steps = [
        ("hash", f"{decision.hash:016x} of {', '.join(fields)}"),
        ("row", f"{decision.row} of {table.rows}, pool {table.pool}, {_chosen(table)}"),
    ]
    if decision.alt_row is not None:
        alt = ", ".join(service.alt_hash_fields)
        steps.append(("alt row", f"{decision.alt_row} by {alt}; its hops follow those of the row"))
    return steps


def _chosen(table: native.TableInfo) -> str:
    return "maglev" if table.algorithm == "maglev" else f"policy {table.policy}"


def _source(service: native.ServiceInfo, flow: native.Flow | None) -> str:
    """Return the name of the source address among hash fields, with the prefix that counts."""
    v6 = flow is not None and flow.family == 6
    bits = service.source_bits[v6]
    return "src_addr" if bits == (128 if v6 else 32) else f"src_addr/{bits}"
