"""Every encapsulation between the real forwarder and glb-redirect, with real clients and servers.

A megabyte goes each way, the backend is asked whom it talks to (the client itself, at the VIP or, with nat,
at its own address and port), and headers are looked at where the backends receive them.
"""

import json
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from glbpy.client import path_of
from glbpy.errors import LabError
from glbpy.lab import netns, redirect
from glbpy.lab.encapsulations import (
    DSCP,
    EXTRAS,
    GRE_KEY,
    NAT_PORT,
    POOL_V6,
    TUNNELS,
    Encapsulation,
    Extra,
    redirect_options,
)
from glbpy.lab.lab import Lab, document
from glbpy.lab.slow import pattern
from glbpy.lab.topology import CLIENT4, CLIENT6, MTU
from glbpy.lab.traffic import Client, Connection, request

MEGABYTE = 1_000_000
CASES = {f"{each.name}-{vip}": (each, vip) for each in EXTRAS if each.protocol == "tcp" for vip in each.vips}
cases = pytest.mark.parametrize(("service", "vip"), CASES.values(), ids=list(CASES))
UDP = {each.name: each for each in EXTRAS if each.protocol == "udp"}


@pytest.fixture(scope="module")
def lab(lab_name: Callable[[str], str]) -> Iterator[Lab]:
    lab = Lab(lab_name("encap"))
    lab.down()  # of a run that was killed
    lab.up(encapsulations=[Encapsulation.ALL])
    for pool in ("web", POOL_V6):
        with lab.api() as api:
            netns.wait_until(
                lambda api=api, pool=pool: (
                    {  # type: ignore[misc]
                        each["status"]["health"] for each in api.items(path_of("pools", pool, "backends"))
                    }
                    == {"healthy"}
                ),
                f"health of {pool}",
            )
            lab.wait_in_force(api)
    yield lab
    lab.down()
    assert not any(lab.rundir.traces().values())


@pytest.fixture(scope="module")
def client(lab: Lab) -> Iterator[Client]:
    with Client(lab.state().namespaces.client) as client:
        yield client


def glb(*words: str) -> "subprocess.CompletedProcess[str]":
    whole = [str(Path(sys.executable).with_name("glb")), *words]
    return subprocess.run(whole, capture_output=True, text=True, timeout=120, check=False)


def test_the_lab_says_what_there_is(lab: Lab) -> None:
    text = glb("lab", "status", "--name", lab.name).stdout
    listed = json.loads(glb("lab", "status", "--json", "--name", lab.name).stdout)["services"]
    assert [each["name"] for each in listed] == [each.name for each in EXTRAS]
    for service in EXTRAS:
        assert all(vip in text for vip in service.vips)
    with lab.api() as api:
        known = {each["name"]: each["spec"]["encapsulation"] for each in api.items(path_of("services"))}
    assert known == {"www": "gue"} | {each.name: str(each.encapsulation) for each in EXTRAS}


def test_a_lab_keeps_its_encapsulations(lab: Lab) -> None:
    assert glb("lab", "up", "--name", lab.name, "--encapsulation", "all").returncode == 0
    refused = glb("lab", "up", "--name", lab.name, "--encapsulation", "nat")
    assert refused.returncode == 1
    assert "is up with other encapsulations (all)" in " ".join(refused.stderr.split())


def client_address(vip: str) -> str:
    return CLIENT6 if ":" in vip else CLIENT4


def counters(lab: Lab) -> dict[str, int]:
    """Of all backends' glb-redirect, added up."""
    each = [redirect.counters(backend, lab.path) for backend in lab.backends()]
    return {name: sum(one[name] for one in each) for name in each[0]}


def moved(lab: Lab, before: dict[str, int]) -> dict[str, int]:
    changes = {name: count - before[name] for name, count in counters(lab).items() if name != "not_gue"}
    return {name: count for name, count in changes.items() if count}


def url(service: Extra, vip: str, path: str) -> str:
    return f"http://[{vip}]:{service.port}{path}" if ":" in vip else f"http://{vip}:{service.port}{path}"


