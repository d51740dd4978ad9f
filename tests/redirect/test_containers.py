"""glb-redirect in containers' network namespaces, on a host that routes to them, as docker makes them.

    outside                       host                      web1, web2
    10.77.0.1 ── eth0 ── eth0  10.77.0.11                   VIP on lo, glb-redirect on eth0
    VIP by tun0                docker0 172.30.0.1 ── eth0   172.30.0.2, 172.30.0.3

A container is a process; its namespace has no name. The director is a thread, which takes what the client's
kernel gives to tun0 and sends it in GUE. Commands are those of native/redirect/README.md, by nsenter.
"""

import fcntl
import json
import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from . import packets as p
from .conftest import PROGRAM, Redirect
from .netns import Namespace, run
from .network import PORT, VIPS, EchoServer
from .test_second_chance import echo, read

DIRECTOR, HOST, GATEWAY = "10.77.0.1", "10.77.0.11", "172.30.0.1"
ADDRESSES = {"web1": "172.30.0.2", "web2": "172.30.0.3"}
FIRST, SECOND = ["172.30.0.2", "172.30.0.3"], ["172.30.0.3", "172.30.0.2"]
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
VIP, CLIENT = VIPS[4], "198.51.100.7"


class Container(Namespace):
    """A process with a network namespace of its own, and what glb-redirect is called with there."""

    def __init__(self, role: str, bpffs: Path) -> None:
        self.role, self.pin_dir = role, bpffs / "containers"
        super().__init__(role)

    def make(self) -> None:
        self.process = subprocess.Popen(["unshare", "--net", "sleep", "900"])
        self.path = f"/proc/{self.process.pid}/ns/net"
        until = time.monotonic() + 5
        while os.readlink(self.path) == os.readlink("/proc/self/ns/net"):
            assert time.monotonic() < until
            time.sleep(0.01)

    def run(self, *command: str) -> str:
        return run("nsenter", "-t", str(self.process.pid), "-n", *command)

    def ip(self, *arguments: str) -> str:
        return self.run("ip", *arguments)

    def redirect(self, command: str, *arguments: str) -> str:
        where = ("--pin-dir", str(self.pin_dir), "--name", self.role)
        return self.run(str(PROGRAM), command, *arguments, *where)

    def attach(self) -> None:
        self.redirect("attach", "eth0", "--allow", DIRECTOR, "--peer", *FIRST)

    def status(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self.redirect("status", "--json"))
        return report

    def delete(self) -> None:
        """As a container ends: its processes do, and its namespace with them."""
        self.process.terminate()
        self.process.wait(10)


class Director(threading.Thread):
    """Wraps what the client's kernel sends to the VIP for the chain that `chain` answers."""

    def __init__(self, namespace: Namespace) -> None:
        super().__init__(daemon=True)
        with namespace.entered():
            self.tun = os.open("/dev/net/tun", os.O_RDWR)
            fcntl.ioctl(self.tun, TUNSETIFF, struct.pack("16sH22x", b"tun0", IFF_TUN | IFF_NO_PI))
            self.out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.chain: Callable[[p.Segment], list[str]] = lambda segment: FIRST

    def run(self) -> None:
        while packet := os.read(self.tun, 65536):
            segment = p.Segment(bytes(14) + packet)
            if segment.dst == VIP:
                self.send(packet, self.chain(segment))
            elif segment.dst == GATEWAY:
                return

    def send(self, packet: bytes, chain: list[str]) -> None:
        self.out.sendto(p.gue_header(4, chain[1:]) + packet, (chain[0], p.GUE_PORT))

    def stop(self, namespace: Namespace) -> None:
        namespace.ip("route", "replace", f"{GATEWAY}/32", "dev", "tun0")
        with namespace.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", (GATEWAY, 9))
        self.join(10)
        os.close(self.tun)
        self.out.close()


class Host:
    def __init__(self, bpffs: Path) -> None:
        self.bpffs = bpffs
        self.outside, self.space = Namespace("out"), Namespace("host")
        self.space.ip("link", "add", "eth0", "type", "veth",
                      "peer", "name", "eth0", "netns", self.outside.name)  # fmt: skip
        self.space.ip("link", "add", "docker0", "type", "bridge")
        for space, device, address in (
            (self.space, "eth0", f"{HOST}/24"),
            (self.space, "docker0", f"{GATEWAY}/16"),
            (self.outside, "eth0", f"{DIRECTOR}/24"),
        ):
            space.ip("address", "add", address, "dev", device)
            space.ip("link", "set", device, "up")
        self.space.sysctl("net.ipv4.ip_forward", 1)
        self.space.ip("route", "add", "default", "via", DIRECTOR)
        self.outside.ip("route", "add", "172.30.0.0/16", "via", HOST)
        self.outside.sysctl("net.ipv4.conf.all.rp_filter", 0)
        self.director = Director(self.outside)
        self.outside.ip("address", "add", f"{CLIENT}/32", "dev", "tun0")
        self.outside.ip("link", "set", "tun0", "mtu", "1400", "up")
        self.outside.ip("route", "add", VIP, "dev", "tun0", "src", CLIENT)
        self.director.start()
        self.containers = {role: self.start(role) for role in ADDRESSES}
        self.servers = {role: self.serve(role) for role in ADDRESSES}

    def start(self, role: str) -> Container:
        """`docker run --network …`, and what the README says to do then."""
        container = Container(role, self.bpffs)
        pid = str(container.process.pid)
        mac = "02:42:" + p.addr(ADDRESSES[role]).hex(":")  # by the address, as docker gives them
        self.space.ip("link", "add", role, "type", "veth",
                      "peer", "name", "eth0", "address", mac, "netns", pid)  # fmt: skip
        self.space.ip("link", "set", role, "master", "docker0", "up")
        container.ip("address", "add", f"{ADDRESSES[role]}/16", "dev", "eth0")
        container.ip("link", "set", "eth0", "up")
        container.ip("route", "add", "default", "via", GATEWAY)
        container.ip("address", "add", f"{VIP}/32", "dev", "lo")
        container.attach()
        return container

    def serve(self, role: str) -> EchoServer:
        server = EchoServer(self.containers[role])
        server.start()
        return server

    def connect(self) -> socket.socket:
        """A client's connection to the VIP; the caller closes it."""
        with self.outside.entered():
            return socket.create_connection((VIP, PORT), timeout=10)

    def delete(self) -> None:
        self.director.stop(self.outside)
        for server in self.servers.values():
            server.stop()
        for each in (*self.containers.values(), self.outside, self.space):
            each.delete()


