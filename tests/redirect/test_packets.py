"""One packet in, one packet out: every step of the second chance that needs no connection."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from . import packets as p
from .bpf import REDIRECT, SHOT, UNSPEC
from .conftest import Redirect
from .netns import Namespace

DIRECTOR, HERE, PEER, OTHER = "10.77.0.1", "10.77.0.11", "10.77.0.12", "10.77.0.13"
VIPS = {4: "203.0.113.10", 6: "2001:db8::10"}
CLIENTS = {4: "198.51.100.7", 6: "2001:db8:1::7"}


@pytest.fixture(scope="module")
def redirect(bpffs: Path) -> Iterator[Redirect]:
    namespace = Namespace("glbt-redir-p")
    namespace.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
    namespace.ip("link", "set", "eth0", "up")
    redirect = Redirect(namespace, "eth0", bpffs / "glb")
    redirect.attach("--allow", DIRECTOR, "--peer", PEER, OTHER, "10.78.0.0/16")
    yield redirect
    redirect.detach()
    namespace.delete()


def segment(family: int, flags: int = p.ACK, **more: int) -> bytes:
    return p.tcp(CLIENTS[family], 40000, VIPS[family], 80, flags, **more)


@pytest.mark.parametrize("family", [4, 6])
def test_syn_is_delivered_without_outer_headers(redirect: Redirect, family: int) -> None:
    inner = segment(family, p.SYN)
    ran, moved = redirect.feed(p.ethernet(p.gue(inner, src=DIRECTOR, dst=HERE, hops=[PEER])))
    assert moved == {"received": 1, "local_syn": 1}
    assert ran.verdict == UNSPEC
    assert ran.frame == p.ethernet(inner)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("sum_udp", [False, True])
def test_unknown_segment_goes_to_next_hop(redirect: Redirect, family: int, sum_udp: bool) -> None:
    inner = segment(family)
    ran, moved = redirect.feed(
        p.ethernet(p.gue(inner, src=DIRECTOR, dst=HERE, hops=[PEER, OTHER], sum_udp=sum_udp))
    )
    assert moved == {"received": 1, "forwarded": 1}
    assert ran.verdict == REDIRECT
    assert ran.frame == p.ethernet(p.gue(inner, src=HERE, dst=PEER, hops=[PEER, OTHER], next_hop=1, sum_udp=sum_udp))