def upload_and_download(lab: Lab, service: Extra, vip: str, where: Path, timeout_s: float = 10.0) -> None:
    """Post a megabyte, which nginx takes whole before it answers, and get one back; check every byte."""
    body, answer = where / "body", where / "answer"
    body.write_bytes(bytes(MEGABYTE))
    curl = ["curl", "-gsS", "-m", str(timeout_s), "-o", str(answer), "-w", "%{http_code} %header{x-backend}"]
    there = url(service, vip, f"/slow?seconds=0&bytes={MEGABYTE}")
    said = netns.run_in(lab.state().namespaces.client, [*curl, "--data-binary", f"@{body}", there])
    code, backend = said.split()
    assert code == "200"
    assert answer.read_bytes() == pattern(backend, 0, MEGABYTE)


@cases
def test_a_megabyte_each_way(lab: Lab, service: Extra, vip: str, tmp_path: Path) -> None:
    before = counters(lab)
    upload_and_download(lab, service, vip, tmp_path)
    seen = moved(lab, before)
    segments = MEGABYTE // 1500
    if service.encapsulation == Encapsulation.L2DSR:
        assert seen == {}  # there is nothing to be undone
    elif service.encapsulation == Encapsulation.NAT:
        assert set(seen) == {"nat_reply"}
        assert seen["nat_reply"] > 10  # super-packets: the kernel cuts them later
    else:
        expected = {
            Encapsulation.GUE: {"received", "local_syn", "local_request", "local_established"},
            Encapsulation.L3DSR: {"received", "local_l3dsr"},
        }.get(service.encapsulation, {"received", "local_tunnel"})
        assert set(seen) - {"local_timewait"} == expected
        assert seen["received"] >= segments
        assert seen["received"] * 2 == sum(seen.values())


@cases
def test_the_backend_sees_the_client(lab: Lab, client: Client, service: Extra, vip: str) -> None:
    async def ends() -> tuple[str, int, list[str]]:
        connection = await Connection(vip, service.port).open()
        body = await connection.get("/ends")
        connection.close()
        return str(connection.backend), connection.sport, body.decode().split()

    backend, sport, seen = client.run(ends())
    there = [vip, str(service.port)]
    if service.encapsulation == Encapsulation.NAT:
        own = lab.backend(backend)
        there = [own.address6 if ":" in vip else own.address4, str(NAT_PORT)]
    assert seen == [client_address(vip), str(sport), *there]


@cases
def test_connections_spread(client: Client, service: Extra, vip: str) -> None:
    results = [client.run(request(vip, service.port)) for _ in range(24)]
    assert [each.error for each in results] == [None] * 24
    assert {each.backend for each in results} == {"backend1", "backend2", "backend3"}


@pytest.mark.parametrize("size", [0, 1, 1400])
@pytest.mark.parametrize("name", UDP)
def test_udp_replies_come_from_the_vip(lab: Lab, name: str, size: int) -> None:
    service = UDP[name]
    vip, data, backends = service.vips[0], b"x" * size, set()
    for _ in range(16):
        with netns.entered(lab.state().namespaces.client):
            asking = socket.socket(socket.AF_INET6 if ":" in vip else socket.AF_INET, socket.SOCK_DGRAM)
        with asking:
            asking.settimeout(3)
            asking.bind(("", 0))
            asking.sendto(data, (vip, service.port))
            answer, sender = asking.recvfrom(65536)
            line, _, rest = answer.partition(b"\n")
            backend, address, port = line.decode().split()
            assert sender[:2] == (vip, service.port)
            assert (address, int(port), rest) == (client_address(vip), asking.getsockname()[1], data)
            backends.add(backend)
    assert len(backends) > 1


# --- second chance, and room for headers


