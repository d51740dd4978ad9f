"""What operators choose for a service: UDP by sockets, SYNs that go on, hunting for a less busy host."""

import contextlib
import json
import socket
import subprocess
import time

from . import packets as p
from .conftest import PROGRAM
from .test_sockets import DIRECTOR, HERE, PEER, ROUTERS, Host
from .test_sockets import family as family
from .test_sockets import host as host

KINDS = {4: socket.AF_INET, 6: socket.AF_INET6}


def name(host: Host, protocol: str, family: int, port: int) -> str:
    vip = {4: "203.0.113.10", 6: "[2001:db8::10]"}[family]
    return f"{protocol}:{vip}:{port}"


def choose(host: Host, protocol: str, family: int, port: int, choice: str) -> None:
    """And nothing else: what an earlier test has chosen is gone. Attaching takes its time."""
    host.redirect.attach("--service", f"{name(host, protocol, family, port)}={choice}")


def free_port(host: Host, family: int) -> int:
    with host.namespace.entered(), socket.socket(KINDS[family]) as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def at_last_hop(host: Host, inner: bytes) -> str:
    return host.redirect.feed(p.gue(inner, src=DIRECTOR, dst=HERE, hops=[PEER], next_hop=1))[1]


def test_datagrams_by_sockets(host: Host, family: int) -> None:
    flow = host.flow(family)
    ends = (flow.client, flow.sport, flow.vip, 5300)
    datagram = p.udp(*ends, b"q")
    answer = p.udp(flow.vip, 5300, flow.client, flow.sport, b"a" * 20)
    kind, code = (3, 1) if family == 4 else (1, 3)
    error = p.icmp(ROUTERS[family], flow.vip, kind, code, bytes(4), answer)
    assert host.judge(datagram) == "local_udp"  # the default: whatever is here
    for choice in ("bound", "connected"):
        choose(host, "udp", family, 5300, choice)
        assert host.judge(datagram) == "forwarded"
        assert host.judge(error) == "forwarded"
        assert at_last_hop(host, datagram) == "local_udp"
        assert host.judge(p.udp(*ends[:3], 5301, b"q")) == "local_udp"  # another service
        with host.namespace.entered():
            taker, connected = (socket.socket(KINDS[family], socket.SOCK_DGRAM) for _ in range(2))
        with taker, connected:
            for each in (taker, connected):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                each.bind((flow.vip, 5300))
            assert host.judge(datagram) == ("local_udp" if choice == "bound" else "forwarded")
            connected.connect((flow.client, flow.sport))
            assert host.judge(datagram) == "local_udp"
            assert host.judge(error) == "local_icmp"
            other = host.judge(p.udp(flow.client, flow.sport + 1000, flow.vip, 5300, b"q"))
            assert other == ("local_udp" if choice == "bound" else "forwarded")


def test_syn_goes_on_where_nothing_listens(host: Host, family: int) -> None:
    """As while a proxy restarts."""
    port = free_port(host, family)
    flow = host.flow(family, port)
    assert host.judge(flow.packet(p.SYN)) == "local_syn"
    choose(host, "tcp", family, port, "listening")
    assert host.judge(flow.packet(p.SYN)) == "forwarded_new"
    assert at_last_hop(host, flow.packet(p.SYN)) == "local_syn"
    stranger = p.gue(flow.packet(p.SYN), src=DIRECTOR, dst=HERE, hops=["10.99.0.1"])
    assert host.redirect.feed(stranger)[1] == "local_syn"  # nobody to send it to
    with host.namespace.entered():
        listener = socket.socket(KINDS[family])
    with listener:
        listener.bind((flow.vip, port))
        listener.listen(4)
        assert host.judge(flow.packet(p.SYN)) == "local_syn"
        flow.half_open()
        listener.close()
        assert host.judge(host.flow(family, port).packet(p.SYN)) == "forwarded_new"


def test_accept_queue(host: Host, family: int) -> None:
    port = host.listeners[family].getsockname()[1]
    choose(host, "tcp", family, port, "queue<1")
    waiting = host.flow(family)
    again = host.flow(family)
    assert host.judge(again.packet(p.SYN)) == "local_syn"
    waiting.open()
    late = host.flow(family)
    try:
        assert host.judge(late.packet(p.SYN)) == "forwarded_new"
        assert at_last_hop(host, host.flow(family).packet(p.SYN)) == "local_syn"
        assert host.judge(again.packet(p.SYN)) == "local_syn"  # sent again: as before
        assert host.judge(waiting.packet(p.ACK)) == "local_established"
        assert host.judge(waiting.packet(p.SYN)) == "local_syn"  # a socket here has begun with it
    finally:
        host.listeners[family].accept()[0].close()
    assert host.judge(late.packet(p.SYN)) == "forwarded_new"
    assert host.judge(host.flow(family).packet(p.SYN)) == "local_syn"


