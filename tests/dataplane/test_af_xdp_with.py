"""What else a forwarder does, on an af_xdp port: next hops, `glb capture`, punting, echo requests, copies."""

import ctypes
import os
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from oracle.build import IPV4, ethernet, icmp, ipv4, tcp

from dataplane.rig import GATEWAY, VIP, Director, Wire, snapshot
from dataplane.test_af_xdp import AF_XDP, CLIENT, Cable, cable, received, syn, taken
from dataplane.test_capture import capturing, comments
from dataplane.test_nexthop import missing, wait_missing
from dataplane.test_punt import neighbours
from glbpy import pcap

__all__ = ["cable"]
FAR = {4: "10.9.0.2", 6: "fd00:9::2"}
BACKEND = "10.7.7.7"
TAP = "glb0"
PIDFD_GETFD = 438  # a system call
AF_XDP_FAMILY, SO_DOMAIN, SOL_XDP, XDP_OPTIONS, XDP_OPTIONS_ZEROCOPY = 44, 39, 283, 8, 1

Make = Callable[..., Director]
Name = Callable[[str], str]


def macs(frames: list[bytes]) -> set[str]:
    return {frame[:6].hex(":") for frame in frames}


@pytest.mark.parametrize("family", [4, 6])
def test_next_hops(make: Make, name: Name, cable: Cable, family: int) -> None:
    """The kernel's ARP and neighbour discovery go on beside the XDP program; the forwarder follows them."""
    director = make(name("xn"), AF_XDP, prefix=cable.prefix)
    del director.document["forward"]["gateway_mac"]
    director.write()
    snapshot(director.snapshot, backends=(BACKEND,))
    director.start()
    assert missing(director) == {BACKEND: "no_route"}
    cable.wire.send([syn(1, cable)])
    assert director.wait_for("no_next_hop", 1)["no_next_hop"] == 1

    via = (FAR[4],) if family == 4 else ("inet6", FAR[6])
    cable.director.ip("route", "add", f"{BACKEND}/32", "via", *via, "dev", "director0")
    wait_missing(director, {})
    far_mac = cable.far.run("cat", "/sys/class/net/far0/address").strip()
    assert neighbours(cable.director, "director0")[FAR[family]] == far_mac
    cable.wire.send(syn(sport, cable) for sport in range(1000, 1020))
    assert macs(frames := cable.wire.receive(20)) == {far_mac}
    assert len(frames) == 20

    cable.director.ip("neigh", "replace", FAR[family], "lladdr", "02:00:00:00:01:99", "dev", "director0",
                      "nud", "permanent")  # fmt: skip
    deadline = time.monotonic() + 10
    seen: set[str] = set()
    while seen != {"02:00:00:00:01:99"} and time.monotonic() < deadline:
        cable.wire.send([syn(2, cable)])
        seen = macs(cable.wire.receive(1))
    assert seen == {"02:00:00:00:01:99"}


def test_capture(make: Make, name: Name, cable: Cable, tmp_path: Path) -> None:
    """Ingress and egress as on other ports; what the kernel has is not in it."""
    director = make(name("xc"), AF_XDP, prefix=cable.prefix)
    snapshot(director.snapshot)
    director.start()
    target = tmp_path / "x.pcapng"
    wanted = [syn(sport, cable) for sport in range(1000, 1040)]
    with capturing(director, target, "--at", "ingress", "--at", "egress", "--count", "80"):
        cable.far.run("ping", "-c", "1", "-W", "5", "10.9.0.1")
        cable.wire.send(wanted)
        on_the_wire = cable.wire.receive(40)
    seen = list(zip(comments(target), pcap.read(target).frames(), strict=True))
    assert [frame for comment, frame in seen if comment.startswith("ingress: forward")] == wanted
    assert [frame for comment, frame in seen if comment.startswith("egress: forward")] == on_the_wire
    assert len(seen) == 80
    assert macs(on_the_wire) == {GATEWAY}


def test_drops_are_captured(make: Make, name: Name, cable: Cable, tmp_path: Path) -> None:
    director = make(name("xd"), AF_XDP, prefix=cable.prefix, forward={"mtu": 600})
    snapshot(director.snapshot, oversize="drop")
    director.start()
    long = ethernet(ipv4(CLIENT, VIP, 6, tcp(1024, 80, bytes(900))), IPV4, dst=cable.mac)
    target = tmp_path / "d.pcapng"
    with capturing(director, target, "--drop-reason", "too_long", "--count", "1"):
        cable.wire.send([syn(1, cable), long])
    assert list(pcap.read(target).frames()) == [long]
    assert comments(target)[0].startswith("drop: drop (too_long)")


