"""XDP in front of tc: what it does by itself, what it leaves to tc as it came, and how it comes and goes.

That both decide alike is shown by test_packets, test_sockets, test_outer_v6 and test_second_chance.
"""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import bpf
from . import packets as p
from .conftest import Redirect, know_peers
from .netns import Namespace
from .test_packets import CLIENTS, DIRECTOR, HERE, PEER, VIPS, segment

OPTIONS = ("--allow", DIRECTOR, "--peer", PEER, "--decap", "gre,ipip", "--l3dsr", f"7={VIPS[4]}")


@pytest.fixture(scope="module")
def attached(bpffs: Path) -> Iterator[Redirect]:
    namespace = Namespace("x")
    namespace.ip("link", "add", "eth0", "mtu", "1600", "type", "veth", "peer", "name", "eth1")
    namespace.ip("link", "set", "eth0", "up")
    namespace.ip("link", "set", "eth1", "up")
    redirect = Redirect(namespace, "eth0", bpffs / "glb", "xdp")
    yield redirect
    redirect.detach()
    namespace.delete()


@pytest.fixture
def redirect(attached: Redirect) -> Redirect:
    """By XDP with OPTIONS, its peer a neighbour, whatever the test before has done to it."""
    know_peers(attached.namespace, "eth0", PEER)
    attached.want(*OPTIONS)
    return attached


def gue(inner: bytes, **more: str) -> bytes:
    return p.ethernet(p.gue(inner, src=DIRECTOR, dst=HERE, hops=[PEER], **more))  # type: ignore[arg-type]


def alone(redirect: Redirect, frame: bytes) -> bpf.Ran | None:
    with redirect.namespace.entered():
        return redirect.run_xdp(frame, {})


def test_alone(redirect: Redirect) -> None:
    syn, unknown = segment(6, p.SYN), segment(4)
    ran = alone(redirect, gue(syn))
    assert ran is not None
    assert (ran.verdict, ran.frame) == (bpf.UNSPEC, p.ethernet(syn))
    ran = alone(redirect, gue(unknown))
    assert ran is not None
    onward = p.gue(unknown, src=HERE, dst=PEER, hops=[PEER], next_hop=1)
    assert (ran.verdict, ran.frame) == (bpf.REDIRECT, p.ethernet(onward))
    ran = alone(redirect, p.ethernet(p.gue(syn, src="10.99.0.1", dst=HERE)))
    assert ran is not None
    assert ran.verdict == bpf.SHOT


def test_left_to_tc(redirect: Redirect) -> None:
    """Other tunnels, DSCPs, fragments, merged and tagged frames, frames for others, and what is no GUE."""
    inner = segment(4)
    for packet in (
        p.gre(inner, src=DIRECTOR, dst=HERE),
        p.ip_in_ip(inner, src=DIRECTOR, dst=HERE),
        p.with_tos(p.tcp(CLIENTS[4], 1, HERE, 80, p.ACK), 7 << 2),
        inner,
    ):
        assert alone(redirect, p.ethernet(packet)) is None
    for family in (4, 6):  # fragments: who has the first one is known to tc
        whole = p.udp(CLIENTS[family], 5000, VIPS[family], 53, bytes(100))
        for piece in p.fragments(whole, 64, 7):
            assert alone(redirect, gue(piece)) is None
    long = segment(4, p.SYN, bytes(1600))
    assert alone(redirect, gue(long)) is None
    assert alone(redirect, p.put(gue(inner), 0, b"\x02\0\0\0\0\x77")) is None
    assert alone(redirect, p.NO_MAC * 2 + b"\x81\x00\x00\x05" + gue(inner)[12:]) is None
    before = redirect.count()
    assert redirect.feed(gue(long))[1] == "local_syn"  # by tc, and counted once
    assert redirect.count()["received"] == before["received"] + 1


def test_unresolved_neighbour_is_left_to_tc(redirect: Redirect) -> None:
    redirect.namespace.ip("neigh", "del", PEER, "dev", "eth0")
    assert alone(redirect, gue(segment(4))) is None
    ran, reason = redirect.feed(gue(segment(4)))
    assert (reason, ran.verdict) == ("forwarded", bpf.REDIRECT)
    know_peers(redirect.namespace, "eth0", PEER)
    assert alone(redirect, gue(segment(4))) is not None
    redirect.namespace.sysctl("net.ipv4.conf.lo.forwarding", 0)
    assert alone(redirect, gue(segment(4))) is None


def test_peer_behind_another_interface_is_left_to_tc(redirect: Redirect) -> None:
    redirect.namespace.ip("route", "replace", PEER, "dev", "eth1")
    redirect.namespace.ip("neigh", "replace", PEER, "lladdr", "02:00:00:00:00:12", "dev", "eth1")
    assert alone(redirect, gue(segment(4))) is None


