"""What VPP's own tests of its lb plugin demand of packets, demanded of the real forwarder.

The cases are those of test/test_lb.py in FDio/vpp (tests/README.md has the table), the code is not: a hundred
clients' datagrams to a VIP go in, five backends share them, and every field of what comes out is read here.
"""

import json
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from oracle.build import IPV4, IPV6, ethernet, ipv4, ipv6, tcp, udp
from oracle.wrap import checksum

from dataplane.rig import config, run_once, to_toml
from glbpy import _native as native
from glbpy import pcap

FLOWS, BACKENDS, PORT = 100, 5, 20000
SOURCE = {4: "198.51.100.42", 6: "2001:db8:5::1"}
NET = {4: "10.0.0.", 6: "2001:db8:a::"}  # of backends
VIP = {4: "203.0.113.0/24", 6: "2001:db8:1::/64"}
GRE_TYPES = {4: 0x0800, 6: 0x86DD}
ALL_FIELDS = ("src_addr", "dst_addr", "src_port", "dst_port")
DSCP, TARGET = 7, 3307

Name = Callable[[str], str]


@dataclass(frozen=True)
class Sent:
    """The outermost IP header of a frame, and what it carries."""

    source: str
    destination: str
    tos: int
    flow_label: int
    protocol: int
    hop_limit: int
    header: bytes
    payload: bytes


def sent(frame: bytes) -> Sent:
    packet = frame[14:]
    if packet[0] >> 4 == 4:
        assert (frame[12:14], packet[0], len(packet)) == (b"\x08\x00", 0x45, int.from_bytes(packet[2:4]))
        assert checksum(packet[:20]) == 0
        assert packet[6:8] in (b"\x40\x00", b"\x00\x00")  # no fragment
        ends = str(IPv4Address(packet[12:16])), str(IPv4Address(packet[16:20]))
        return Sent(*ends, packet[1], 0, packet[9], packet[8], packet[:20], packet[20:])
    (word,) = struct.unpack_from(">I", packet)
    assert (frame[12:14], len(packet)) == (b"\x86\xdd", 40 + int.from_bytes(packet[4:6]))
    ends = str(IPv6Address(packet[8:24])), str(IPv6Address(packet[24:40]))
    tos, label = word >> 20 & 0xFF, word & 0xFFFFF
    return Sent(*ends, tos, label, packet[6], packet[7], packet[:40], packet[40:])


def transport_sum(packet: Sent) -> int:
    """What TCP's or UDP's checksum comes to: 0 when it is right."""
    ends = ip_address(packet.source).packed + ip_address(packet.destination).packed
    return checksum(ends + struct.pack(">II", len(packet.payload), packet.protocol) + packet.payload)


def clients(version: int, vips: list[str], protocol: int = 17, port: int = PORT) -> list[bytes]:
    """A packet of each client, with its transport checksum."""
    made = []
    for n in range(FLOWS):
        source = f"192.0.2.{n}" if version == 4 else f"2001:db8:c::{n:x}"
        destination = vips[n % len(vips)]
        body = (udp if protocol == 17 else tcp)(10000 + n, port, b"flow %d" % n)
        at = 6 if protocol == 17 else 16
        ends = ip_address(source).packed + ip_address(destination).packed
        total = checksum(ends + struct.pack(">II", len(body), protocol) + body)
        body = body[:at] + struct.pack(">H", total) + body[at + 2 :]
        wrap, kind = (ipv4, IPV4) if version == 4 else (ipv6, IPV6)
        made.append(ethernet(wrap(source, destination, protocol, body), kind))
    return made


