"""Which service takes a connection, and how one that none takes is refused: a real client, real servers.

Besides the lab's own, there are services on the VIPs of 203.0.113.64/28 and 2001:db8:f:1::/64, laid over each
other, each with a pool of one backend: who answers says which service it was. ::

    net    tcp  8000-8099  the prefixes                   backend1
    port   tcp  8050       the prefixes                   backend2
    host   tcp  8000-8099  203.0.113.70, 2001:db8:f:1::7  backend3
    dns    udp  5300       the prefixes                   backend2
    whole  any  any        203.0.113.80, 2001:db8:f:2::8  backend3
"""

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from glbpy.client import path_of
from glbpy.lab import netns, topology
from glbpy.lab.lab import Lab, document
from glbpy.lab.topology import PORT, VIP4, VIP6
from glbpy.lab.traffic import Client, request

V4, V6 = "203.0.113.64/28", "2001:db8:f:1::/64"
ROUTED = (V4, V6, "203.0.113.80/32", "2001:db8:f:2::8/128")
TCP_PORTS, UDP_PORT = (8000, 8050, 8099, 9999), 5300
FIRST = {4: "203.0.113.65", 6: "2001:db8:f:1::1"}
HOST = {4: "203.0.113.70", 6: "2001:db8:f:1::7"}
WHOLE = {4: "203.0.113.80", 6: "2001:db8:f:2::8"}
VIPS = {4: VIP4, 6: VIP6}
SILENCE_S = 0.9  # before the kernel sends its SYN once more
FREEBIND = {4: (socket.IPPROTO_IP, 15), 6: (socket.IPPROTO_IPV6, 78)}


