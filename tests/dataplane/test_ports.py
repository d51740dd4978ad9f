"""Every kind of port: tap, memif, null; tagged frames; jumbo frames.

af_packet is in test_veth.py, af_xdp in test_af_xdp.py, pcap in test_replay.py, ring in test_ring.py, memif
between two forwarders in test_memif.py; hugepages are in test_hugepages.py.
"""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from oracle.build import IPV4, ethernet, ipv4, tcp

from dataplane.rig import VIP, Director, Segment, Wire, snapshot
from glbpy import forwarder, pcap

CLIENT = "192.0.2.77"

Make = Callable[..., Director]
Name = Callable[[str], str]


def syn(sport: int, mac: str, tags: tuple[tuple[int, int], ...] = (), size: int = 0) -> bytes:
    return ethernet(ipv4(CLIENT, VIP, 6, tcp(sport, 80, bytes(size))), IPV4, tags, dst=mac)


def started(director: Director) -> Director:
    snapshot(director.snapshot)
    return director.start()


def test_tap(make: Make, name: Name, segment: Segment) -> None:
    """The kernel's end of a tap: what is sent into it comes back in GUE. It is gone after the stop."""
    director = started(make(name("tap"), "net_tap0,iface=glbtap0", prefix=segment.prefix))
    (port,) = director.client.status().ports
    assert port.driver == "net_tap"
    segment.namespace.sysctl("net.ipv6.conf.glbtap0.disable_ipv6", 1)
    segment.namespace.ip("link", "set", "glbtap0", "up")
    with segment.namespace.entered():
        wire = Wire("glbtap0")
    try:
        wire.send([syn(sport, port.mac) for sport in range(1000, 1020)], pace_s=0.001)
        frames = wire.receive(20)
        assert sorted(frame[54:] for frame in frames) == sorted(
            syn(sport, port.mac)[14:] for sport in range(1000, 1020)
        )
    finally:
        wire.close()
    assert director.terminate() == 0
    assert "glbtap0" not in segment.namespace.ip("link")


def test_null(make: Make, name: Name) -> None:
    """A source of empty frames: all of them are counted, none is sent."""
    director = started(make(name("null"), "net_null0,size=64", forward={"filter_mac": False}))
    counters = director.wait_for("not_ip", 1000)
    assert {reason for reason, n in counters.items() if n} == {"not_ip"}
    assert director.client.status().ports[0].driver == "net_null"
    assert director.terminate() == 0


@pytest.mark.parametrize("devargs", ["net_af_packet0,iface=director0", "net_af_xdp0,iface=director0"])
@pytest.mark.parametrize("tags", [((0x8100, 7),), ((0x88A8, 7), (0x8100, 9))])
def test_tagged(
    make: Make, name: Name, segment: Segment, devargs: str, tags: tuple[tuple[int, int], ...]
) -> None:
    """Client packets in frames with VLAN tags are forwarded; what goes out has no tag."""
    started(make(name("vlan"), devargs, prefix=segment.prefix))
    segment.wire.send([syn(7, segment.mac, tags)])
    (frame,) = segment.wire.receive(1)
    assert frame[54:] == syn(7, segment.mac)[14:]


def test_jumbo(make: Make, name: Name, segment: Segment) -> None:
    """9000 bytes of IP in and out, on an af_packet port with frames that hold them; not one byte more."""
    for interface in ("director0", "far0"):
        segment.namespace.ip("link", "set", interface, "mtu", "9100")
    director = started(
        make(
            name("jumbo"), "net_af_packet0,iface=director0,framesz=16384,framecnt=256,blocksz=65536",
            prefix=segment.prefix, eal={"mbuf_bytes": 16384, "mbufs": 2047}, forward={"mtu": 9000},
        )
    )  # fmt: skip
    assert director.client.status().ports[0].mtu == 9000
    outer, inner = 20 + 8 + 4 + 4 + 4, 20 + 20
    segment.wire.send([syn(1, segment.mac, size=9000 - outer - inner)])
    (frame,) = segment.wire.receive(1)
    assert len(frame) == 14 + 9000
    assert frame[14 + outer :] == syn(1, segment.mac, size=9000 - outer - inner)[14:]
    segment.wire.send([syn(2, segment.mac, size=9000 - outer - inner + 1)])
    assert director.wait_for("oversize_answered", 1)["oversize_answered"] == 1


def test_memif(make: Make, name: Name, tmp_path: Path) -> None:
    """Shared memory with another process: testpmd plays a capture into it, and writes what comes back."""
    shared = f"id=0,socket={tmp_path}/memif.sock,socket-abstract=no"
    director = started(make(name("memif"), f"net_memif0,role=server,{shared}"))
    (port,) = director.client.status().ports
    sent = [syn(sport, port.mac) for sport in range(1000, 1032)]
    pcap.write(tmp_path / "in.pcap", sent, range(len(sent)))
    command = [
        "dpdk-testpmd", "--no-huge", "-m", "64", "--no-pci", "--no-shconf", "-l", "0,1",
        "--file-prefix", f"glb-{name('player')}",
        "--vdev", f"net_memif0,role=client,{shared}",
        "--vdev", f"net_pcap0,rx_pcap={tmp_path}/in.pcap,tx_pcap={tmp_path}/out.pcap",
        "--", "-i", "--forward-mode=io", "--no-flush-rx", "--total-num-mbufs=4096",
    ]  # fmt: skip
    player = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        deadline = time.monotonic() + 30
        while not director.client.status().ports[0].link_up and time.monotonic() < deadline:
            time.sleep(0.05)
        assert player.stdin is not None
        player.stdin.write("start\n")
        player.stdin.flush()
        counters = director.wait_for("forwarded", len(sent))
        time.sleep(0.2)
        said, _ = player.communicate("stop\nquit\n", timeout=20)
    finally:
        player.kill()
        player.wait()
        forwarder.remove_traces(name("player"))
    assert {reason: n for reason, n in counters.items() if n} == {"forwarded": len(sent)}, said
    back = list(pcap.read(tmp_path / "out.pcap").frames())
    assert [frame[54:] for frame in back] == [frame[14:] for frame in sent]