@pytest.fixture(scope="module")
def host(bpffs: Path) -> Iterator[Host]:
    host = Host(bpffs)
    yield host
    host.delete()


def counted(host: Host) -> list[dict[str, int]]:
    return [container.status()["counters"] for container in host.containers.values()]


def test_the_socket_of_each_container_is_found(host: Host) -> None:
    """A connection of the second container's, by way of the first one; each counts, and lists, its own."""
    host.director.chain = lambda segment: SECOND
    before = counted(host)
    with host.connect() as client:
        assert read(client, 4) == b"web2"
        host.director.chain = lambda segment: FIRST
        echo(client, bytes(range(256)) * 100)
        with host.connect() as other:
            assert read(other, 4) == b"web1"
            echo(other, b"o" * 3000)
            for container in host.containers.values():
                said = container.run(str(PROGRAM), "status", "--connections", "--json")
                assert json.loads(said)["open"] == 1
    pairs = zip(counted(host), before, strict=True)
    first, second = ({key: new[key] - old[key] for key in new} for new, old in pairs)
    assert first["forwarded"] > 5
    assert (first["local_syn"], second["local_syn"]) == (1, 1)
    assert first["local_established"] > 0
    assert second["local_established"] >= first["forwarded"]
    for moved in (first, second):
        assert moved["received"] == sum(moved.values()) - moved["received"] - moved["not_gue"]


def test_the_host_itself_knows_none_of_them(host: Host) -> None:
    """Why it is not enough to attach there, as the README says."""
    host.director.chain = lambda segment: FIRST
    host.space.ip("link", "add", "eth9", "type", "veth", "peer", "name", "eth8")
    outer = Redirect(host.space, "eth9", host.bpffs / "glb")
    outer.attach("--allow", DIRECTOR, "--peer", *FIRST)
    try:
        with host.connect() as client:
            assert read(client, 4) == b"web1"
            segment = p.tcp(CLIENT, client.getsockname()[1], VIP, PORT, p.ACK)
            packet = p.gue(segment, src=DIRECTOR, dst=FIRST[0], hops=[FIRST[1]])
            assert outer.feed(packet)[1] == "forwarded"
    finally:
        outer.detach()
        host.space.ip("link", "del", "eth9")


def test_a_container_goes_and_another_comes(host: Host) -> None:
    """The other one's connections do not notice; a new container of the name begins afresh."""
    host.director.chain = lambda segment: SECOND
    with host.connect() as client:
        assert read(client, 4) == b"web2"
        host.director.chain = lambda segment: FIRST
        echo(client, b"a" * 3000)
        host.servers["web1"].stop()
        host.containers["web1"].delete()
        host.space.ip("link", "del", "web1")  # as docker does
        host.director.chain = lambda segment: SECOND
        echo(client, b"b" * 3000)
        host.containers["web1"] = host.start("web1")
        status = host.containers["web1"].status()
        assert status["attached"]
        assert status["counters"]["local_syn"] == 0
        host.servers["web1"] = host.serve("web1")
        host.director.chain = lambda segment: FIRST
        echo(client, b"c" * 3000)
        with host.connect() as other:
            assert read(other, 4) == b"web1"


def test_what_a_container_leaves_behind_is_removed(host: Host) -> None:
    """`detach` by its name, from anywhere: the device is gone with the container."""
    container = Container("gone", host.bpffs)
    container.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
    container.attach()
    pins = container.pin_dir / "gone"
    assert pins.exists()
    container.delete()
    where = ("--pin-dir", str(container.pin_dir), "--name", "gone")
    # The kernel takes its time with a namespace that nobody has any more; until then its program is there.
    until = time.monotonic() + 10
    while pins.exists():
        assert time.monotonic() < until
        command = ["ip", "netns", "exec", host.space.name, str(PROGRAM), "detach", "eth0", *where]
        subprocess.run(command, capture_output=True, check=False)
        time.sleep(0.05)