class Server:
    """Says a backend's name to everyone who connects, or sends a datagram, in a thread."""

    def __init__(self, namespace: str, name: bytes) -> None:
        self.name, self.done = name, threading.Event()
        self.selector = selectors.DefaultSelector()
        with netns.entered(namespace):
            for family, vip, option in (
                (socket.AF_INET, FIRST[4], FREEBIND[4]),
                (socket.AF_INET6, FIRST[6], FREEBIND[6]),
            ):
                datagrams = socket.socket(family, socket.SOCK_DGRAM)
                self.selector.register(datagrams, selectors.EVENT_READ)
                datagrams.setsockopt(*option, 1)  # by a route, not an address, is the VIP this machine's
                datagrams.bind((vip, UDP_PORT))
                for port in TCP_PORTS:
                    listener = socket.create_server(("", port), family=family)
                    self.selector.register(listener, selectors.EVENT_READ)
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self) -> None:
        while not self.done.is_set():
            for key, _ in self.selector.select(0.1):
                each = key.fileobj
                assert isinstance(each, socket.socket)
                if each.type == socket.SOCK_DGRAM:
                    _, client = each.recvfrom(2000)
                    each.sendto(self.name, client)
                else:
                    connection, _ = each.accept()
                    with connection:
                        connection.sendall(self.name)

    def close(self) -> None:
        self.done.set()
        self.thread.join()
        for key in list(self.selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self.selector.close()


def services(lab: Lab, unmatched: str) -> dict[str, Any]:
    """The lab's document with the services above; all have the same policy for the rest."""
    whole = document(lab.backends())
    binds: dict[str, tuple[list[str], str, list[int | str], str]] = {
        "net": ([V4, V6], "tcp", ["8000-8099"], "backend1"),
        "port": ([V4, V6], "tcp", [8050], "backend2"),
        "host": ([HOST[4], HOST[6]], "tcp", ["8000-8099"], "backend3"),
        "dns": ([V4, V6], "udp", [UDP_PORT], "backend2"),
        "whole": ([WHOLE[4], WHOLE[6]], "any", ["any"], "backend3"),
    }
    addresses = {backend.name: backend.address4 for backend in lab.backends()}
    for name, (vips, protocol, ports, backend) in binds.items():
        whole["pools"].append({"name": name, "backends": [{"name": "b", "address": addresses[backend]}]})
        whole["services"].append(
            {"name": name, "vips": vips, "protocol": protocol, "ports": ports, "pool": name, "hops": 1}
        )
    whole["services"] = [service | {"unmatched": unmatched} for service in whole["services"]]
    return whole


def apply(lab: Lab, whole: dict[str, Any]) -> None:
    with lab.api() as api:
        lab.wait_in_force(api, api.post(path_of("apply"), whole, prune="true")["revision"])


@pytest.fixture(scope="module")
def laid_over(shared_lab: Lab) -> Iterator[Lab]:
    """The lab with routes, addresses and servers for the services above."""
    lab = shared_lab
    topology.route_vips(lab.name, lab.directors(), ROUTED)
    servers = []
    for each in lab.backends():
        netns.ip(each.ns, [f"route replace local {vip} dev lo" for vip in ROUTED])
        servers.append(Server(each.ns, each.name.encode()))
    yield lab
    for server in servers:
        server.close()
    apply(lab, document(lab.backends()))


@pytest.fixture(params=["punt", "drop", "reject"])
def policy(laid_over: Lab, request: pytest.FixtureRequest) -> str:
    apply(laid_over, services(laid_over, request.param))
    return str(request.param)


def ask(lab: Lab, vip: str, port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> str:
    """Who answers: a backend, "refused", or "silence"."""
    with netns.entered(lab.state().namespaces.client):
        client = socket.socket(socket.AF_INET6 if ":" in vip else socket.AF_INET, kind)
    with client:
        client.settimeout(SILENCE_S)
        try:
            client.connect((vip, port))
            if kind == socket.SOCK_DGRAM:
                client.send(b"who?")
            return client.recv(100).decode()
        except ConnectionRefusedError:
            return "refused"
        except TimeoutError:
            return "silence"


@pytest.mark.parametrize("v", [4, 6])
@pytest.mark.parametrize("protocol", [socket.IPPROTO_UDP, 50, 132, 253], ids=["udp", "esp", "sctp", "253"])
def test_any_protocol_takes_those_without_ports_too(laid_over: Lab, v: int, protocol: int) -> None:
    lab, vip, there = laid_over, WHOLE[v], 0
    family, kind = socket.AF_INET6 if v == 6 else socket.AF_INET, socket.SOCK_RAW
    if protocol == socket.IPPROTO_UDP:
        kind, there = socket.SOCK_DGRAM, 7  # any port
    apply(lab, services(lab, "drop"))
    with contextlib.ExitStack() as stack:
        servers = {}
        for backend in lab.backends():
            with netns.entered(backend.ns):
                servers[backend.name] = stack.enter_context(socket.socket(family, kind, protocol))
            servers[backend.name].setsockopt(*FREEBIND[v], 1)
            servers[backend.name].bind((vip, there))
            servers[backend.name].setblocking(False)
        with netns.entered(lab.state().namespaces.client):
            client = stack.enter_context(socket.socket(family, kind, protocol))
        client.settimeout(3)
        client.connect((vip, there))
        client.send(b"who are you?")
        servers["backend3"].settimeout(3)
        question, sender = servers["backend3"].recvfrom(2000)  # with the IP header, when IPv4 and raw
        assert question.endswith(b"who are you?")
        assert sender[0] == client.getsockname()[0]
        servers["backend3"].sendto(b"backend3", sender)
        assert client.recv(2000).endswith(b"backend3")
        for name in ("backend1", "backend2"):
            with pytest.raises(BlockingIOError):
                servers[name].recv(2000)


@pytest.mark.parametrize("v", [4, 6])
def test_any_protocol_is_pinged(laid_over: Lab, v: int) -> None:
    apply(laid_over, services(laid_over, "drop"))
    ping = ["ping", "-n", "-q", "-c", "3", "-i", "0.01", "-W", "2", WHOLE[v]]
    assert "3 received" in netns.run_in(laid_over.state().namespaces.client, ping)


def counters(lab: Lab) -> dict[str, int]:
    return lab.counters()


def test_the_most_specific_service_answers(laid_over: Lab) -> None:
    """The longer prefix before the narrower range of ports, whatever order the document has."""
    apply(laid_over, services(laid_over, "punt"))
    for v in (4, 6):
        assert [ask(laid_over, FIRST[v], port) for port in TCP_PORTS[:3]] == [
            "backend1", "backend2", "backend1",
        ]  # fmt: skip
        assert [ask(laid_over, HOST[v], port) for port in TCP_PORTS[:3]] == ["backend3"] * 3
        assert [ask(laid_over, WHOLE[v], port) for port in TCP_PORTS] == ["backend3"] * 4
        assert ask(laid_over, FIRST[v], UDP_PORT, socket.SOCK_DGRAM) == "backend2"


@pytest.mark.parametrize("v", [4, 6])
def test_what_no_service_takes(laid_over: Lab, policy: str, v: int) -> None:
    """A client notices at once with reject, by a reset and by port unreachable, and waits otherwise."""
    reason = {"punt": "no_service", "drop": "unmatched_dropped", "reject": "unmatched_rejected"}[policy]
    answer = "refused" if policy == "reject" else "silence"
    before = counters(laid_over)
    began = time.monotonic()
    for vip in (VIPS[v], FIRST[v], HOST[v]):
        assert ask(laid_over, vip, 9999) == answer
    assert ask(laid_over, FIRST[v], 53, socket.SOCK_DGRAM) == answer
    took = time.monotonic() - began
    assert took < SILENCE_S if policy == "reject" else took >= 4 * SILENCE_S
    now = counters(laid_over)
    assert now[reason] - before[reason] >= 4
    # What has a service is served as before.
    assert ask(laid_over, FIRST[v], 8000) == "backend1"
    with Client(laid_over.state().namespaces.client) as client:
        assert client.run(request(VIPS[v], PORT)).error is None


@pytest.mark.parametrize("v", [4, 6])
def test_rejections_are_limited(laid_over: Lab, v: int) -> None:
    """A flood of datagrams gets about what one second is worth; the counters say the rest."""
    lab, flood = laid_over, 3000
    apply(lab, services(lab, "reject"))
    time.sleep(0.2)  # whatever was rejected before: 1000 a second, a hundred at once
    namespace, name = lab.state().namespaces.client, "IcmpInDestUnreachs" if v == 4 else "Icmp6InDestUnreachs"

    def unreachables() -> int:
        said = netns.run_in(namespace, ["nstat", "-asz", name])
        return int(said.split(name)[1].split()[0])

    before, seen, began = counters(lab), unreachables(), time.monotonic()
    with netns.entered(namespace):
        client = socket.socket(socket.AF_INET if v == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
    with client:
        for _ in range(flood):
            client.sendto(b"x", (FIRST[v], 53))

    def judged() -> int:
        now = counters(lab)
        return sum(now[key] - before[key] for key in ("unmatched_rejected", "reject_limited"))

    netns.wait_until(lambda: judged() == flood, "every datagram to be judged")
    took = time.monotonic() - began
    rejected = counters(lab)["unmatched_rejected"] - before["unmatched_rejected"]
    assert 100 <= rejected <= 100 + 1000 * took + 1
    netns.wait_until(lambda: unreachables() - seen == rejected, "the client to hear of all")
