"""TCP super-packets in tunnels, as GRO makes them of what a device receives, from a tap into the stack."""

import contextlib
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import packets as p
from .conftest import Redirect
from .netns import Namespace
from .test_outer_v6 import V4, V6
from .test_packets import CLIENTS, VIPS, families

ENDS = {4: V4, 6: V6}
MAC = "02:00:00:00:00:22"
TUNSETIFF, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x400454CA, 0x0002, 0x1000, 0x4000
NEEDS_CSUM, GSO_TCP, MSS = 1, {4: 1, 6: 4}, 1400


class Tap:
    """Frames written here come in on tap0 with the offloads that their virtio header says."""

    def __init__(self, namespace: Namespace) -> None:
        with namespace.entered():
            self.fd = os.open("/dev/net/tun", os.O_RDWR)
            fcntl.ioctl(
                self.fd, TUNSETIFF, struct.pack("16sH22x", b"tap0", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)
            )
        namespace.ip("link", "set", "tap0", "address", MAC, "up")

    def send(self, frame: bytes, family: int, l4_at: int) -> None:
        os.write(
            self.fd, struct.pack("=BBHHHH", NEEDS_CSUM, GSO_TCP[family], l4_at + 20, MSS, l4_at, 16) + frame
        )


@pytest.fixture(scope="module")
def redirect(bpffs: Path) -> Iterator[tuple[Redirect, Tap]]:
    namespace = Namespace("s")
    tap = Tap(namespace)
    for family, vip in VIPS.items():
        namespace.ip("addr", "add", vip, "dev", "lo")
        namespace.ip(f"-{family}", "route", "add", "default", "dev", "tap0")
    namespace.sysctl("net.ipv4.conf.all.rp_filter", 0)
    redirect = Redirect(namespace, "tap0", bpffs / "glb")
    redirect.attach("--allow", V4["director"], V6["director"], "--decap", "gre,ipip")
    yield redirect, tap
    redirect.detach()
    os.close(tap.fd)
    namespace.delete()


def super_packet(family: int) -> bytes:
    """One header, much payload, and in the checksum the pseudo header's sum only."""
    packet = p.tcp(CLIENTS[family], 40000, VIPS[family], 80, p.PSH | p.ACK, data=bytes(range(256)) * 40)
    at = 40 if family == 6 else 20
    partial = 0xFFFF ^ p.checksum(p.pseudo(CLIENTS[family], VIPS[family], 6, len(packet) - at))
    return p.put(packet, at + 16, struct.pack("!H", partial))


@pytest.mark.parametrize("kind", ["gre", "ipip", "gue"])
@pytest.mark.parametrize("outer", [4, 6])
@families
def test_super_packets(redirect: tuple[Redirect, Tap], outer: int, family: int, kind: str) -> None:
    """Taken off whole; but GUE's, which nobody makes by default, are dropped."""
    program, tap = redirect
    inner = super_packet(family)
    make = {"gre": p.gre, "ipip": p.ip_in_ip, "gue": p.gue}[kind]
    packet = make(inner, src=ENDS[outer]["director"], dst=ENDS[outer]["here"])  # type: ignore[operator]
    frame = p.ethernet(packet, dst=bytes.fromhex(MAC.replace(":", "")))
    with program.namespace.entered():
        stack = socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, socket.SOCK_RAW, 6)
    before = program.counters()
    with stack:
        stack.settimeout(3 if kind != "gue" else 0.2)
        tap.send(frame, family, len(frame) - len(inner) + (40 if family == 6 else 20))
        came = b""
        with contextlib.suppress(TimeoutError):
            came = stack.recv(65536)
    after = program.counters()
    moved = {key for key in after if after[key] != before[key]} - {"not_gue"}
    if kind == "gue":
        assert (moved, came) == ({"received", "gso_drop"}, b"")
    else:
        assert moved == {"received", "local_tunnel"}
        assert came == (inner[40:] if family == 6 else inner)  # a raw IPv6 socket gets no header