def test_second_chance_over_ipv6(lab: Lab, client: Client) -> None:
    """Connections of a backend that is drained go on: its packets come by way of another."""
    service = next(each for each in EXTRAS if each.name == "gue-v6")
    connections = [
        client.run(Connection(service.vips[number % 2], service.port).open()) for number in range(16)
    ]

    async def ask() -> None:
        for connection in connections:
            await connection.get()

    client.run(ask())
    drained = str(connections[0].backend)
    before = counters(lab)
    try:
        set_drained(lab, drained, True)
        client.run(ask())
    finally:
        set_drained(lab, drained, False)
    for connection in connections:
        client.loop.call_soon_threadsafe(connection.close)
    seen = moved(lab, before)
    assert seen["forwarded"] > 0
    assert "local_last_hop" not in seen


def set_drained(lab: Lab, backend: str, drained: bool) -> None:
    with lab.api() as api:
        verb = "drain" if drained else "undrain"
        written = api.post(path_of("pools", POOL_V6, "backends", backend, verb))
        lab.wait_in_force(api, written["revision"])


ROOM = {4: 1500 - 48 - 40, 6: 1500 - 48 - 60}  # MSS with GRE over IPv6, the largest header here but GUE's


@pytest.fixture
def narrow(lab: Lab) -> Iterator[None]:
    """The backends' segment has no room for headers around 1500 bytes, so they announce a smaller MSS."""
    for backend in lab.backends():
        netns.ip(
            backend.ns,
            [
                "link set eth0 mtu 1500",
                f"route replace default via 10.0.0.1 advmss {ROOM[4]}",
                f"route replace default via 2001:db8:b::1 advmss {ROOM[6]}",
            ],
        )
    yield
    for backend in lab.backends():
        netns.ip(
            backend.ns,
            [
                f"link set eth0 mtu {MTU}",
                "route replace default via 10.0.0.1",
                "route replace default via 2001:db8:b::1",
            ],
        )


@pytest.mark.parametrize("name", ["gre", "gre-v6", "ipip", "ip6ip6", "4in6", "6in4", "nat", "nat-v6"])
def test_a_smaller_mss_makes_room(lab: Lab, narrow: None, name: str, tmp_path: Path) -> None:
    service = next(each for each in EXTRAS if each.name == name)
    for vip in service.vips:
        upload_and_download(lab, service, vip, tmp_path)


def test_without_room_uploads_stand_still(lab: Lab, narrow: None, tmp_path: Path) -> None:
    """What the smaller MSS is for."""
    for backend in lab.backends():
        netns.ip(backend.ns, ["route replace default via 10.0.0.1"])
    service = next(each for each in EXTRAS if each.name == "ipip")
    with pytest.raises(LabError, match="timed out"):
        upload_and_download(lab, service, service.vips[0], tmp_path, timeout_s=1)


# --- glb-redirect under traffic


def strays(lab: Lab) -> dict[str, int]:
    """What kernels count of packets that glb-redirect did not take: no such port, protocol, or connection."""
    ends = {each.name: each.ns for each in lab.backends()} | {"client": lab.state().namespaces.client}
    names = ("UdpNoPorts", "IpInUnknownProtos", "Ip6InUnknownProtos", "TcpOutRsts")
    found = {}
    for end, ns in ends.items():
        said = netns.run_in(ns, ["nstat", "-asz", *names])
        found |= {f"{end} {name}": int(said.split(name)[1].split()[0]) for name in names}
    return found


async def stay(service: Extra, vip: str, backends: list[str], stop: threading.Event) -> None:
    """Download until told to stop; says whose the first bytes are."""
    connection = await Connection(vip, service.port).open()
    first = iter([lambda: backends.append(str(connection.backend))])
    try:
        await connection.download(600, 60_000_000, stop, lambda: next(first, lambda: None)())
    finally:
        connection.close()


