"""`glb-redirect nfqueue run` behind a real iptables rule, and the rules themselves.

What it decides, packet by packet, is shown by test_packets, test_sockets, test_outer_v6 and test_tunnels,
which ask `nfqueue judge`; here the connections of test_second_chance go through it.
"""

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import packets as p
from .conftest import PROGRAM
from .netns import Namespace
from .network import BACKEND1, CLIENT, DIRECTOR, VIPS, Network
from .rawclient import Wire
from .test_second_chance import FIRST, by_a_cookie, counters, use
from .test_second_chance import family as family
from .test_second_chance import sum_udp as sum_udp
from .test_second_chance import test_established_on_second_hop as test_established_on_second_hop
from .test_second_chance import test_new_connections_go_to_first_hop as test_new_connections_go_to_first_hop
from .test_second_chance import test_too_big_reaches_the_connection as test_too_big_reaches_the_connection


@pytest.fixture(scope="module")
def network(bpffs: Path) -> Iterator[Network]:
    network = Network(bpffs, "nfqueue")
    yield network
    network.delete()


def test_syn_cookie_is_good_on_the_last_hop_only(network: Network, family: int) -> None:
    """The worker cannot check it, so it goes on to the chain's end, whose stack does."""
    _, second = by_a_cookie(network, family)
    assert second["local_last_hop"] >= 1
    assert second["local_syncookie"] == 0


def test_datagrams_and_their_fragments(network: Network, family: int) -> None:
    """UDP reaches its socket with the client's address; the stack puts the client's fragments together."""
    with network.spaces["backend1"].entered():
        kind = socket.AF_INET6 if family == 6 else socket.AF_INET
        server = socket.socket(kind, socket.SOCK_DGRAM)
    with server:
        server.bind((VIPS[family], 5353))
        server.settimeout(3)
        network.director.send(p.udp(CLIENT[family], 4000, VIPS[family], 5353, b"question"), FIRST)
        assert server.recvfrom(100)[0] == b"question"
        if family == 4:
            whole = p.udp(CLIENT[4], 4001, VIPS[4], 5353, bytes(range(256)) * 4)
            for at, more in ((0, 0x2000), (512, 0)):
                part = whole[20 + at : 20 + at + 512] if more else whole[20 + at :]
                piece = p.ipv4(CLIENT[4], VIPS[4], 17, part, fragment=more | at // 8)
                network.director.send(p.put(p.put(piece, 4, b"\0\x09"), 10, bytes(2)), FIRST)
            data, peer = server.recvfrom(2000)
            assert (data, peer) == (bytes(range(256)) * 4, (CLIENT[4], 4001))


def test_strangers_are_dropped(network: Network) -> None:
    use(network, [])
    wire = Wire(network.spaces["client"], "eth0")
    before = counters(network)
    inner = p.tcp(CLIENT[4], 1, VIPS[4], 8080, p.SYN)
    stranger, here = bytes.fromhex("020000007764"), bytes.fromhex("02000000770b")
    frame = p.ethernet(p.gue(inner, src=CLIENT[4], dst=BACKEND1), dst=here, src=stranger)
    wire.send(frame)
    wire.close()
    until = time.monotonic() + 5
    while counters(network)[0]["not_allowed"] == before[0]["not_allowed"]:
        assert time.monotonic() < until
    assert counters(network)[0]["not_allowed"] == before[0]["not_allowed"] + 1


def test_every_received_packet_has_one_reason(network: Network) -> None:
    for moved in counters(network):
        assert moved["received"] > 0
        assert moved["received"] == sum(moved.values()) - moved["received"] - moved["not_gue"]


def test_packets_pass_by_while_no_worker_runs(network: Network) -> None:
    """--queue-bypass: the stack then answers as it would without the rule."""
    worker = network.redirects[0]
    worker.detach()
    worker.namespace.run(str(PROGRAM), "iptables", "install", "--queue", "7")
    try:
        with worker.namespace.entered():
            stack = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with stack:
            stack.bind((BACKEND1, p.GUE_PORT))
            stack.settimeout(3)
            inner = p.tcp(CLIENT[4], 1, VIPS[4], 8080, p.SYN)
            network.director.send(inner, FIRST)
            assert stack.recv(2000).endswith(inner)
    finally:
        worker.attach("--allow", DIRECTOR, "--peer", *FIRST)


# --- rules


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    namespace = Namespace("q")
    yield namespace
    namespace.delete()


def rules(namespace: Namespace, *arguments: str) -> str:
    return namespace.run(str(PROGRAM), "iptables", *arguments)


def test_rule_is_printed() -> None:
    printed = subprocess.run([str(PROGRAM), "iptables", "print"], capture_output=True, text=True, check=True)
    rule = "-A INPUT -p udp --dport 19523 -j NFQUEUE --queue-bypass"
    assert printed.stdout.splitlines() == [f"iptables {rule}", f"ip6tables {rule}"]


def test_nftables_form() -> None:
    command = [str(PROGRAM), "iptables", "print", "--nft", "--queue", "3", "--decap", "gre,ipip"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "udp dport 19523 queue flags bypass to 3" in printed
    checked = subprocess.run(
        ["nft", "-c", "-f", "-"], input=printed, capture_output=True, text=True, check=False
    )
    assert "syntax error" not in checked.stderr


def test_rules_come_once_and_go(namespace: Namespace) -> None:
    for _ in range(2):
        rules(namespace, "install", "--queue", "5", "--decap", "gre,ipip")
    for program in ("iptables", "ip6tables"):
        shown = namespace.run(program, "-S", "INPUT")
        assert shown.count("NFQUEUE --queue-num 5 --queue-bypass") == 4
        assert "-A INPUT -p udp -m udp --dport 19523 -j NFQUEUE" in shown
    for _ in range(2):
        rules(namespace, "remove", "--queue", "5", "--decap", "gre,ipip")
    assert "NFQUEUE" not in namespace.run("iptables", "-S", "INPUT")


def test_queue_has_one_worker(namespace: Namespace) -> None:
    command = ["ip", "netns", "exec", namespace.name, str(PROGRAM), "nfqueue", "run", "--queue", "9"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as first:
        assert first.stderr
        while "are taken" not in first.stderr.readline():
            assert first.poll() is None
        second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
        first.terminate()
    assert second.returncode == 1
    assert "another process has queue 9" in second.stderr
    assert first.returncode == 0


def test_wrong_words() -> None:
    for words in (["nfqueue"], ["nfqueue", "walk"], ["iptables"], ["iptables", "install", "--nft"]):
        done = subprocess.run([str(PROGRAM), *words], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "--help" in done.stderr
