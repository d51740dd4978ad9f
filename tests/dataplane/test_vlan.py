"""VLANs: what a port with ``vlan`` forwards leaves with that tag, whatever tags came in.

The kernel takes tags out of frames before a packet socket sees them, and tells them beside the frame.
This machine's kernel has no VLAN interfaces: one with a VLAN interface's name plays it.
"""

import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from oracle.build import ARP, IPV4, ethernet, icmp, ipv4, tcp
from redirect.netns import Namespace

from dataplane.rig import BACKENDS, VIP, Director, Segment, run_once, snapshot
from dataplane.test_offload import MAC, SIZES, Host, check_sums

AF_PACKET = "net_af_packet0,iface=director0"
CLIENT, CLIENT_MAC = "192.0.2.77", "02:00:00:00:00:aa"
SOL_PACKET, PACKET_AUXDATA, TP_STATUS_VLAN_VALID = 263, 8, 0x10
GUE = struct.pack("!H", 19523)

Make = Callable[..., Director]
Name = Callable[[str], str]
Tags = tuple[tuple[int, int], ...]


class Tagged:
    """Frames that come in on an interface, with the VLAN id of their tag (0 = none)."""

    def __init__(self, space: Namespace, interface: str) -> None:
        with space.entered():
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        with space.entered():
            self.socket.bind((interface, 0))
        self.socket.settimeout(0.2)

    def receive(self, wanted: Callable[[bytes], bool], timeout_s: float = 10) -> tuple[int, bytes]:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            try:
                frame, extra, _, address = self.socket.recvmsg(65535, 256)
            except TimeoutError:
                continue
            if address[2] == socket.PACKET_OUTGOING or not wanted(frame):
                continue
            (data,) = [value for level, kind, value in extra if (level, kind) == (SOL_PACKET, PACKET_AUXDATA)]
            status, _, _, _, _, tci, _ = struct.unpack("=IIIHHHH", data)
            return (tci & 0xFFF if status & TP_STATUS_VLAN_VALID else 0), frame
        raise AssertionError("nothing came")

    def close(self) -> None:
        self.socket.close()


def is_gue(frame: bytes) -> bool:
    return frame[12:14] == b"\x08\x00" and frame[23] == 17 and frame[36:38] == GUE


def syn(mac: str, tags: Tags = (), sport: int = 7, size: int = 0) -> bytes:
    inner = ipv4(CLIENT, VIP, 6, tcp(sport, 80, bytes(size)))
    return ethernet(inner, IPV4, tags, dst=mac, src=CLIENT_MAC)


@pytest.fixture
def far(segment: Segment) -> Iterator[Tagged]:
    made = Tagged(segment.namespace, "far0")
    yield made
    made.close()


def start(director: Director, vlan: int | None, **keys: Any) -> Director:
    director.document["port"][0].update(keys if vlan is None else {"vlan": vlan, **keys})
    director.write()
    snapshot(director.snapshot)
    return director.start()


@pytest.mark.parametrize("devargs", [AF_PACKET, "net_af_xdp0,iface=director0"])
def test_leaves_with_its_tag(
    make: Make, name: Name, segment: Segment, far: Tagged, devargs: str
) -> None:
    """Untagged, with the same tag, with another, with two: all leave in VLAN 7, else unchanged."""
    director = start(make(name("tag"), devargs, prefix=segment.prefix), 7)
    assert director.client.status().ports[0].vlan == 7
    assert "leaves with the tag of VLAN 7" in director.log.read_text()
    choices: tuple[Tags, ...] = ((), ((0x8100, 7),), ((0x8100, 9),), ((0x88A8, 7), (0x8100, 9)))
    for tags in choices:
        segment.wire.send([syn(segment.mac, tags)])
        vlan, frame = far.receive(is_gue)
        assert vlan == 7
        assert frame[54:] == syn(segment.mac)[14:]


def test_jumbo_with_a_tag(make: Make, name: Name, segment: Segment, far: Tagged) -> None:
    """The tag comes on top of an MTU of 9000."""
    for interface in ("director0", "far0"):
        segment.namespace.ip("link", "set", interface, "mtu", "9000")
    director = start(
        make(
            name("jumbotag"), AF_PACKET + ",framesz=16384,framecnt=256,blocksz=65536", prefix=segment.prefix,
            eal={"mbuf_bytes": 16384, "mbufs": 2047}, forward={"mtu": 9000},
        ),
        4094,
    )  # fmt: skip
    inner = 9000 - 40
    segment.wire.send([syn(segment.mac, size=inner - 40)])
    vlan, frame = far.receive(is_gue)
    assert (vlan, len(frame)) == (4094, 14 + 9000)
    assert frame[54:] == syn(segment.mac, size=inner - 40)[14:]
    segment.wire.send([syn(segment.mac, size=inner - 39)])
    assert director.wait_for("oversize_answered", 1)["oversize_answered"] == 1


