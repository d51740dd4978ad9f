"""Next hops from the kernel, in a real forwarder with backends behind two veths, and no control plane.

::

    namespace:  far0 ── director0 (10.1.0.1/24)   the forwarder     (10.2.0.1/24) director1 ── far1

The test plays every machine beyond ``far0`` and ``far1`` through packet sockets: it is its own answer to ARP.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from oracle.build import IPV4, ethernet, ipv4, tcp
from redirect.netns import Namespace

from dataplane.rig import VIP, Director, Wire, snapshot
from glbpy.errors import ForwarderError

Make = Callable[..., Director]
Name = Callable[[str], str]

PORTS = tuple(f"net_af_packet{n},iface=director{n},framecnt=4096,blocksz=65536" for n in range(2))
FORWARD = {"outer_source_v4": "172.16.0.1"}
MODELS = ("run-to-completion", "pipeline")
ROUTER = "02:00:00:00:00:aa"
NEAR, FAR = "10.1.0.11", "10.2.0.12"


class Neighbours:
    """Machines on a wire: each of ``macs`` answers ARP requests for its address."""

    def __init__(self, interface: str, macs: dict[str, str]) -> None:
        self.macs = macs
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
        self.socket.bind((interface, 0))
        self.socket.settimeout(0.05)
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.answer)
        self.thread.start()

    def answer(self) -> None:
        while not self.done.is_set():
            try:
                frame, address = self.socket.recvfrom(2000)
            except TimeoutError:
                continue
            wanted = str(ip_address(frame[38:42]))
            if address[2] == socket.PACKET_OUTGOING or frame[20:22] != b"\x00\x01" or wanted not in self.macs:
                continue
            mac = bytes.fromhex(self.macs[wanted].replace(":", ""))
            reply = frame[22:28] + mac + frame[12:20] + b"\x00\x02" + mac + frame[38:42] + frame[22:32]
            self.socket.send(reply)

    def close(self) -> None:
        self.done.set()
        self.thread.join()
        self.socket.close()


class Wires:
    """Two veths in a namespace, with machines beyond both."""

    def __init__(self, role: str = "nexthop") -> None:
        self.namespace = Namespace(role)
        for n in range(2):
            self.namespace.ip("link", "add", f"director{n}", "type", "veth", "peer", "name", f"far{n}")
            for interface in (f"director{n}", f"far{n}"):
                self.namespace.sysctl(f"net.ipv6.conf.{interface}.disable_ipv6", 1)
                self.namespace.ip("link", "set", interface, "mtu", "1600", "up")
            self.namespace.ip("addr", "add", f"10.{n + 1}.0.1/24", "dev", f"director{n}")
        self.prefix = ("ip", "netns", "exec", self.namespace.name)
        self.macs = [
            self.namespace.run("cat", f"/sys/class/net/director{n}/address").strip() for n in range(2)
        ]
        self.machines: dict[str, str] = {}
        with self.namespace.entered():
            self.wires = [Wire(f"far{n}") for n in range(2)]
            self.neighbours = [Neighbours(f"far{n}", self.machines) for n in range(2)]

    def send(self, sports: range, wire: int = 0) -> None:
        """Clients' packets, in on the first wire."""
        self.wires[wire].send(
            ethernet(ipv4("192.0.2.77", VIP, 6, tcp(sport, 80)), IPV4, dst=self.macs[wire], src=ROUTER)
            for sport in sports
        )

    def close(self) -> None:
        for each in (*self.neighbours, *self.wires):
            each.close()
        self.namespace.delete()


@pytest.fixture
def wires() -> Iterator[Wires]:
    made = Wires()
    yield made
    made.close()


@pytest.fixture
def start(make: Make, name: Name, wires: Wires) -> Callable[..., Director]:
    def start(*backends: str, ports: tuple[str, ...] = PORTS, run_model: str = MODELS[0]) -> Director:
        made = make(name("n"), *ports, prefix=wires.prefix, forward={**FORWARD, "run_model": run_model})
        del made.document["forward"]["gateway_mac"]
        made.write()
        snapshot(made.snapshot, backends=backends)
        return made.start()

    return start


