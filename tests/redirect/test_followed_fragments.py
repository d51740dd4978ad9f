"""Fragments of clients: the first one goes where its datagram belongs, and the others follow it."""

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import packets as p
from .bpf import REDIRECT, UNSPEC
from .conftest import Redirect, know_peers
from .netns import Namespace
from .network import BACKEND1, BACKEND2, CLIENT, Network
from .network import VIPS as NETWORK_VIPS

DIRECTOR, HERE, PEER, OTHER = "10.77.0.1", "10.77.0.11", "10.77.0.12", "10.77.0.13"
VIPS = {4: "203.0.113.10", 6: "2001:db8::10"}
CLIENTS = {4: "198.51.100.7", 6: "2001:db8:1::7"}
KINDS = {4: socket.AF_INET, 6: socket.AF_INET6}
families = pytest.mark.parametrize("family", [4, 6])
ALLOW = ("--allow", DIRECTOR, "--peer", PEER, OTHER)
SERVICES = tuple(
    word
    for vip in (VIPS[4], f"[{VIPS[6]}]")
    for word in ("--service", f"udp:{vip}:5300=bound", "--service", f"tcp:{vip}:81=listening")
)


@pytest.fixture(scope="module", params=["tc", "xdp", "nfqueue"])
def redirect(bpffs: Path, request: pytest.FixtureRequest) -> Iterator[Redirect]:
    namespace = Namespace("g")
    namespace.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
    namespace.ip("link", "set", "eth0", "up")
    for family, vip in VIPS.items():
        namespace.ip("addr", "add", vip, "dev", "lo", *(["nodad"] if family == 6 else []))
    know_peers(namespace, "eth0", PEER, OTHER)
    redirect = Redirect(namespace, "eth0", bpffs / "glb", request.param)
    redirect.attach(*ALLOW, *SERVICES)
    yield redirect
    redirect.detach()
    namespace.delete()


@pytest.fixture
def ident(request: pytest.FixtureRequest) -> int:
    """One that no other test uses."""
    numbers: list[int] = request.config.stash.setdefault(IDENTS, [])
    numbers.append(len(numbers) + 1)
    return numbers[-1]


IDENTS = pytest.StashKey[list[int]]()


def datagram(family: int, port: int = 5300, size: int = 200) -> bytes:
    return p.udp(CLIENTS[family], 5000, VIPS[family], port, bytes(size))


def judge(redirect: Redirect, inner: bytes, hops: tuple[str, ...] = (PEER, OTHER), to: str = "") -> str:
    """Feeds a fragment of the client's; verdict and bytes must go with the reason."""
    to = to or next((hop for hop in hops if hop != HERE), "")
    ran, reason = redirect.feed(p.gue(inner, src=DIRECTOR, dst=HERE, hops=hops, sum_udp=True))
    if reason.startswith("forwarded"):
        onward = p.gue(inner, src=HERE, dst=to, hops=hops, next_hop=hops.index(to) + 1, sum_udp=True)
        assert (ran.verdict, ran.frame) == (REDIRECT, p.ethernet(onward))
    else:
        assert (ran.verdict, ran.frame) == (UNSPEC, p.ethernet(inner))
    return reason


@families
def test_later_fragments_follow_the_first(redirect: Redirect, family: int, ident: int) -> None:
    pieces = p.fragments(datagram(family), 64, ident)
    assert len(pieces) == 4
    assert [judge(redirect, piece) for piece in pieces] == ["forwarded"] * 4
    other = p.fragments(datagram(family), 64, ident + 10000)
    assert [judge(redirect, piece) for piece in other[1:]] == ["local_fragment"] * 3


@families
def test_tcp_too(redirect: Redirect, family: int, ident: int) -> None:
    unknown = p.tcp(CLIENTS[family], 40000, VIPS[family], 80, p.ACK, data=bytes(100))
    pieces = p.fragments(unknown, 64, ident)
    assert [judge(redirect, piece) for piece in pieces] == ["forwarded", "forwarded"]
    new = p.tcp(CLIENTS[family], 40000, VIPS[family], 80, p.SYN, data=bytes(100))
    assert {judge(redirect, piece) for piece in p.fragments(new, 64, ident)} == {"local_fragment"}
    nothing_listens = p.tcp(CLIENTS[family], 40000, VIPS[family], 81, p.SYN, data=bytes(100))
    pieces = p.fragments(nothing_listens, 64, ident)
    assert [judge(redirect, piece) for piece in pieces] == ["forwarded_new", "forwarded"]


