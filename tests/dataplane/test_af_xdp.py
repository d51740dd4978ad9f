"""A forwarder on af_xdp: VIP traffic is its own, the rest stays with the kernel; nothing is left behind.

far (far0) ──veth── director (director0): kernel and forwarder share it
"""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from oracle.build import IPV4, IPV6, ethernet, extension, fragment, icmp, ipv4, ipv6, tcp
from redirect.netns import Namespace, run

from dataplane.rig import PROGRAM, VIP, Director, Wire, run_once, snapshot

AF_XDP = "net_af_xdp0,iface=director0"
OBJECT = PROGRAM.parents[2] / "build/dev/native/forwarder/glb_xdp.bpf.o"
CLIENT, CLIENT6, VIP6 = "192.0.2.77", "2001:db8:c::77", "2001:db8::10"

Make = Callable[..., Director]
Name = Callable[[str], str]


class Cable:
    """Two namespaces with a veth between them, addresses on both ends."""

    def __init__(self, queues: int = 1) -> None:
        self.director, self.far = Namespace("xdp-dir"), Namespace("xdp-far")
        many = ("numtxqueues", str(queues), "numrxqueues", str(queues))
        self.director.ip(
            "link", "add", "director0", *many, "type", "veth", "peer", "name", "far0", *many,
            "netns", self.far.name,
        )  # fmt: skip
        for end, interface in ((self.director, "director0"), (self.far, "far0")):
            end.run("ethtool", "-L", interface, "rx", str(queues), "tx", str(queues))
        for end, interface, host in ((self.director, "director0", 1), (self.far, "far0", 2)):
            end.sysctl(f"net.ipv6.conf.{interface}.accept_dad", 0)
            end.ip("link", "set", interface, "mtu", "1600", "up")
            end.ip("address", "add", f"10.9.0.{host}/24", "dev", interface)
            end.ip("address", "add", f"fd00:9::{host}/64", "dev", interface, "nodad")
        self.far.run("ethtool", "-K", "far0", "tx", "off")
        self.prefix = ("ip", "netns", "exec", self.director.name)
        self.mac = self.director.run("cat", "/sys/class/net/director0/address").strip()
        with self.far.entered():
            self.wire = Wire("far0")

    def program(self) -> dict[str, object] | None:
        """What XDP program the interface has."""
        (link,) = json.loads(self.director.ip("-j", "link", "show", "director0"))
        return link.get("xdp")

    def close(self) -> None:
        self.wire.close()
        self.director.delete()
        self.far.delete()


@pytest.fixture
def cable() -> Iterator[Cable]:
    made = Cable()
    yield made
    made.close()


@pytest.fixture
def director(make: Make, name: Name, cable: Cable) -> Director:
    made = make(name("x"), AF_XDP, prefix=cable.prefix)
    snapshot(made.snapshot)
    return made.start()


def syn(sport: int, cable: Cable, vip: str = VIP) -> bytes:
    if ":" in vip:
        return ethernet(ipv6(CLIENT6, vip, 6, tcp(sport, 80)), IPV6, dst=cable.mac)
    return ethernet(ipv4(CLIENT, vip, 6, tcp(sport, 80)), IPV4, dst=cable.mac)


def taken(director: Director) -> int:
    xdp = director.client.status().ports[0].xdp
    assert xdp is not None
    return xdp.taken


def received(director: Director, packets: int, timeout_s: float = 10) -> dict[str, int]:
    """Wait until the workers have counted that many packets; the counters then."""
    deadline = time.monotonic() + timeout_s
    while sum((counters := director.counters()).values()) < packets and time.monotonic() < deadline:
        time.sleep(0.02)
    return counters