def mac(frame: bytes, at: int) -> str:
    return frame[at : at + 6].hex(":")


def missing(director: Director) -> dict[str, str]:
    hops = director.client.status().next_hops
    assert hops is not None
    assert hops.source == "kernel"
    assert hops.unresolved == len(hops.missing)
    return {each.address: each.why for each in hops.missing}


def wait_missing(director: Director, wanted: dict[str, str], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while missing(director) != wanted and time.monotonic() < deadline:
        time.sleep(0.05)
    assert missing(director) == wanted


@pytest.mark.parametrize("run_model", MODELS)
def test_in_by_one_port_out_by_the_other(
    start: Callable[..., Director], wires: Wires, run_model: str
) -> None:
    """Each backend is on a wire of its own: the route decides the port, the port decides the source MAC."""
    wires.machines.update({NEAR: "02:00:00:00:01:11", FAR: "02:00:00:00:02:12"})
    director = start(NEAR, FAR, run_model=run_model)
    assert missing(director) == {}  # the load waited for them
    assert "no_next_hop" in director.counters()
    for came_by in range(2):
        wires.send(range(1024, 1124), came_by)
        director.wait_for("forwarded", 100 * (came_by + 1))
        near, far = (wires.wires[n].receive(100, 1) for n in range(2))
        assert len(near) + len(far) == 100
        assert near
        assert far
        for frames, wire, address in ((near, 0, NEAR), (far, 1, FAR)):
            assert {(mac(frame, 0), mac(frame, 6)) for frame in frames} == {
                (wires.machines[address], wires.macs[wire])
            }
            assert {str(ip_address(frame[30:34])) for frame in frames} == {address}
            sports = [int.from_bytes(frame[74:76], "big") for frame in frames]
            assert sorted(sports) == sports  # in order on each
    counters = director.counters()
    assert (counters["forwarded"], counters["no_next_hop"], counters["tx_full"]) == (200, 0, 0)
    assert director.terminate() == 0


def test_the_egress_ports_mtu_counts(start: Callable[..., Director], wires: Wires) -> None:
    wires.machines[FAR] = "02:00:00:00:02:12"
    wires.namespace.ip("link", "set", "director1", "mtu", "1400")
    director = start(FAR)
    for size in (1400 - 36 - 40, 1400 - 36 - 40 + 1):  # one hop: 36 bytes in front
        wires.wires[0].send(
            [ethernet(ipv4("192.0.2.77", VIP, 6, tcp(9, 80, bytes(size))), IPV4, dst=wires.macs[0])]
        )
    counters = director.wait_for("oversize_answered", 1)
    assert (counters["oversize_answered"], counters["forwarded"]) == (1, 1)
    (frame,) = wires.wires[1].receive(1)
    assert len(frame) == 1414


def test_unresolved_then_resolved_then_another(start: Callable[..., Director], wires: Wires) -> None:
    director = start(NEAR, ports=PORTS[:1])
    assert missing(director) == {NEAR: "no_neighbour"}
    wires.send(range(10))
    counters = director.wait_for("no_next_hop", 10)
    assert (counters["no_next_hop"], counters["forwarded"]) == (10, 0)

    wires.machines[NEAR] = "02:00:00:00:01:11"
    wait_missing(director, {})
    wires.send(range(10))
    assert {mac(frame, 0) for frame in wires.wires[0].receive(10)} == {"02:00:00:00:01:11"}

    # the machine is replaced, and says so
    wires.namespace.ip("neigh", "replace", NEAR, "lladdr", "02:00:00:00:01:99", "dev",
                       "director0", "nud", "reachable")  # fmt: skip
    deadline = time.monotonic() + 10
    seen: set[str] = set()
    while "02:00:00:00:01:99" not in seen and time.monotonic() < deadline:
        wires.send(range(1))
        seen = {mac(frame, 0) for frame in wires.wires[0].receive(1)}
    assert seen == {"02:00:00:00:01:99"}


def test_routes_and_links_change(start: Callable[..., Director], wires: Wires) -> None:
    """A backend beyond routers: a new gateway, on the other wire, a link that goes and comes."""
    backend = "10.9.9.9"
    wires.machines.update({"10.1.0.254": "02:00:00:00:01:fe", "10.2.0.254": "02:00:00:00:02:fe"})
    director = start(backend)
    assert missing(director) == {backend: "no_route"}

    wires.namespace.ip("route", "add", "default", "via", "10.1.0.254")
    wait_missing(director, {})
    wires.send(range(5))
    assert {mac(frame, 0) for frame in wires.wires[0].receive(5)} == {"02:00:00:00:01:fe"}

    wires.namespace.ip("route", "replace", "default", "via", "10.2.0.254")
    deadline = time.monotonic() + 10
    frames: list[bytes] = []
    while not frames and time.monotonic() < deadline:
        wires.send(range(1))
        frames = wires.wires[1].receive(1, 0.3)
    assert (mac(frames[0], 0), mac(frames[0], 6)) == ("02:00:00:00:02:fe", wires.macs[1])

    wires.namespace.ip("link", "set", "director1", "down")
    wait_missing(director, {backend: "no_route"})
    before = director.counters()["no_next_hop"]
    wires.send(range(7))
    assert director.wait_for("no_next_hop", before + 7)["no_next_hop"] == before + 7

    wires.namespace.ip("link", "set", "director1", "up")
    wires.namespace.ip("route", "add", "default", "via", "10.2.0.254")
    wait_missing(director, {})
    wires.namespace.ip("route", "add", "10.9.9.0/24", "dev", "lo")
    wait_missing(director, {backend: "other_interface"})


def test_a_thousand_backends_and_loads(start: Callable[..., Director], wires: Wires, tmp_path: Path) -> None:
    """Loads with the same next hops lose nothing, and know all from the first packet on."""
    wires.machines["10.2.0.254"] = "02:00:00:00:02:fe"
    wires.namespace.ip("route", "add", "default", "via", "10.2.0.254")
    backends = [str(ip_address("10.20.0.0") + n) for n in range(1000)]
    director = start(*backends)
    assert missing(director) == {}
    files = [snapshot(tmp_path / f"{n}.glb", backends=backends[n:], revision=n + 1) for n in range(4)]
    sent = received = 0
    for turn in range(40):
        director.client.load(files[turn % 4])
        wires.send(range(1024, 1074))
        sent += 50
        received += len(wires.wires[1].receive(50, 5))
    assert received == sent
    counters = director.counters()
    assert (counters["forwarded"], counters["no_next_hop"]) == (sent, 0)
    hops = director.client.status().next_hops
    assert hops is not None
    assert hops.backends == 997


def test_needs_an_interface_of_the_kernel(make: Make, name: Name) -> None:
    director = make(name("k"), "net_null0,no-rx=1", forward={**FORWARD})
    del director.document["forward"]["gateway_mac"]
    director.write()
    with pytest.raises(ForwarderError, match=r"forward\.gateway_mac: missing, and no port has an interface"):
        director.start()


def test_a_gateway_needs_none(make: Make, name: Name) -> None:
    director = make(name("g"), "net_null0,no-rx=1")
    snapshot(director.snapshot)
    director.start()
    hops = director.client.status().next_hops
    assert hops is not None
    assert (hops.source, hops.backends, hops.unresolved, hops.missing) == ("gateway_mac", 3, 0, [])


def test_ports_of_dpdk_go_by_another_interface(make: Make, name: Name, wires: Wires) -> None:
    """``kernel_interface``: the routes of an interface that the port's driver knows nothing of."""
    wires.machines[FAR] = "02:00:00:00:02:12"
    director = make(name("d"), "net_null0,no-rx=1", prefix=wires.prefix, forward={**FORWARD})
    del director.document["forward"]["gateway_mac"]
    director.document["port"][0]["kernel_interface"] = "director1"
    director.write()
    snapshot(director.snapshot, backends=(FAR, NEAR))
    director.start()
    assert missing(director) == {NEAR: "other_interface"}
