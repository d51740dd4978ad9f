"""A marked packet through a running forwarder, explained: what ``glb trace --live`` asks for and prints.

The forwarder's own lcores do the work and say what they found (docs/wire/control.md, ``trace``); this module
only chooses the packet, and puts the reply into words.
"""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any, TypedDict, Unpack

from pydantic import ValidationError

from glbpy import _native as native
from glbpy import capture
from glbpy import trace as tracing
from glbpy.errors import ForwarderError, InvalidInputError, SnapshotError
from glbpy.forwarder import CONTROL_VERSION, Forwarder, ForwarderStatus, Reply
from glbpy.marked import SOURCE_PORT, UDP, Address, Marked

MACS = bytes.fromhex("020000000002" "0200000000aa")  # of a frame made here: director, client's router
TAGS = (b"\x81\x00", b"\x88\xa8")  # Ethernet types of VLAN tags


class Steering(Reply):
    """A pipeline's receiver, and where it sent the packet."""

    receiver: int
    lcore: int
    hash: str  # hex
    worker: int


class Worker(Reply):
    worker: int
    lcore: int


class Packet(Reply):
    """What the worker parsed. Source and destination are the flow's, as the client sends it."""

    kind: str
    bytes: int
    protocol: int
    tags: int
    to: IPv4Address | IPv6Address
    source: IPv4Address | IPv6Address | None
    source_port: int
    destination: IPv4Address | IPv6Address | None
    destination_port: int


class Service(Reply):
    id: int
    name: str
    encapsulation: str


class Row(Reply):
    hash: str  # hex
    fields: list[str]
    source_bits: int  # that are hashed of the source address
    row: int
    rows: int
    pool: str
    algorithm: str
    policy: str
    alt_row: int | None
    alt_fields: list[str]


class Hop(Reply):
    id: int
    name: str
    address: str
    state: str
    health: str


class NextHop(Reply):
    source: str  # gateway_mac or kernel
    kind: str | None  # router, or backend: it is on the link
    mac: str | None
    port: str | None


class Output(Reply):
    """The frame to send; of a long one the beginning."""

    port: str
    queue: int
    bytes: int
    frame: str  # hex


class Punt(Reply):
    """Its way to the kernel, on a port that punts through an interface of its own."""

    class_: str
    interface: str

    model_config = Reply.model_config | {"alias_generator": lambda name: name.rstrip("_")}


class LiveTrace(Reply):
    """The answer to ``trace``. What the packet did not come to is None."""

    generation: int
    revision: int | None
    port: str
    queue: int
    steering: Steering | None
    worker: Worker | None
    packet: Packet | None
    service: Service | None
    row: Row | None
    flow_cache: str | None  # hit, miss; None: not asked
    chain: list[Hop]
    next_hop: NextHop | None
    output: Output | None
    punt: Punt | None
    verdict: str
    reason: str
    text: str
    sent: bool
    took_us: float


def find_service(status: ForwarderStatus, name: str) -> tuple[Address, str, int]:
    """Return a VIP, a protocol and a port that a service of the snapshot in force takes.

    Raises InvalidInputError when it is not there, or its snapshot cannot be read.
    """
    path = Path(status.snapshot_path or "")
    try:
        snapshot = native.Snapshot(path.read_bytes())
    except (OSError, SnapshotError) as error:
        raise InvalidInputError(
            f"--service: the snapshot in force cannot be read ({error}); give --vip"
        ) from error
    return target(snapshot, name)


def target(snapshot: native.Snapshot, name: str) -> tuple[Address, str, int]:
    """Return what a service takes: a VIP, a protocol and a port. Raises InvalidInputError."""
    for service in snapshot.services:
        if name in (service.name, str(service.id)):
            # tcp and udp rather than the rest, which are in every bind of protocol any
            binds = sorted(snapshot.binds(service), key=lambda bind: ("tcp", "udp", "any").index(bind[1]))
            address, protocol, port = binds[0]
            return address, "icmp" if protocol == "any" else protocol, port
    known = ", ".join(sorted(service.name for service in snapshot.services)[:10]) or "none"
    raise InvalidInputError(f"service {name!r} is not in the snapshot; there are: {known}")