def test_attached_again_and_not_detached_under_traffic(lab: Lab, client: Client) -> None:
    """Programs are replaced on ingress and egress in the midst of downloads; nothing gets by either."""
    begun: list[str] = []
    stop = threading.Event()
    downloads = [client.start(stay(service, vip, begun, stop)) for service, vip in CASES.values()]
    try:
        netns.wait_until(lambda: len(begun) == len(downloads), "all downloads to begin")
        before, stray = [redirect.counters(each, lab.path) for each in lab.backends()], strays(lab)
        for _ in range(2):
            for backend in lab.backends():
                redirect.attach(
                    backend, lab.path, lab.backends(), lab.directors(), redirect_options(EXTRAS)
                )
        with pytest.raises(LabError, match="packets of clients came by within a second"):
            redirect.tool(lab.backend(begun[0]), lab.path, "detach", "eth0")
        assert strays(lab) == stray
    finally:
        stop.set()
    for each in downloads:
        each.result(30)
    for counted, backend in zip(before, lab.backends(), strict=True):
        after = redirect.counters(backend, lab.path)
        assert all(after[name] >= count for name, count in counted.items())


# --- paths that are narrower on the client's side

NARROW = 1300


@pytest.fixture(scope="module")
def far(lab: Lab) -> Iterator[None]:
    """The router must send the client 1300 bytes at most, and says so to whoever sends it more."""
    router = lab.state().namespaces.router
    routes = [f"{CLIENT4}/32 dev client", f"{CLIENT6}/128 dev client"]
    netns.ip(router, [f"route replace {route} mtu lock {NARROW}" for route in routes])
    yield
    netns.ip(router, [f"route del {route}" for route in routes])
    forget_paths(lab)


def forget_paths(lab: Lab) -> None:
    for backend in lab.backends():
        netns.ip(backend.ns, ["route flush cache"])
        netns.run_in(backend.ns, ["ip", "-6", "route", "flush", "cache"])


@cases
def test_too_big_reaches_the_sender(lab: Lab, far: None, service: Extra, vip: str, tmp_path: Path) -> None:
    """The router's ICMP goes to the VIP, and by way of the director to the backend that sent too much."""
    forget_paths(lab)
    answer = tmp_path / "answer"
    curl = ["curl", "-gsS", "-m", "10", "-o", str(answer), "-w", "%header{x-backend}"]
    where = url(service, vip, "/slow?seconds=0&bytes=100000")
    name = netns.run_in(lab.state().namespaces.client, [*curl, where])
    assert answer.read_bytes() == pattern(name, 0, 100_000)
    routes = {
        each.name: netns.run_in(each.ns, ["ip", "route", "get", client_address(vip)])
        for each in lab.backends()
    }
    assert {each for each, route in routes.items() if f"mtu {NARROW}" in route} == {name}


# --- what is on the wire


class Tap:
    """What comes in at a backend's eth0, frame by frame."""

    def __init__(self, ns: str) -> None:
        with netns.entered(ns):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.socket.bind(("eth0", 3))
        self.socket.setblocking(False)

    def frames(self) -> list[bytes]:
        """Those that have come for this host since the last call, or since the start."""
        found = []
        while True:
            try:
                frame, origin = self.socket.recvfrom(65536)
            except BlockingIOError:
                return found
            if origin[2] == socket.PACKET_HOST:
                found.append(frame)


@pytest.fixture
def taps(lab: Lab) -> Iterator[list[Tap]]:
    taps = [Tap(each.ns) for each in lab.backends()]
    yield taps
    for tap in taps:
        tap.socket.close()


def outer(frame: bytes) -> tuple[int, bytes, bytes, bytes]:
    """Protocol, source, destination and payload of a frame's first IP header."""
    if frame[12:14] == b"\x08\x00":
        return frame[23], frame[26:30], frame[30:34], frame[34:]
    return frame[20], frame[22:38], frame[38:54], frame[54:]


def tos(packet: bytes) -> int:
    """Of an IP packet."""
    return packet[1] if packet[0] >> 4 == 4 else (packet[0] << 4 | packet[1] >> 4) & 0xFF


PORTLESS = {
    Encapsulation.GRE: {47}, Encapsulation.IPIP: {4}, Encapsulation.IP6IP6: {41},
    Encapsulation.V4_IN_V6: {4}, Encapsulation.V6_IN_V4: {41},
}  # fmt: skip