def echo_once(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        while data := connection.recv(65536):
            connection.sendall(data)


@pytest.mark.parametrize("address", ["10.9.0.1", "fd00:9::1"])
def test_the_kernel_keeps_its_own(director: Director, cable: Cable, address: str) -> None:
    """The director's own address: resolved, pinged and connected to, while VIP traffic is forwarded."""
    vip_packets = cable.wire.send(syn(sport, cable) for sport in range(1000, 1050))
    assert len(cable.wire.receive(50)) == 50
    cable.far.run("ping", "-c", "2", "-W", "5", address)
    (neighbour,) = json.loads(cable.far.ip("-j", "neigh", "show", address))
    assert neighbour["lladdr"] == cable.mac

    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with cable.director.entered():
        listener = socket.create_server((address, 0), family=family)
    with cable.far.entered():
        client = socket.socket(family)
    server = threading.Thread(target=echo_once, args=(listener,))
    server.start()
    with listener, client:
        client.settimeout(10)
        client.connect(listener.getsockname()[:2])
        sent = bytes(range(256)) * 256
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        got = b""
        while data := client.recv(65536):
            got += data
            vip_packets += cable.wire.send([syn(2000 + len(got) % 1000, cable)])
    server.join()
    assert got == sent

    counters = received(director, vip_packets)
    assert {reason: n for reason, n in counters.items() if n} == {
        "forwarded": vip_packets
    }  # all, and nothing else
    assert taken(director) == vip_packets > 50


def test_takes_every_kind_of_vip_packet(director: Director, cable: Cable) -> None:
    """By destination alone: fragments, errors, extension headers, tags, other ports. Not its neighbours."""
    snapshot(director.snapshot, vip=VIP6)
    director.client.load(director.snapshot)
    second = tcp(9, 80, bytes(64))
    to_vip6 = [
        ipv6(CLIENT6, VIP6, 6, second), ipv6(CLIENT6, VIP6, 44, fragment(6, 0, True) + second),
        ipv6(CLIENT6, VIP6, 44, fragment(6, 80, False) + bytes(40)),
        ipv6(CLIENT6, VIP6, 0, extension(6) + second),
        ipv6(CLIENT6, VIP6, 58, icmp(2, 0, 1280, ipv6(VIP6, CLIENT6, 6, tcp(80, 9)))),
    ]  # fmt: skip
    cable.wire.send(ethernet(packet, IPV6, dst=cable.mac) for packet in to_vip6)
    cable.wire.send(
        ethernet(to_vip6[0], IPV6, tags, dst=cable.mac)
        for tags in (((0x8100, 5),), ((0x88A8, 5), (0x8100, 6)))
    )
    cable.wire.send([
        syn(1, cable, "2001:db8::11"), syn(2, cable), b"\xff" * 6 + bytes(6) + b"\x08\x06",
        ethernet(bytes(20), IPV6, dst=cable.mac), ethernet(b"", IPV4, dst=cable.mac),
    ])  # fmt: skip
    cable.wire.send([syn(3, cable, VIP6)])
    counters = received(director, len(to_vip6) + 2 + 1)
    assert sum(counters.values()) == taken(director) == len(to_vip6) + 2 + 1
    assert counters["not_vip"] == 0


def test_vips_come_and_go_with_loads(director: Director, cable: Cable, tmp_path: Path) -> None:
    def offered(*vips: str) -> list[bool]:
        """Whether a packet to each of the VIPs comes out of the forwarder."""
        before = taken(director)
        came = []
        for vip in vips:
            cable.wire.send([syn(7, cable, vip)])
            came.append(len(cable.wire.receive(1, 1)) == 1)
        assert taken(director) - before == sum(came)
        return came

    one = snapshot(tmp_path / "1", vip="203.0.113.10")
    both = snapshot(tmp_path / "2", vip="203.0.113.10", services=2)
    other = snapshot(tmp_path / "3", vip="203.0.113.11")
    six = snapshot(tmp_path / "6", vip=VIP6)
    director.client.load(one)
    assert offered("203.0.113.10", "203.0.113.11", VIP6) == [True, False, False]
    director.client.load(both)
    assert offered("203.0.113.10", "203.0.113.11", VIP6) == [True, True, False]
    director.client.load(other)
    assert offered("203.0.113.10", "203.0.113.11", VIP6) == [False, True, False]
    director.client.load(six)
    assert offered("203.0.113.10", "203.0.113.11", VIP6) == [False, False, True]


def test_swaps_lose_nothing(director: Director, cable: Cable, tmp_path: Path) -> None:
    """A VIP that all snapshots have stays served while others come and go."""
    files = [snapshot(tmp_path / str(n), services=n, revision=n) for n in range(1, 6)]
    for turn in range(60):
        cable.wire.send(syn(1024 + turn * 50 + n, cable) for n in range(50))
        director.client.load(files[turn % 5])
    assert len(cable.wire.receive(60 * 50)) == 60 * 50


def test_a_crash_leaves_nothing(director: Director, cable: Cable) -> None:
    assert cable.program() is not None
    director.kill()
    assert cable.program() is None
    director.start()
    cable.wire.send([syn(1, cable)])
    assert len(cable.wire.receive(1)) == 1


def test_a_stop_leaves_nothing(director: Director, cable: Cable) -> None:
    assert director.terminate() == 0
    assert cable.program() is None
    assert "ERR" not in director.log.read_text()


def test_a_leftover_is_replaced(make: Make, name: Name, cable: Cable) -> None:
    """As of a forwarder that died between the driver's loading of the program and our taking it over."""
    cable.director.run("ip", "link", "set", "director0", "xdp", "object", str(OBJECT), "section", "xdp")
    director = make(name("x"), AF_XDP, prefix=cable.prefix)
    snapshot(director.snapshot)
    director.start()
    cable.wire.send([syn(1, cable)])
    assert len(cable.wire.receive(1)) == 1
    assert "that an earlier forwarder left" in director.log.read_text()


def test_another_forwarder_on_the_interface(director: Director, make: Make, name: Name, cable: Cable) -> None:
    second = make(name("y"), AF_XDP, prefix=cable.prefix)
    refused = run_in(cable, *second.command())
    assert "another forwarder is using director0" in refused
    cable.wire.send([syn(1, cable)])
    assert len(cable.wire.receive(1)) == 1


def test_a_foreign_program_stays(make: Make, name: Name, cable: Cable, tmp_path: Path) -> None:
    source, compiled = tmp_path / "other.c", tmp_path / "other.o"
    source.write_text('__attribute__((section("xdp"), used)) int other(void *c) { return 2; }\n')
    run("clang-14", "-target", "bpf", "-O2", "-c", str(source), "-o", str(compiled))
    cable.director.run("ip", "link", "set", "director0", "xdp", "object", str(compiled), "section", "xdp")
    refused = run_in(cable, *make(name("x"), AF_XDP, prefix=cable.prefix).command())
    assert "director0 already has the XDP program" in refused
    assert "ip link set dev director0 xdp off" in refused
    assert cable.program() is not None


def run_in(cable: Cable, *command: str) -> str:
    """A forwarder that must not start; what it says."""
    with cable.director.entered():
        done = run_once(*command[command.index("--config") :])
    assert done.returncode != 0
    return done.stderr


@pytest.mark.parametrize(
    ("devargs", "message"),
    [
        ("net_af_xdp0", "net_af_xdp needs iface=NAME"),
        ("net_af_xdp0,iface=nosuch0", "there is no network interface nosuch0"),
    ],
)
def test_bad_interfaces(make: Make, name: Name, cable: Cable, devargs: str, message: str) -> None:
    assert message in run_in(cable, *make(name("x"), devargs, prefix=cable.prefix).command())


def test_an_mtu_too_large(make: Make, name: Name, cable: Cable) -> None:
    for end, interface in ((cable.director, "director0"), (cable.far, "far0")):
        end.ip("link", "set", interface, "mtu", "9000")
    refused = run_in(cable, *make(name("x"), AF_XDP, prefix=cable.prefix).command())
    assert "director0 has an MTU of 9000, and XDP usually takes up to about" in refused
    assert cable.program() is None


def test_a_queue_that_nobody_serves(make: Make, name: Name) -> None:
    """It is said at start, and counted. (Two queues on a port need combined ones, which veth lacks.)"""
    cable = Cable(queues=2)
    try:
        director = make(name("x"), AF_XDP, prefix=cable.prefix)
        snapshot(director.snapshot)
        director.start()
        assert "director0 has 2 receive queues, but 1 are served" in director.log.read_text()
        frames = [syn(sport, cable) for sport in range(1000, 1200)]
        cable.wire.send(frames, pace_s=0.0005)
        deadline = time.monotonic() + 10
        while True:
            xdp = director.client.status().ports[0].xdp
            assert xdp is not None
            if xdp.unserved + xdp.taken >= len(frames) or time.monotonic() > deadline:
                break
            time.sleep(0.02)
        assert xdp.unserved > 0
        assert xdp.unserved + xdp.taken == len(frames)
    finally:
        cable.close()