def test_forwarding_by_tc(redirect: Redirect) -> None:
    """What auto means on a veth."""
    for how in ("tc", "auto"):
        redirect.must("attach", "eth0", *OPTIONS, "--mode", "xdp", "--xdp-forward", how)
        redirect.last_status = redirect.status()
        assert alone(redirect, gue(segment(4))) is None
        assert alone(redirect, gue(segment(4, p.SYN))) is not None
    redirect.must("attach", "eth0", *OPTIONS, "--mode", "xdp", "--xdp-forward", "tx")
    redirect.last_status = redirect.status()
    frame = gue(segment(4))
    assert frame[:6] == p.NO_MAC
    link = json.loads(redirect.namespace.ip("-j", "link", "show", "eth0"))[0]
    frame = bytes.fromhex(link["address"].replace(":", "")) + frame[6:]
    with redirect.namespace.entered():
        ran = bpf.run_xdp(redirect.last_status["xdp_program_id"], frame, link["ifindex"])
    assert ran.verdict == bpf.XDP_TX


def modes(redirect: Redirect) -> tuple[bool, str | None, set[str]]:
    report = redirect.status()
    link = json.loads(redirect.namespace.ip("-j", "link", "show", "eth0"))[0]
    return report["attached"], report["xdp"], {key for key in link.get("xdp", {}) if key == "prog"}


def test_modes_come_and_go(redirect: Redirect) -> None:
    before = redirect.count()["local_syn"]
    redirect.feed(gue(segment(4, p.SYN)))
    assert modes(redirect) == (True, "native", {"prog"})
    redirect.must("attach", "eth0", *OPTIONS, "--mode", "xdp-generic")
    assert modes(redirect) == (True, "generic", {"prog"})
    redirect.must("attach", "eth0", *OPTIONS, "--mode", "xdp")
    assert modes(redirect) == (True, "native", {"prog"})
    redirect.must("attach", "eth0", *OPTIONS)
    assert modes(redirect) == (True, None, set())
    assert redirect.counters()["local_syn"] == before + 1
    redirect.must("attach", "eth0", *OPTIONS, "--mode", "xdp")
    redirect.detach()
    assert modes(redirect) == (False, None, set())


def test_generic_where_the_driver_has_none(redirect: Redirect, bpffs: Path) -> None:
    namespace = redirect.namespace
    namespace.ip("link", "add", "br0", "type", "bridge")
    namespace.ip("link", "set", "br0", "up")
    other = Redirect(namespace, "br0", bpffs / "glb", "xdp")
    other.name = f"{namespace.name}-bridge"
    other.attach("--allow", DIRECTOR)
    assert other.last_status["xdp"] == "generic"
    assert other.feed(gue(segment(4, p.SYN)))[1] == "local_syn"
    other.detach()
    assert "prog" not in json.loads(namespace.ip("-j", "link", "show", "br0"))[0].get("xdp", {})


def test_another_program_stays(redirect: Redirect, bpffs: Path) -> None:
    """Ours in a second instance stands for anybody's."""
    other = Redirect(redirect.namespace, "eth1", bpffs / "glb", "xdp")
    other.name = f"{redirect.namespace.name}-other"
    other.attach("--allow", DIRECTOR)
    pinned = bpffs / "other-program"
    run = redirect.namespace.run
    run("bpftool", "prog", "pin", "id", str(other.last_status["xdp_program_id"]), str(pinned))
    try:
        redirect.must("attach", "eth0", *OPTIONS)
        run("ip", "link", "set", "eth0", "xdpdrv", "pinned", str(pinned))
        done = redirect.call("attach", "eth0", *OPTIONS, "--mode", "xdp")
        assert done.returncode == 1
        assert "another XDP program" in done.stderr
        assert modes(redirect) == (True, None, {"prog"})
        run("ip", "link", "set", "eth0", "xdpdrv", "off")
    finally:
        pinned.unlink()
        other.must("detach", "eth1", "--force")


def test_wrong_mode(redirect: Redirect) -> None:
    done = redirect.call("attach", "eth0", "--mode", "fast")
    assert done.returncode == 2
    assert "--mode takes tc, xdp, xdp-generic, not fast" in done.stderr


def test_tc_leaves_alone_what_xdp_delivered(redirect: Redirect) -> None:
    """A client's own packet may look like GUE from a director, and must not be taken apart, too."""
    within = p.gue(segment(4, p.SYN), src=DIRECTOR, dst=VIPS[4])
    namespace = redirect.namespace
    namespace.ip("addr", "add", VIPS[4], "dev", "lo")
    link = json.loads(namespace.ip("-j", "link", "show", "eth0"))[0]
    before = redirect.count()
    with namespace.entered():
        wire = p.ethernet(
            p.gue(within, src=DIRECTOR, dst=HERE), dst=bytes.fromhex(link["address"].replace(":", ""))
        )
        send_on(wire, "eth1")
    after = redirect.count()
    moved = {key: after[key] - before[key] for key in after if after[key] != before[key] and key != "not_gue"}
    assert moved == {"received": 1, "local_udp": 1}


def send_on(frame: bytes, device: str) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((device, 0))
        wire.send(frame)
    time.sleep(0.3)