def vips_of(bind: native.BindInput) -> list[str]:
    """Addresses of a VIP: all over a prefix, or the one that it is."""
    step = max(1, bind.vip.num_addresses // 100)
    return [str(bind.vip[n * step]) for n in range(min(100, bind.vip.num_addresses))]


class Balancer:
    """Services with a pool of five backends, and what the forwarder makes of packets to them."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name

    def send(
        self, frames: list[bytes], backends: int, *services: dict[str, Any]
    ) -> tuple[list[Sent], dict[str, Any]]:
        """``backends``: their family. Returns what came out, and the counts."""
        pool = native.PoolInput(
            "p",
            tuple(
                native.BackendInput(f"b{n}", n, ip_address(f"{NET[backends]}{n}"))
                for n in range(1, BACKENDS + 1)
            ),
        )
        made = tuple(
            native.ServiceInput(
                **{
                    "name": f"s{n}", "id": n, "pool": 0, "hash_key": bytes(16), "seed": bytes(16),
                    "rows": 1024, "hops": 1, "hash_fields": ALL_FIELDS, **fields,
                }
            )
            for n, fields in enumerate(services, 1)
        )  # fmt: skip
        snapshot = native.compile_snapshot(native.ConfigInput((pool,), made))
        (self.folder / "snapshot.glb").write_bytes(snapshot)
        pcap.write(self.folder / "in.pcap", frames, range(len(frames)))
        document = config(
            self.name, self.folder,
            f"net_pcap0,rx_pcap={self.folder}/in.pcap,tx_pcap={self.folder}/out.pcap",
            forward={
                "filter_mac": False, "local_mac": "02:00:00:00:00:01",
                "outer_source_v4": SOURCE[4], "outer_source_v6": SOURCE[6],
            },
        )  # fmt: skip
        (self.folder / "director.toml").write_text(to_toml(document))
        done = run_once("--config", str(self.folder / "director.toml"), "--replay")
        assert done.returncode == 0, done.stderr
        out = pcap.parse((self.folder / "out.pcap").read_bytes())
        return [sent(frame) for frame in out.frames()], json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def balancer(tmp_path: Path, name: Name) -> Balancer:
    return Balancer(tmp_path, name("vpp"))


def binds(version: int, per_port: bool, prefix: bool = True) -> tuple[native.BindInput, ...]:
    """The VIP, or one port of it; what rewrites packets has one address, and TCP and UDP only."""
    network = ip_network(VIP[version])
    if not prefix:
        network = ip_network(network[10])
    protocols = ("any",) if prefix and not per_port else ("tcp", "udp")
    first, last = (PORT, PORT) if per_port else (0, 65535)
    return tuple(native.BindInput(network, protocol, first, last) for protocol in protocols)


def check_shares(packets: list[Sent], family: int) -> None:
    """Every backend has its part: at least half of an even one, as VPP's test has it."""
    shares = Counter(packet.destination for packet in packets)
    assert set(shares) == {f"{NET[family]}{n}" for n in range(1, BACKENDS + 1)}
    assert min(shares.values()) >= len(packets) / (2 * BACKENDS)


@pytest.mark.parametrize("per_port", [False, True], ids=["vip", "port"])
@pytest.mark.parametrize("outer", [4, 6], ids=["gre4", "gre6"])
@pytest.mark.parametrize("inner", [4, 6], ids=["ip4", "ip6"])
def test_gre(balancer: Balancer, inner: int, outer: int, per_port: bool) -> None:
    """GRE without options around the client's packet, which is as it was."""
    where = binds(inner, per_port)
    frames = clients(inner, vips_of(where[0]))
    beside = clients(inner, vips_of(where[0]), port=PORT + 1)[:1]
    packets, counts = balancer.send(frames + beside, outer, {"binds": where, "encapsulation": "gre"})
    assert counts["punted_by_reason"] == ({"no_service": 1} if per_port else {})
    if not per_port:
        frames += beside
    for frame, packet in zip(frames, packets, strict=True):
        assert (packet.source, packet.tos, packet.protocol) == (SOURCE[outer], 0, 47)
        assert struct.unpack_from(">HH", packet.payload) == (0, GRE_TYPES[inner])
        assert packet.payload[4:] == frame[14:]
    check_shares(packets, outer)


def check_l3dsr(frames: list[bytes], packets: list[Sent]) -> None:
    for frame, packet in zip(frames, packets, strict=True):
        before = sent(frame)
        assert packet.tos == DSCP << 2
        assert (packet.source, packet.protocol) == (before.source, before.protocol)
        assert packet.payload[8:] == before.payload[8:]
        assert packet.payload[:4] == before.payload[:4]  # ports
        assert transport_sum(packet) == 0
    check_shares(packets, 4)


@pytest.mark.parametrize("protocol", [6, 17], ids=["tcp", "udp"])
@pytest.mark.parametrize("per_port", [False, True], ids=["vip", "port"])
def test_l3dsr(balancer: Balancer, per_port: bool, protocol: int) -> None:
    """DSCP and destination are another, checksums are right. (VPP sends only UDP through it.)"""
    where = binds(4, per_port, prefix=False)
    frames = clients(4, vips_of(where[0]), protocol)
    packets, _ = balancer.send(frames, 4, {"binds": where, "encapsulation": "l3dsr", "dscp": DSCP})
    if protocol == 17:
        check_l3dsr(frames, packets)
    else:
        assert {packet.tos for packet in packets} == {DSCP << 2}
        assert [transport_sum(packet) for packet in packets] == [0] * FLOWS
        check_shares(packets, 4)


@pytest.mark.parametrize("per_port", [False, True], ids=["vip", "port"])
def test_l3dsr_with_source_affinity(balancer: Balancer, per_port: bool) -> None:
    """A client's packets go to one backend, from whatever port; another port's service decides for itself."""
    where = binds(4, per_port, prefix=False)
    service = {"binds": where, "encapsulation": "l3dsr", "dscp": DSCP, "hash_fields": ("src_addr",)}
    frames = clients(4, vips_of(where[0]))[: FLOWS // 2]
    other = clients(4, vips_of(where[0]))[: FLOWS // 2]
    for n, frame in enumerate(other):  # the same clients from other ports; the checksum no longer counts
        body = bytearray(frame)
        body[34:36] = struct.pack(">H", 30000 + n)
        body[40:42] = bytes(2)
        other[n] = bytes(body)
    beside: tuple[dict[str, Any], ...] = ()
    if per_port:
        elsewhere = native.BindInput(where[0].vip, "udp", PORT // 2, PORT // 2)
        beside = ({"binds": (elsewhere,), "encapsulation": "l3dsr", "dscp": DSCP},)
    packets, _ = balancer.send(frames + frames + other, 4, service, *beside)
    first, again, others = (packets[at : at + FLOWS // 2] for at in range(0, len(packets), FLOWS // 2))
    check_l3dsr(frames, first)
    assert [p.destination for p in first] == [p.destination for p in again] == [p.destination for p in others]

    hashed_by_ports = {**service, "hash_fields": ALL_FIELDS}
    packets, _ = balancer.send(frames + other, 4, hashed_by_ports)
    by_ports = [packet.destination for packet in packets]
    assert by_ports[: FLOWS // 2] != by_ports[FLOWS // 2 :]


@pytest.mark.parametrize("protocol", [6, 17], ids=["tcp", "udp"])
@pytest.mark.parametrize("version", [4, 6], ids=["nat4", "nat6"])
def test_nat(balancer: Balancer, version: int, protocol: int) -> None:
    """Destination and port are the backend's, the client is as it was. (VPP's drops TCP.)"""
    where = binds(version, True, prefix=False)
    frames = clients(version, vips_of(where[0]), protocol)
    packets, _ = balancer.send(
        frames, version, {"binds": where, "encapsulation": "nat", "backend_port": TARGET}
    )
    for frame, packet in zip(frames, packets, strict=True):
        before = sent(frame)
        assert (packet.source, packet.tos, packet.flow_label) == (before.source, 0, 0)
        assert packet.protocol == protocol
        assert packet.hop_limit >= 63
        sport, dport = struct.unpack_from(">HH", packet.payload)
        assert (sport, dport) == (int.from_bytes(before.payload[:2]), TARGET)
        assert packet.payload.endswith(before.payload[18:])
        assert transport_sum(packet) == 0
    check_shares(packets, version)