def find_port(status: ForwarderStatus, name: str | None) -> int:
    """Return the number of a port, of the first one when none is named. Raises InvalidInputError."""
    for port in status.ports:
        if name in (None, port.name, str(port.port)):
            return port.port
    known = ", ".join(port.name for port in status.ports)
    raise InvalidInputError(f"--on: {name!r} is no port of the forwarder; there are: {known}")


def run(
    client: Forwarder, packet: Marked | bytes, *, port: int, queue: int = 0, send: bool = False
) -> tuple[LiveTrace, dict[str, Any]]:
    """Let a packet, or an Ethernet frame, pass; return what was found, and the same as JSON.

    Raises ForwarderError, with code ``trace_failed`` when an lcore does not answer.
    """
    what = {"frame": packet.hex()} if isinstance(packet, bytes) else {"ip": packet.build().hex()}
    order = what | {"port": port, "queue": queue, "send": send}
    reply = client.request({"version": CONTROL_VERSION, "command": "trace", "packet": order})
    try:
        return LiveTrace.model_validate(reply["trace"]), reply["trace"]
    except (KeyError, ValidationError) as error:
        raise ForwarderError(f"{client.socket_path}: reply not understood: {error}", "protocol") from error


class Asked(TypedDict, total=False):
    """The packet that the options of ``glb trace`` ask for: a frame in hex, or one to a service or a VIP."""

    frame: str | None
    service: str | None
    vip: str | None
    port: int | None
    protocol: str | None
    client: str | None
    client_port: int
    syn: bool


def run_for(
    socket: Path | None, *, on: str | None = None, queue: int = 0, send: bool = False, **asked: Unpack[Asked]
) -> tuple[LiveTrace, dict[str, Any]]:
    """Do what the options of ``glb trace --live`` ask for. Raises InvalidInputError, ForwarderError."""
    _check(asked, "--live: ")
    forwarder = Forwarder(socket or capture.find())
    status = forwarder.status()
    packet: Marked | bytes
    if (frame := asked.get("frame")) is not None:
        packet = tracing.parse_frame(frame)
    else:
        packet = _marked(asked, lambda name: find_service(status, name))
    return run(forwarder, packet, port=find_port(status, on), queue=queue, send=send)


def frame_for(snapshot: native.Snapshot, **asked: Unpack[Asked]) -> bytes:
    """Return the Ethernet frame that is asked for, of a trace from files. Raises InvalidInputError."""
    _check(asked, "")
    if (frame := asked.get("frame")) is not None:
        return tracing.parse_frame(frame)
    packet = _marked(asked, lambda name: target(snapshot, name)).build()
    kind = b"\x08\x00" if packet[0] >> 4 == 4 else b"\x86\xdd"
    return MACS + kind + packet


def _check(asked: Asked, where: str) -> None:
    if [asked.get("frame"), asked.get("service"), asked.get("vip")].count(None) != 2:
        raise InvalidInputError(f"{where}give one of --service, --vip and --frame")


def _marked(asked: Asked, find: Callable[[str], tuple[Address, str, int]]) -> Marked:
    service, client, port = asked.get("service"), asked.get("client"), asked.get("port")
    to: tuple[Address, str, int]
    to = find(service) if service else (_address("--vip", asked.get("vip") or ""), "tcp", 80)
    return Marked(
        vip=to[0], protocol=asked.get("protocol") or to[1], port=to[2] if port is None else port,
        syn=asked.get("syn", False), client=_address("--client", client) if client else None,
        client_port=asked.get("client_port", SOURCE_PORT),
    )  # fmt: skip


def _address(option: str, text: str) -> Address:
    try:
        return ip_address(text)
    except ValueError:
        raise InvalidInputError(f"{option}: {text!r} is not an IP address") from None


def explain(found: LiveTrace) -> list[tuple[str, str]]:
    """Return (stage, what it found) for each stage that the packet came to."""
    revision = "none" if found.revision is None else str(found.revision)
    steps = [("snapshot", f"revision {revision}, generation {found.generation}")]
    steps += _way(found)
    if found.packet:
        steps.append(("packet", tracing.describe_packet(_decision(found.packet))))
    if found.service:
        service = found.service
        steps.append(("service", f"{service.name}, id {service.id}, {service.encapsulation}"))
    if found.row:
        steps += _row(found.row)
    if found.flow_cache:
        known = "its backend goes first" if found.flow_cache == "hit" else "by the row alone"
        steps.append(("flow", f"{found.flow_cache} in the flow cache: {known}"))
    for n, hop in enumerate(found.chain, 1):
        name = "" if hop.name == hop.address else f" {hop.name}"
        steps.append((f"hop {n}", f"{hop.address}{name}, {hop.state}, {hop.health}"))
    if found.next_hop:
        to = found.next_hop
        text = f"{to.kind} {to.mac} by port {to.port}" if to.mac else "not known"
        steps.append(("next hop", f"{text}, from {to.source}"))
    steps.append(("verdict", f"{found.verdict} ({found.reason}): {found.text}"))
    return steps + _end(found)