@families
def test_what_is_for_here_stays_whole(redirect: Redirect, family: int, ident: int) -> None:
    """Also when the identification was that of a datagram which went on."""
    pieces = p.fragments(datagram(family), 64, ident)
    assert judge(redirect, pieces[0]) == "forwarded"
    with redirect.namespace.entered():
        server = socket.socket(KINDS[family], socket.SOCK_DGRAM)
    with server:
        server.bind((VIPS[family], 5300))
        assert {judge(redirect, piece) for piece in pieces} == {"local_fragment"}
    plain = p.fragments(datagram(family, 53), 64, ident)  # UDP without a service
    assert {judge(redirect, piece) for piece in plain} == {"local_fragment"}


@families
def test_another_chain_with_the_same_hop(redirect: Redirect, family: int, ident: int) -> None:
    """The backends have changed while fragments were under way: where the first one went, or here."""
    first, second, third, fourth = p.fragments(datagram(family), 64, ident)
    assert judge(redirect, first) == "forwarded"
    assert judge(redirect, second, (OTHER, PEER), to=PEER) == "forwarded"
    assert judge(redirect, third, (OTHER,)) == "local_fragment"
    assert judge(redirect, fourth, ()) == "local_fragment"


@families
def test_no_hop_left(redirect: Redirect, family: int, ident: int) -> None:
    for hops in ((), (HERE,)):
        pieces = p.fragments(datagram(family), 64, ident)
        assert {judge(redirect, piece, hops) for piece in pieces} == {"local_fragment"}


@families
def test_who_differs_in_anything_does_not_follow(redirect: Redirect, family: int, ident: int) -> None:
    pieces = p.fragments(datagram(family), 64, ident)
    assert judge(redirect, pieces[0]) == "forwarded"
    at = 8 if family == 6 else 12
    size = 16 if family == 6 else 4
    for byte in (at + size - 1, at + 2 * size - 1):
        stranger = p.put(pieces[1], byte, bytes([pieces[1][byte] ^ 1]))
        assert judge(redirect, stranger) == "local_fragment"
    if family == 4:
        assert judge(redirect, p.put(pieces[1], 9, b"\x06")) == "local_fragment"
    assert judge(redirect, pieces[1]) == "forwarded"


@families
def test_one_fragment_alone_is_not_remembered(redirect: Redirect, family: int, ident: int) -> None:
    """IPv6's atomic fragment (RFC 6946) goes on like a packet; there is nothing that could follow it."""
    pieces = p.fragments(datagram(family), 64, ident)
    if family == 4:
        return  # an IPv4 packet of one fragment is no fragment
    atomic = p.put(pieces[0], 42, bytes(2))
    assert judge(redirect, atomic) == "forwarded"
    assert judge(redirect, pieces[1]) == "local_fragment"


def test_tiny_and_cut_ones_are_the_stacks(redirect: Redirect, ident: int) -> None:
    unknown = p.tcp(CLIENTS[4], 40000, VIPS[4], 80, p.ACK, data=bytes(100))
    tiny = p.fragments(unknown, 8, ident)
    assert {judge(redirect, piece) for piece in tiny} == {"local_fragment"}
    whole = p.fragments(datagram(6), 64, ident)[0]
    cut = p.put(whole[:44], 4, b"\0\4")
    assert judge(redirect, cut) == "local_fragment"
    options = p.put(whole, 40, b"\x3c")  # destination options in front of UDP
    assert judge(redirect, options) == "local_fragment"


