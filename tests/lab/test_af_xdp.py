"""A lab whose director is on af_xdp: the forwarder has what goes to VIPs, the kernel all the rest."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from glbpy.client import path_of
from glbpy.forwarder import Forwarder, PortStatus
from glbpy.lab import netns, topology
from glbpy.lab.lab import SERVICE, Lab, document
from glbpy.lab.topology import DIRECTOR4, DIRECTOR6, PORT, VIP4, VIP6
from glbpy.lab.traffic import Client, Load, download, request

GLB = str(Path(sys.executable).with_name("glb"))
NEW = "203.0.113.99"  # a VIP that comes and goes
REQUESTS = 100
DOWNLOADS, DOWNLOAD_S, DOWNLOAD_BYTES = 6, 4, 2_000_000


def glb(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([GLB, *words], capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def xdp_lab(lab_name: Callable[[str], str]) -> Iterator[Lab]:
    lab = Lab(lab_name("xdp"))
    lab.down()
    done = glb("lab", "up", "--name", lab.name, "--driver", "af_xdp")
    assert done.returncode == 0, done.stderr
    yield lab
    lab.down()
    assert not any(lab.rundir.traces().values())


@pytest.fixture
def xdp_client(xdp_lab: Lab) -> Iterator[Client]:
    with Client(xdp_lab.state().namespaces.client) as client:
        yield client


def port(lab: Lab) -> PortStatus:
    (found,) = Forwarder(lab.director_dir / "control.sock").status().ports
    return found


def taken(lab: Lab) -> int:
    """Packets that the XDP program gave to the forwarder."""
    xdp = port(lab).xdp
    assert xdp is not None
    return xdp.taken


def test_status_shows_the_driver(xdp_lab: Lab) -> None:
    assert json.loads(glb("lab", "status", "--json", "--name", xdp_lab.name).stdout)["driver"] == "af_xdp"
    assert "af_xdp" in glb("lab", "status", "--name", xdp_lab.name).stdout
    assert port(xdp_lab).driver == "net_af_xdp"
    assert xdp_lab.broken() == []


def test_another_driver_needs_another_lab(xdp_lab: Lab) -> None:
    done = glb("lab", "up", "--name", xdp_lab.name, "--driver", "af_packet")
    assert done.returncode == 1
    assert f"is up on af_xdp, not af_packet: glb lab down --name {xdp_lab.name}" in done.stderr
    assert glb("lab", "up", "--name", xdp_lab.name, "--driver", "af_xdp").returncode == 0
    assert glb("lab", "up", "--name", xdp_lab.name, "--driver", "dpdk").returncode == 2
    assert xdp_lab.broken() == []


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_requests(xdp_lab: Lab, xdp_client: Client, vip: str) -> None:
    before = taken(xdp_lab)
    results = [xdp_client.run(request(vip, PORT)) for _ in range(REQUESTS)]
    assert [str(result) for result in results if result.error] == []
    assert {result.backend for result in results} == set(xdp_lab.state().backends)
    assert taken(xdp_lab) - before >= 4 * REQUESTS  # SYN, ACK, request, FIN at least


def test_drain_under_downloads(xdp_lab: Lab, xdp_client: Client) -> None:
    begun: list[str] = []
    downloads = [
        xdp_client.start(download(vip, PORT, DOWNLOAD_S, DOWNLOAD_BYTES, begun.append))
        for vip in (VIP4, VIP6)
        for _ in range(DOWNLOADS)
    ]
    netns.wait_until(lambda: len(begun) == len(downloads), "downloads to begin", 20)
    drained = max(set(begun), key=begun.count)
    before = sum(xdp_lab.second_chances().values())
    xdp_lab.drain(drained)
    load = Load(VIP4, PORT)
    running = xdp_client.start(load.run())
    results = [each.result(DOWNLOAD_S + 20) for each in downloads]
    load.stop()
    running.result(20)
    xdp_lab.drain(drained, undrain=True)
    assert [str(result) for result in results if result.error] == []
    assert [str(result) for result in load.account.failures()] == []
    assert len(load.account.results) > 50
    assert load.account.per_backend()[drained] == 0
    assert sum(xdp_lab.second_chances().values()) > before


def with_vips(lab: Lab, *vips: str) -> dict[str, Any]:
    whole = document(lab.backends())
    whole["services"][0]["vips"] = list(vips)
    return whole


class Ear:
    """What reaches the director's kernel: TCP packets to `address`."""

    def __init__(self, lab: Lab, address: str) -> None:
        with netns.entered(topology.namespace(lab.name, "director1")):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
        self.socket.bind(("eth0", 0x0800))
        self.socket.setblocking(False)
        self.address = socket.inet_aton(address)

    def heard(self) -> int:
        """Packets since the last call."""
        count = 0
        while True:
            try:
                packet, (_, _, kind, *_) = self.socket.recvfrom(65535)
            except BlockingIOError:
                return count
            count += kind != socket.PACKET_OUTGOING and packet[9] == 6 and packet[16:20] == self.address

    def close(self) -> None:
        self.socket.close()