def _way(found: LiveTrace) -> list[tuple[str, str]]:
    """Describe by which lcores the packet came."""
    steps = [("in", f"port {found.port}, rx queue {found.queue}")]
    if steering := found.steering:
        receiver = f"receiver {steering.receiver} (lcore {steering.lcore})"
        steps.append(("steering", f"{receiver}, hash {steering.hash} → worker {steering.worker}"))
    if found.worker:
        steps.append(("worker", f"{found.worker.worker} (lcore {found.worker.lcore})"))
    return steps


def _row(row: Row) -> list[tuple[str, str]]:
    chosen = "maglev" if row.algorithm == "maglev" else f"policy {row.policy}"
    steps = [
        ("hash", f"{row.hash} of {_fields(row)}"),
        ("row", f"{row.row} of {row.rows}, pool {row.pool}, {chosen}"),
    ]
    if row.alt_row is not None:
        alt = ", ".join(row.alt_fields)
        steps.append(("alt row", f"{row.alt_row} by {alt}; its hops follow those of the row"))
    return steps


def _fields(row: Row) -> str:
    """Name the hashed fields, with the prefix that counts of the source address, unless it is all of it."""
    source = "src_addr" if row.source_bits in (32, 128) else f"src_addr/{row.source_bits}"
    return ", ".join(source if field == "src_addr" else field for field in row.fields)


def _end(found: LiveTrace) -> list[tuple[str, str]]:
    """Describe what was, or would have been, sent."""
    steps = []
    if output := found.output:
        frame = bytes.fromhex(output.frame)
        steps.append(("output", f"{output.bytes} bytes {_outer(frame)}"))
        lines = [frame[at : at + 32].hex(" ", -4) for at in range(0, len(frame), 32)]
        steps += [("" if n else "frame", line) for n, line in enumerate(lines)]
        steps.append(("out", f"port {output.port}, tx queue {output.queue}"))
    if found.punt:
        steps.append(("punt", f"to the kernel's interface {found.punt.interface}, class {found.punt.class_}"))
    sent = "sent" if found.sent else "not sent: freed"
    return [*steps, ("end", f"{sent}, after {found.took_us:.0f} µs")]


def _outer(frame: bytes) -> str:
    """Describe the first headers of a frame to send."""
    text, at = f"to {frame[:6].hex(':')}", 14
    while frame[at - 2 : at] in TAGS:
        text += f", VLAN {int.from_bytes(frame[at : at + 2], 'big') & 0xFFF}"
        at += 4
    if frame[at] >> 4 == 4:
        protocol, ends, rest = frame[at + 9], frame[at + 12 : at + 20], at + 4 * (frame[at] & 15)
    else:
        protocol, ends, rest = frame[at + 6], frame[at + 8 : at + 40], at + 40
    source, destination = (ip_address(ends[n : n + len(ends) // 2]) for n in (0, len(ends) // 2))
    text += f"; {source} → {destination}, protocol {protocol}"
    if protocol == UDP:
        text += f", port {int.from_bytes(frame[rest : rest + 2], 'big')}"
        text += f" → {int.from_bytes(frame[rest + 2 : rest + 4], 'big')}"
    return text


def _decision(packet: Packet) -> native.Decision:
    """Return the parsed packet in the form that both traces describe."""
    flow = None
    if packet.source and packet.destination:
        flow = native.Flow(
            packet.source.version, packet.protocol, packet.source, packet.source_port,
            packet.destination, packet.destination_port,
        )  # fmt: skip
    return native.Decision(
        verdict="", reason="", kind=packet.kind, length=packet.bytes, tags=packet.tags, vip=packet.to,
        flow=flow, service=None, hash=None, row=None, alt_row=None, chain=(), output=None,
    )  # fmt: skip