@pytest.mark.parametrize("name", [each.name for each in EXTRAS if each.encapsulation in PORTLESS])
def test_outer_sources_vary_by_flow(lab: Lab, client: Client, taps: list[Tap], name: str) -> None:
    service = next(each for each in EXTRAS if each.name == name)
    results = [client.run(request(service.vips[0], service.port)) for _ in range(24)]
    assert [each.error for each in results] == [None] * 24
    ports = {struct.pack("!HH", each.sport, service.port) for each in results}
    flows: dict[bytes, set[bytes]] = {}
    for tap, backend in zip(taps, lab.backends(), strict=True):
        for protocol, src, dst, payload in map(outer, tap.frames()):
            if protocol not in PORTLESS[service.encapsulation]:
                continue
            own = backend.address4 if len(dst) == 4 else backend.address6
            assert dst == socket.inet_pton(socket.AF_INET if len(dst) == 4 else socket.AF_INET6, own)
            if protocol == 47:
                kind = b"\x86\xdd" if ":" in service.vips[0] else b"\x08\x00"
                assert payload[:8] == b"\x20\x00" + kind + struct.pack("!I", GRE_KEY)
                payload = payload[8:]
            inner = payload[20:24] if payload[0] >> 4 == 4 else payload[40:44]
            if inner in ports:  # and not the end of a connection of the test before
                flows.setdefault(inner, set()).add(src)
    assert len(flows) == 24
    assert {len(sources) for sources in flows.values()} == {1}
    everything = {next(iter(sources)) for sources in flows.values()}
    assert len(everything) > 20
    prefix = b"\xac\x10" if len(next(iter(everything))) == 4 else b"\x01\x00" + bytes(6)
    assert {each[: len(prefix)] for each in everything} == {prefix}


@pytest.mark.parametrize("vip", next(each for each in EXTRAS if each.name == "l2dsr").vips)
def test_l2dsr_goes_to_the_backends_own_mac(lab: Lab, client: Client, taps: list[Tap], vip: str) -> None:
    assert client.run(request(vip, 80)).error is None
    packed = socket.inet_pton(socket.AF_INET6 if ":" in vip else socket.AF_INET, vip)
    seen = 0
    for tap, backend in zip(taps, lab.backends(), strict=True):
        (link,) = json.loads(netns.run_in(backend.ns, ["ip", "-j", "link", "show", "eth0"]))
        found = [frame for frame in tap.frames() if outer(frame)[2] == packed]
        assert {frame[:6] for frame in found} <= {bytes.fromhex(link["address"].replace(":", ""))}
        seen += len(found)
    assert seen >= 3  # a handshake and a request


@pytest.mark.parametrize("name", ["l3dsr", "l3dsr-v6"])
def test_l3dsr_carries_its_dscp(client: Client, taps: list[Tap], name: str) -> None:
    service = next(each for each in EXTRAS if each.name == name)
    assert client.run(request(service.vips[0], service.port)).error is None
    sent = socket.inet_pton(
        socket.AF_INET6 if ":" in service.vips[0] else socket.AF_INET, client_address(service.vips[0])
    )
    marks = [tos(frame[14:]) >> 2 for tap in taps for frame in tap.frames() if outer(frame)[1] == sent]
    assert len(marks) >= 3
    assert set(marks) == {DSCP}


def marks(lab: Lab, taps: list[Tap], service: Extra, sent: int) -> set[tuple[int, int]]:
    """Outer and inner TOS or traffic class, as backends get them, of packets that were sent with `sent`."""
    vip = service.vips[0]
    with netns.entered(lab.state().namespaces.client):
        asking = socket.socket(socket.AF_INET6 if ":" in vip else socket.AF_INET)
    with asking:
        asking.settimeout(3)
        if ":" in vip:
            asking.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, sent)
        else:
            asking.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, sent)
        asking.connect((vip, service.port))
        asking.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert asking.recv(12) == b"HTTP/1.1 200"
        ports = struct.pack("!HH", asking.getsockname()[1], service.port)
        # Before it is closed: a reset would come without the socket's marks.
        frames = [frame for tap in taps for frame in tap.frames() if ports in frame]
    assert len(frames) >= 3
    inner = [frame[: frame.index(ports)][-40 if ":" in vip else -20 :] for frame in frames]
    return {(tos(frame[14:]), tos(header)) for frame, header in zip(frames, inner, strict=True)}