def test_next_hops_of_the_vlan(make: Make, name: Name, segment: Segment, far: Tagged) -> None:
    """Backends are neighbours on director0.7: frames for them leave by director0, tagged."""
    space = segment.namespace
    space.ip("link", "add", "director0.7", "type", "veth", "peer", "name", "nobody")
    for interface in ("director0.7", "nobody"):
        space.ip("link", "set", interface, "up")
    space.ip("addr", "add", "10.1.0.1/24", "dev", "director0.7")
    for n, address in enumerate(BACKENDS):
        space.ip("neigh", "add", address, "lladdr", f"02:00:00:00:07:{n:02x}", "dev", "director0.7")
    director = make(name("vlanhop"), AF_PACKET, prefix=segment.prefix)
    del director.document["forward"]["gateway_mac"]
    start(director, 7)
    assert "next hops are the kernel's on director0.7" in director.log.read_text()
    hops = director.client.status().next_hops
    assert hops is not None
    assert (hops.source, hops.unresolved) == ("kernel", 0)
    segment.wire.send([syn(segment.mac)])
    vlan, frame = far.receive(is_gue)
    backend = BACKENDS.index(".".join(str(byte) for byte in frame[30:34]))
    assert (vlan, frame[:6].hex(":")) == (7, f"02:00:00:00:07:{backend:02x}")
    assert frame[6:12].hex(":") == segment.mac


def test_a_missing_vlan_interface_is_named(make: Make, name: Name, segment: Segment) -> None:
    director = make(name("novlan"), AF_PACKET, prefix=segment.prefix)
    del director.document["forward"]["gateway_mac"]
    start(director, 9)
    assert "VLAN 9 is not there as director0.9" in director.log.read_text()


def test_an_echo_reply_goes_back_as_the_request_came(
    make: Make, name: Name, segment: Segment, far: Tagged
) -> None:
    start(make(name("vlanecho"), AF_PACKET, prefix=segment.prefix, forward={"icmp_echo": "answer"}), 7)
    for tags, vlan in (((), 0), (((0x8100, 9),), 9)):
        packet = ipv4(CLIENT, VIP, 1, icmp(8, 0, 0x10001))
        segment.wire.send([ethernet(packet, IPV4, tags, dst=segment.mac, src=CLIENT_MAC)])
        came, frame = far.receive(lambda frame: frame[12:14] == b"\x08\x00" and frame[23] == 1)
        assert came == vlan
        assert frame[:6].hex(":") == CLIENT_MAC


def test_punted_frames_keep_their_tag(make: Make, name: Name, segment: Segment, far: Tagged) -> None:
    """Both ways: ARP of VLAN 9 to the punt interface, and what the kernel sends there with a tag."""
    director = make(name("vlanpunt"), AF_PACKET, prefix=segment.prefix)
    start(director, 7, punt="tap", punt_interface="glb0")
    tap = Tagged(segment.namespace, "glb0")
    who = (b"\2\0\0\0\0\xaa", bytes(4), bytes(6), b"\xc0\0\2\1")
    arp = struct.pack("!HHBBH6s4s6s4s", 1, 0x800, 6, 4, 1, *who)
    frame = ethernet(arp, ARP, ((0x8100, 9),), dst="ff:ff:ff:ff:ff:ff", src=CLIENT_MAC)
    segment.wire.send([frame])
    vlan, came = tap.receive(lambda frame: frame[12:14] == b"\x08\x06" and frame[6:12].hex(":") == CLIENT_MAC)
    assert (vlan, came[14:42]) == (9, arp)
    reply = ethernet(arp, ARP, ((0x8100, 9),), dst=CLIENT_MAC, src=segment.mac)
    tap.socket.send(reply)
    vlan, came = far.receive(lambda frame: frame[12:14] == b"\x08\x06" and frame[:6].hex(":") == CLIENT_MAC)
    assert (vlan, came[14:42]) == (9, arp)
    tap.close()


@pytest.mark.parametrize(("mtu", "eal"), [(1500, {}), (9000, {}), (9000, {"mbuf_bytes": 2048})])
@pytest.mark.parametrize("choice", ["auto", "off"])
def test_virtio_with_tag_and_offload(
    make: Make, name: Name, tmp_path: Path, mtu: int, eal: dict[str, int], choice: str
) -> None:
    """In front of checksums that the host completes; also in jumbo frames, in one buffer and in several."""
    sizes = SIZES if mtu == 1500 else (1400, 2001, 8300, 9000 - 80)
    sent = [syn(MAC, (), 1000 + n, size) for n, size in enumerate(sizes)]
    host = Host(tmp_path, name("host"), sent, mtu)
    try:
        director = make(
            name("vlanvirtio"), f"net_virtio_user0,path={host.socket},mac={MAC}",
            forward={"outer_udp_checksum": "computed", "mtu": mtu}, eal=eal,
        )  # fmt: skip
        start(director, 7, checksum_offload=choice)
        host.play()
        assert director.wait_for("forwarded", len(sent))["forwarded"] == len(sent)
        assert director.client.status().ports[0].offloads == (["udp_checksum"] if choice == "auto" else [])
        time.sleep(0.2)
        back = host.frames()
    finally:
        host.close()
    assert [frame[12:16] for frame in back] == [b"\x81\x00\x00\x07"] * len(sent)
    assert [frame[58:] for frame in back] == [frame[14:] for frame in sent]
    for frame in back:
        check_sums(frame[:12] + frame[16:], "computed")


def test_vlan_ids_are_checked(make: Make, name: Name) -> None:
    director = make(name("novid"), AF_PACKET)
    for vlan in (0, 4095):
        director.document["port"][0]["vlan"] = vlan
        director.write()
        done = run_once("--config", str(director.toml), "--check")
        assert done.returncode == 2
        assert "port[0].vlan" in done.stderr or "port.vlan" in done.stderr