def test_the_program_follows_the_vips(xdp_lab: Lab, xdp_client: Client) -> None:
    """A VIP that comes is the forwarder's from then on, one that goes the kernel's again."""
    netns.ip(topology.namespace(xdp_lab.name, "router"), [f"route replace {NEW}/32 via {DIRECTOR4}"])
    for backend in xdp_lab.backends():
        netns.ip(backend.ns, [f"addr replace {NEW}/32 dev lo"])

    def apply(*vips: str) -> None:
        with xdp_lab.api() as api:
            written = api.post(path_of("apply"), with_vips(xdp_lab, *vips))
            xdp_lab.wait_in_force(api, written["revision"])
            assert api.get(path_of("services", SERVICE))["spec"]["vips"] == list(vips)

    def tried() -> tuple[bool, bool, bool]:
        """Of a request: was it answered, did the forwarder get it, did the kernel?"""
        before = taken(xdp_lab)
        ear.heard()
        answered = xdp_client.run(request(NEW, PORT, timeout_s=1.5)).error is None
        return answered, taken(xdp_lab) > before, ear.heard() > 0

    with closing(Ear(xdp_lab, NEW)) as ear:
        assert tried() == (False, False, True)
        apply(VIP4, VIP6, NEW)
        assert tried() == (True, True, False)
        apply(VIP4, VIP6)
        assert tried() == (False, False, True)
    for vip in (VIP4, VIP6):
        assert xdp_client.run(request(vip, PORT)).error is None


@pytest.mark.parametrize("address", [DIRECTOR4, DIRECTOR6])
def test_the_rest_is_the_kernels(xdp_lab: Lab, address: str) -> None:
    """The director itself is resolved, pinged and connected to, as by SSH; the forwarder sees none of it."""
    router = topology.namespace(xdp_lab.name, "router")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    counters = Forwarder(xdp_lab.director_dir / "control.sock").status().counters
    netns.ip(router, ["neigh flush dev br0"])
    netns.run_in(router, ["ping", "-c", "3", "-i", "0.2", "-W", "5", address])
    (neighbour,) = json.loads(netns.run_in(router, ["ip", "-j", "neigh", "show", address]))
    assert neighbour["lladdr"] == port(xdp_lab).mac

    with netns.entered(topology.namespace(xdp_lab.name, "director1")):
        listener = socket.create_server((address, 22), family=family)
    with netns.entered(router):
        client = socket.socket(family)
    with listener, client:
        client.settimeout(10)
        listener.settimeout(10)
        client.connect((address, 22))
        server, _ = listener.accept()
        with server:
            server.sendall(b"SSH-2.0-server\r\n")
            assert client.recv(100) == b"SSH-2.0-server\r\n"
            client.sendall(bytes(100_000))
            client.shutdown(socket.SHUT_WR)
            got = 0
            while data := server.recv(65536):
                got += len(data)
            assert got == 100_000
    after = Forwarder(xdp_lab.director_dir / "control.sock").status().counters
    changed = {name for name, count in after.items() if count != counters[name]}
    assert changed <= {"forwarded"}  # VIP packets that were still under way


def test_demo(lab_name: Callable[[str], str]) -> None:
    lab = Lab(lab_name("xdemo"))
    lab.down()
    try:
        done = glb("lab", "demo", "--name", lab.name, "--driver", "af_xdp")
    finally:
        lab.down()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "on af_xdp" in done.stderr
    assert "0 broken" in done.stdout
    assert "no request failed that should not have" in done.stdout