@pytest.mark.parametrize("name", [each.name for each in EXTRAS if each.encapsulation in TUNNELS])
def test_outer_dscp_is_the_clients(lab: Lab, taps: list[Tap], name: str) -> None:
    service = next(each for each in EXTRAS if each.name == name)
    assert marks(lab, taps, service, 46 << 2) == {(46 << 2, 46 << 2)}


def test_outer_dscp_of_the_service(lab: Lab, taps: list[Tap]) -> None:
    """A number, or 0 when nothing is said; and the client's packet comes out with its own."""
    www = Extra("www", Encapsulation.GUE, 10, "web")
    assert marks(lab, taps, www, 46 << 2) == {(0, 46 << 2)}
    tunnels = [each for each in EXTRAS if each.encapsulation in TUNNELS]
    whole = document(lab.backends(), EXTRAS)
    for service in whole["services"]:
        if service.get("encapsulation") in TUNNELS:
            service |= {"outer_dscp": 10, "ecn": "zero"}
    apply(lab, whole)
    try:
        seen = {each.name: marks(lab, taps, each, 46 << 2) for each in tunnels}
    finally:
        apply(lab, document(lab.backends(), EXTRAS))
    assert seen == {each.name: {(10 << 2, 46 << 2)} for each in tunnels}


def apply(lab: Lab, whole: dict[str, Any]) -> None:
    with lab.api() as api:
        lab.wait_in_force(api, api.post(path_of("apply"), whole)["revision"])


# --- congestion marks, RFC 6040

MARKED = ["gue-v6", "gre", "gre-v6", "ipip", "ip6ip6", "4in6", "6in4"]
# What a congested switch between director and backends does to packets whose ends know ECN.
CONGESTION = """
table bridge congested {
    chain forward {
        type filter hook forward priority 0
        iifname "director1" ether type ip ip ecn { ect0, ect1 } ip ecn set ce
        iifname "director1" ether type ip6 ip6 ecn { ect0, ect1 } ip6 ecn set ce
    }
}
"""


@pytest.fixture(scope="module")
def congested(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    rules = tmp_path_factory.mktemp("nft") / "rules"
    rules.write_text(CONGESTION)
    names = [lab.state().namespaces.client, *(each.ns for each in lab.backends())]
    for name in names:
        netns.sysctl(name, {"ipv4/tcp_ecn": 1})
    netns.run_in(lab.state().namespaces.router, ["nft", "-f", str(rules)])
    yield
    netns.run_in(lab.state().namespaces.router, ["nft", "delete", "table", "bridge", "congested"])
    for name in names:
        netns.sysctl(name, {"ipv4/tcp_ecn": 2})


def marks_seen(lab: Lab, family: int) -> int:
    """Packets with CE that the backends' kernels received."""
    name = "Ip6InCEPkts" if family == 6 else "IpExtInCEPkts"
    said = [netns.run_in(each.ns, ["nstat", "-asz", name]) for each in lab.backends()]
    return sum(int(text.split(name)[1].split()[0]) for text in said)


@pytest.mark.parametrize("name", MARKED)
def test_congestion_marks_reach_the_backend(lab: Lab, congested: None, name: str, tmp_path: Path) -> None:
    service = next(each for each in EXTRAS if each.name == name)
    for vip in service.vips:
        family = 6 if ":" in vip else 4
        before, dropped = marks_seen(lab, family), counters(lab)["ecn_drop"]
        upload_and_download(lab, service, vip, tmp_path)
        assert marks_seen(lab, family) - before > 100
        assert counters(lab)["ecn_drop"] == dropped
