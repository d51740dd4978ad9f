"""--deliver kernel: what is for this host keeps its outer headers, for the kernel's own fou.

That the kernel then unwraps it cannot be shown here: this kernel has no fou.
"""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import packets as p
from .bpf import REDIRECT, SHOT, UNSPEC
from .conftest import Redirect, know_peers
from .netns import Namespace
from .network import BACKEND1, BACKEND2, CLIENT, VIPS, Network
from .test_packets import CLIENTS, DIRECTOR, HERE, PEER, segment

LISTS = ("--allow", DIRECTOR, "--peer", PEER)


@pytest.fixture(scope="module", params=["tc", "xdp", "nfqueue"])
def redirect(bpffs: Path, request: pytest.FixtureRequest) -> Iterator[Redirect]:
    namespace = Namespace("k")
    namespace.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
    namespace.ip("link", "set", "eth0", "up")
    know_peers(namespace, "eth0", PEER)
    redirect = Redirect(namespace, "eth0", bpffs / "glb", request.param)
    redirect.attach(*LISTS, "--deliver", "kernel", "--decap", "gre,ipip")
    yield redirect
    redirect.detach()
    namespace.delete()


def wrapped(family: int) -> dict[str, tuple[bytes, str]]:
    syn, unknown = segment(family, p.SYN), segment(family)
    datagram = p.udp(CLIENTS[family], 5000, VIPS[family], 53, b"q")
    ends = {"src": DIRECTOR, "dst": HERE}
    marked = p.with_tos(p.gue(p.with_tos(syn, 2), **ends, hops=[PEER]), 3)
    return {
        "new connection": (p.gue(syn, **ends, hops=[PEER], sum_udp=True), "local_syn"),
        "last hop": (p.gue(unknown, **ends), "local_last_hop"),
        "datagram": (p.gue(datagram, **ends, hops=[PEER]), "local_udp"),
        "a mark to be merged": (marked, "local_syn"),
        "gre": (p.gre(syn, **ends), "local_tunnel"),
        "ip in ip": (p.ip_in_ip(syn, **ends), "local_tunnel"),
    }


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("name", wrapped(4))
def test_what_is_for_here_stays_as_it_came(redirect: Redirect, family: int, name: str) -> None:
    packet, expected = wrapped(family)[name]
    ran, reason = redirect.feed(packet)
    assert (reason, ran.verdict, ran.frame) == (expected, UNSPEC, p.ethernet(packet))


@pytest.mark.parametrize("family", [4, 6])
def test_the_rest_is_as_ever(redirect: Redirect, family: int) -> None:
    unknown = segment(family)
    ran, reason = redirect.feed(p.gue(unknown, src=DIRECTOR, dst=HERE, hops=[PEER], sum_udp=True))
    onward = p.gue(unknown, src=HERE, dst=PEER, hops=[PEER], next_hop=1, sum_udp=True)
    assert (reason, ran.verdict, ran.frame) == ("forwarded", REDIRECT, p.ethernet(onward))
    ran, reason = redirect.feed(p.gue(unknown, src="10.99.0.1", dst=HERE))
    assert (reason, ran.verdict) == ("not_allowed", SHOT)
    plain = p.ethernet(segment(family))
    ran, reason = redirect.feed(plain)
    assert (reason, ran.verdict, ran.frame) == ("not_gue", UNSPEC, plain)


def port_finding(redirect: Redirect) -> tuple[str, str]:
    report = json.loads(redirect.call("doctor", "eth0", "--json").stdout)
    (found,) = (each for each in report["findings"] if each["check"] == "UDP port")
    return found["status"], found["mend"]


def test_doctor_wants_the_port_to_be_taken(redirect: Redirect) -> None:
    if redirect.way == "nfqueue":
        return  # doctor looks at eBPF's instances
    assert redirect.status()["deliver"] == "kernel"
    status, mend = port_finding(redirect)
    assert status == "fail"
    assert "ip fou add port 19523 gue" in mend
    with redirect.namespace.entered():
        fou = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with fou:
        fou.bind(("0.0.0.0", p.GUE_PORT))
        assert port_finding(redirect) == ("ok", "")
    redirect.attach()
    assert redirect.status()["deliver"] == "inner"
    assert redirect.feed(wrapped(4)["new connection"][0])[0].frame == p.ethernet(segment(4, p.SYN))
    redirect.attach("--deliver", "kernel", "--decap", "gre,ipip")


def test_wrong_word(redirect: Redirect) -> None:
    done = redirect.call("attach", "eth0", "--deliver", "elsewhere")
    assert done.returncode == 2
    assert "--deliver takes inner, kernel, not elsewhere" in done.stderr


@pytest.mark.parametrize("way", ["tc", "nfqueue"])
def test_a_socket_on_the_port_gets_it(bpffs: Path, way: str) -> None:
    """In fou's place, on the second hop: of an unknown segment that the first one sends on."""
    network = Network(bpffs, way, "--deliver", "kernel")
    try:
        with network.spaces["backend2"].entered():
            fou = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with fou:
            fou.bind((BACKEND2, p.GUE_PORT))
            fou.settimeout(5)
            inner = p.tcp(CLIENT[4], 1, VIPS[4], 81, p.ACK)
            network.director.send(inner, [BACKEND1, BACKEND2])
            data, peer = fou.recvfrom(2000)
        assert peer[0] == BACKEND1
        assert data == p.gue_header(4, [BACKEND2], 1) + inner
    finally:
        network.delete()