def tool(*arguments: str) -> str:
    done = subprocess.run(["bpftool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_they_are_forgotten(redirect: Redirect, ident: int) -> None:
    """After 30 seconds. The clock cannot be turned, but a note's time can."""
    if redirect.way == "nfqueue":
        return  # the same code, on notes in the process's memory
    pieces = p.fragments(datagram(4), 64, ident)
    assert judge(redirect, pieces[0]) == "forwarded"
    pin = str(redirect.pin_dir / redirect.name / "fragments")
    ids = list(ident.to_bytes(2, "big"))
    (entry,) = (
        entry
        for entry in json.loads(tool("-j", "map", "dump", "pinned", pin))
        if [int(byte, 16) for byte in entry["key"][32:34]] == ids and int(entry["key"][36], 16) == 4
    )
    was = bytes(int(byte, 16) for byte in entry["value"])
    for seconds, expected in ((29, "forwarded"), (31, "local_fragment")):
        then = time.monotonic_ns() - seconds * 10**9
        value = then.to_bytes(8, "little") + was[8:]
        words = ["hex", *(f"{byte:02x}" for byte in value)]
        tool("map", "update", "pinned", pin, "key", "hex", *(b[2:] for b in entry["key"]), "value", *words)
        assert judge(redirect, pieces[1]) == expected


# --- real datagrams


@pytest.fixture(scope="module", params=["tc", "xdp", "nfqueue"])
def network(bpffs: Path, request: pytest.FixtureRequest) -> Iterator[Network]:
    vips = (NETWORK_VIPS[4], f"[{NETWORK_VIPS[6]}]")
    choices = [f"udp:{vip}:{choice}" for vip in vips for choice in ("5300=bound", "5301=connected")]
    services = [word for choice in choices for word in ("--service", choice)]
    network = Network(bpffs, request.param, *services)
    network.director.chain = lambda segment: [BACKEND1, BACKEND2]
    yield network
    network.delete()


@families
def test_datagrams_reach_the_second_hop(network: Network, family: int) -> None:
    """One kernel takes them apart, another puts them together; in between a first hop without a socket."""
    before = [redirect.counters() for redirect in network.redirects]
    with network.spaces["backend2"].entered():
        server = socket.socket(KINDS[family], socket.SOCK_DGRAM)
    with network.spaces["client"].entered():
        client = socket.socket(KINDS[family], socket.SOCK_DGRAM)
    with server, client:
        server.bind((NETWORK_VIPS[family], 5300))
        server.settimeout(5)
        client.bind((CLIENT[family], 0))
        for number in range(5):
            data = bytes([number]) * 5000
            client.sendto(data, (NETWORK_VIPS[family], 5300))
            got, peer = server.recvfrom(9000)
            assert (got, peer[:2]) == (data, client.getsockname()[:2])
    after = [redirect.counters() for redirect in network.redirects]
    assert after[0]["forwarded"] - before[0]["forwarded"] == 20
    assert after[0]["local_fragment"] == before[0]["local_fragment"]
    assert after[1]["local_fragment"] - before[1]["local_fragment"] == 20


@families
def test_whole_ones_follow_a_connected_socket(network: Network, family: int) -> None:
    """A flow stays with the socket that a server has connected to its client; both hosts serve the port."""

    def server(backend: str) -> socket.socket:
        with network.spaces[backend].entered():
            made = socket.socket(KINDS[family], socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((NETWORK_VIPS[family], 5301))
        made.settimeout(5)
        return made

    with network.spaces["client"].entered():
        client, stranger = (socket.socket(KINDS[family], socket.SOCK_DGRAM) for _ in range(2))
    with (
        server("backend1") as first,
        server("backend2") as last,
        server("backend1") as mine,
        client,
        stranger,
    ):
        for each in (client, stranger):
            each.bind((CLIENT[family], 0))
        for number in range(3):  # of nobody: on to the last hop
            client.sendto(bytes([number]), (NETWORK_VIPS[family], 5301))
            assert last.recvfrom(10)[0] == bytes([number])
        mine.connect(client.getsockname())
        client.sendto(b"mine", (NETWORK_VIPS[family], 5301))
        stranger.sendto(b"another's", (NETWORK_VIPS[family], 5301))
        assert mine.recv(10) == b"mine"
        assert last.recvfrom(10)[0] == b"another's"
        first.settimeout(0)
        with pytest.raises(BlockingIOError):
            first.recv(10)