def test_echo_requests_are_answered(make: Make, name: Name, cable: Cable) -> None:
    director = make(name("xe"), AF_XDP, prefix=cable.prefix, forward={"icmp_echo": "answer"})
    snapshot(director.snapshot)
    director.start()
    cable.far.ip("route", "add", f"{VIP}/32", "via", "10.9.0.1")
    said = cable.far.run("ping", "-c", "5", "-i", "0.1", "-w", "20", VIP)
    assert "5 received" in said
    assert director.counters()["echo_answered"] >= 5


def test_punted_packets_reach_the_kernel_through_a_tap(make: Make, name: Name, cable: Cable) -> None:
    """What the program takes because it is for a VIP, and then is not for a service: without punt it is lost.

    The address is on the tap, so the kernel answers TCP to a port of the VIP that no service has.
    """
    director = make(name("xp"), AF_XDP, prefix=cable.prefix)
    director.document["port"] = [{"devargs": AF_XDP, "punt": "tap", "punt_interface": TAP}]
    director.write()
    snapshot(director.snapshot)
    director.start()
    with cable.director.entered():
        tap = Wire(TAP)
    other = ethernet(ipv4(CLIENT, VIP, 6, tcp(1024, 81)), IPV4, dst=cable.mac)
    echo = ethernet(ipv4(CLIENT, "10.9.0.1", 1, icmp(8, 0, 1, b"not a VIP's")), IPV4, dst=cable.mac)
    try:
        cable.wire.send([syn(1, cable), other, echo])
        assert len(cable.wire.receive(1)) == 1
        assert tap_frames(tap, 1) == [other]  # neither the service's nor the kernel's own
    finally:
        tap.close()
    received(director, 2)
    assert taken(director) == 2
    punt = director.client.status().punt[0]
    assert punt.classes["other"].to_kernel == 1
    # and back: what the kernel sends by the tap leaves by the port
    answer = ethernet(ipv4(VIP, CLIENT, 6, tcp(81, 1024, flags=0x14)), IPV4, dst=GATEWAY, src=cable.mac)
    with cable.director.entered():
        link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    link.bind((TAP, 0))
    threading.Timer(0.2, link.send, (answer,)).start()
    assert answer in frames_to(cable.wire, GATEWAY)
    link.close()
    assert director.client.status().punt[0].from_kernel >= 1


def tap_frames(tap: Wire, count: int, timeout_s: float = 5) -> list[bytes]:
    """IPv4 frames that came to the kernel by the tap."""
    frames: list[bytes] = []
    deadline = time.monotonic() + timeout_s
    while len(frames) < count and time.monotonic() < deadline:
        try:
            frame, address = tap.socket.recvfrom(65535)
        except TimeoutError:
            continue
        if address[2] != socket.PACKET_OUTGOING and frame[12:14] == b"\x08\x00":
            frames.append(frame)
    return frames


def frames_to(wire: Wire, mac: str, timeout_s: float = 5) -> list[bytes]:
    """The first IPv4 frame for ``mac`` on the wire."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            frame, address = wire.socket.recvfrom(65535)
        except TimeoutError:
            continue
        if address[2] != socket.PACKET_OUTGOING and frame[:6].hex(":") == mac and frame[12:14] == b"\x08\x00":
            return [frame]
    return []


def xdp_sockets(pid: int) -> list[bool]:
    """Of each AF_XDP socket of a process: does the kernel receive without a copy?"""
    process, found = os.pidfd_open(pid), []
    get = ctypes.CDLL(None, use_errno=True).syscall
    try:
        for each in Path(f"/proc/{pid}/fd").iterdir():
            number = get(PIDFD_GETFD, process, int(each.name), 0)
            if number >= 0 and stat.S_ISSOCK(os.fstat(number).st_mode):
                with socket.socket(AF_XDP_FAMILY, socket.SOCK_RAW, 0, number) as theirs:  # such have no name
                    if theirs.getsockopt(socket.SOL_SOCKET, SO_DOMAIN) == AF_XDP_FAMILY:
                        options = theirs.getsockopt(SOL_XDP, XDP_OPTIONS, 4)
                        found.append(bool(struct.unpack("I", options)[0] & XDP_OPTIONS_ZEROCOPY))
            elif number >= 0:
                os.close(number)
    finally:
        os.close(process)
    return found


@pytest.mark.parametrize("devargs", [AF_XDP, f"{AF_XDP},force_copy=1"])
def test_a_driver_without_zero_copy(make: Make, name: Name, cable: Cable, devargs: str) -> None:
    """veth is one: the kernel copies, whether it is told to or finds that it must; nothing else differs."""
    director = make(name("xz"), devargs, prefix=cable.prefix)
    snapshot(director.snapshot)
    director.start()
    assert xdp_sockets(director.pid) == [False]
    wanted = [syn(sport, cable) for sport in range(1000, 1050)]
    cable.wire.send(wanted)
    assert [frame[54:] for frame in cable.wire.receive(50)] == [frame[14:] for frame in wanted]