def load(host: Host, family: int, number: int) -> None:
    port = host.listeners[family].getsockname()[1]
    host.redirect.must("load", name(host, "tcp", family, port), str(number))


def threshold(host: Host) -> int:
    return int(host.redirect.status()["services"][0]["threshold"])


def test_load(host: Host, family: int) -> None:
    if host.redirect.way == "nfqueue":
        return  # an agent's number is in a map of eBPF's
    port = host.listeners[family].getsockname()[1]
    choose(host, "tcp", family, port, "load<5")
    calm = host.flow(family)
    assert host.judge(calm.packet(p.SYN)) == "local_syn"
    load(host, family, 5)
    busy = host.flow(family)
    assert host.judge(busy.packet(p.SYN)) == "forwarded_new"
    assert host.judge(calm.packet(p.SYN)) == "local_syn"
    choose(host, "tcp", family, port, "load<5")  # attached again: the number stays
    assert host.judge(host.flow(family).packet(p.SYN)) == "forwarded_new"
    load(host, family, 4)
    assert host.judge(busy.packet(p.SYN)) == "forwarded_new"
    assert host.judge(host.flow(family).packet(p.SYN)) == "local_syn"
    report = host.redirect.status()["services"]
    assert report == [{"service": f"{name(host, 'tcp', family, port)}=load<5", "threshold": 5, "load": 4}]


def test_established_connections(host: Host, family: int) -> None:
    """Counted by `load --connections`: from the third on they go on, until one has ended."""
    if host.redirect.way == "nfqueue":
        return
    port = host.listeners[family].getsockname()[1]
    service = name(host, "tcp", family, port)
    choose(host, "tcp", family, port, "load<3")
    where = ("--pin-dir", str(host.redirect.pin_dir), "--name", host.redirect.name)
    command = ["ip", "netns", "exec", host.namespace.name, str(PROGRAM), "load", service, "--connections"]
    with contextlib.ExitStack() as stack, subprocess.Popen([*command, *where]) as agent:
        opened = [host.established(family) for _ in range(2)]
        for _, connection in opened:
            stack.enter_context(connection)
        until_load(host, 2)
        assert host.judge(host.flow(family).packet(p.SYN)) == "local_syn"
        third, connection = host.established(family)
        until_load(host, 3)
        assert host.judge(host.flow(family).packet(p.SYN)) == "forwarded_new"
        assert host.judge(third.packet(p.ACK)) == "local_established"
        third.send(p.RST)
        until_load(host, 2)
        assert host.judge(host.flow(family).packet(p.SYN)) == "local_syn"
        connection.close()
        agent.terminate()
    assert agent.returncode == 0
    assert host.redirect.status()["services"][0]["load"] == 0


def until_load(host: Host, number: int) -> None:
    deadline = time.monotonic() + 15
    while host.redirect.status()["services"][0]["load"] != number:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_dynamic_threshold(host: Host, family: int) -> None:
    """It moves to where the load is, by one for every 50 connections."""
    if host.redirect.way == "nfqueue":
        return
    port = host.listeners[family].getsockname()[1]
    choose(host, "tcp", family, port, "load<auto")
    load(host, family, 3)
    seen = [host.judge(host.flow(family).packet(p.SYN)) for _ in range(200)]
    assert seen[:150] == ["forwarded_new"] * 150
    assert threshold(host) == 3  # up to 4, where all were accepted, and down again
    assert seen[150:] == ["local_syn"] * 50
    load(host, family, 0)
    before = threshold(host)
    for _ in range(100):
        assert host.judge(host.flow(family).packet(p.SYN)) == "local_syn"
    assert threshold(host) == before - 2


WRONG = (
    "x",
    "tcp:203.0.113.10:80",
    "tcp:203.0.113.10=listening",
    "tcp::80=listening",
    "tcp:2001:db8::10:80=listening",
    "tcp:203.0.113.10:80=bound",
    "tcp:203.0.113.10:80=queue",
    "tcp:203.0.113.10:80=queue<1,load<1",
    "udp:203.0.113.10:80=queue<1",
    "udp:203.0.113.10:53=bound,connected",
)


def test_wrong_words(host: Host) -> None:
    host.redirect.attach()
    for text in WRONG:
        done = host.redirect.call("attach", "eth0", "--service", text)
        assert done.returncode == 2, text
        assert "--service takes" in done.stderr
    for words in ([], ["1", "--connections"], ["1", "2"]):
        assert host.redirect.call("load", "tcp:203.0.113.10:80", *words).returncode == 2
    assert host.redirect.call("load", "--connections").returncode == 2
    if host.redirect.way != "nfqueue":
        done = host.redirect.call("load", "tcp:203.0.113.99:80", "1")
        assert done.returncode == 1
        assert "no service that goes by a load" in done.stderr
        assert json.loads(host.redirect.must("status", "eth0", "--json"))["services"] == []
