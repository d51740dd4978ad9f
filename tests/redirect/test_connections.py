"""`glb-redirect status --connections`: counts the kernel's own connections of VIPs, in every state."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import Redirect
from .netns import Namespace

VIPS = {4: "203.0.113.10", 6: "2001:db8::10"}
OTHER = "203.0.113.11"
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


@pytest.fixture(scope="module")
def host(bpffs: Path) -> Iterator[Redirect]:
    """A host with VIPs on lo; nothing is attached."""
    namespace = Namespace("n")
    for vip in (*VIPS.values(), OTHER):
        namespace.ip("address", "add", vip, "dev", "lo")
    yield Redirect(namespace, "lo", bpffs / "glb")
    namespace.delete()


def counted(host: Redirect, *vips: str) -> dict[str, Any]:
    more = ["--vip", *vips] if vips else []
    report: dict[str, Any] = json.loads(host.must("status", "--connections", "--json", *more))
    lines = host.must("status", "--connections", *more).splitlines()
    assert lines[-1].split() == [str(report["open"]), "open", str(report["closing"]), "closing", "in", "all"]
    assert len(lines) == len(report["connections"]) + 1
    for key in ("open", "closing"):
        assert report[key] == sum(each[key] for each in report["connections"])
    return report


def until(host: Redirect, opened: int, closing: int) -> dict[str, Any]:
    deadline = time.monotonic() + 5
    while True:
        report = counted(host)
        if (report["open"], report["closing"]) == (opened, closing):
            return report
        assert time.monotonic() < deadline, report
        time.sleep(0.05)


@pytest.fixture
def sockets(host: Redirect) -> Iterator[contextlib.ExitStack]:
    """Closes them all in the end, without anything that lingers."""
    with contextlib.ExitStack() as stack:
        yield stack
    until(host, 0, 0)


def make(stack: contextlib.ExitStack, host: Redirect, family: int) -> socket.socket:
    with host.namespace.entered():
        made = stack.enter_context(socket.socket(FAMILIES[family]))
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset ends it at once
    return made


def pair(
    stack: contextlib.ExitStack, host: Redirect, listener: socket.socket, vip: str
) -> tuple[socket.socket, socket.socket]:
    client = make(stack, host, 6 if ":" in vip else 4)
    client.bind(("::1" if ":" in vip else "127.0.0.1", 0))
    client.connect((vip, listener.getsockname()[1]))
    return client, stack.enter_context(listener.accept()[0])


def listen(stack: contextlib.ExitStack, host: Redirect, family: int, port: int) -> socket.socket:
    listener = make(stack, host, family)
    listener.bind(("", port))
    listener.listen()
    return listener


def test_by_vip_and_port(host: Redirect, sockets: contextlib.ExitStack) -> None:
    """Of listeners for one family and for both; those that only listen are none."""
    assert counted(host) == {"open": 0, "closing": 0, "connections": []}
    both, four = listen(sockets, host, 6, 8080), listen(sockets, host, 4, 8443)
    assert counted(host)["connections"] == []
    for listener, vip, count in (
        (both, VIPS[4], 3),
        (both, VIPS[6], 2),
        (four, VIPS[4], 1),
        (four, OTHER, 4),
    ):
        for _ in range(count):
            pair(sockets, host, listener, vip)
    pair(sockets, host, both, "::1")  # of the host itself
    whole = [
        {"vip": VIPS[4], "port": 8080, "protocol": "tcp", "open": 3, "closing": 0},
        {"vip": VIPS[4], "port": 8443, "protocol": "tcp", "open": 1, "closing": 0},
        {"vip": OTHER, "port": 8443, "protocol": "tcp", "open": 4, "closing": 0},
        {"vip": VIPS[6], "port": 8080, "protocol": "tcp", "open": 2, "closing": 0},
    ]
    assert counted(host)["connections"] == whole
    assert counted(host, VIPS[4])["connections"] == whole[:2]
    assert counted(host, "203.0.113.8/29")["connections"] == whole[:3]
    assert counted(host, "203.0.113.8/31", "2001:db8::/32")["connections"] == whole[3:]
    assert counted(host, "198.18.0.0/15")["connections"] == []


@pytest.mark.parametrize("family", [4, 6])
def test_states(host: Redirect, sockets: contextlib.ExitStack, family: int) -> None:
    """Half closed by the client is open, by the server closing; what has ended does not count."""
    listener = listen(sockets, host, family, 9000)
    client, server = pair(sockets, host, listener, VIPS[family])
    until(host, 1, 0)
    client.shutdown(socket.SHUT_WR)
    assert server.recv(10) == b""
    until(host, 1, 0)
    server.shutdown(socket.SHUT_WR)
    until(host, 0, 0)
    other, server = pair(sockets, host, listener, VIPS[family])
    server.shutdown(socket.SHUT_WR)
    assert other.recv(10) == b""
    until(host, 0, 1)
    other.shutdown(socket.SHUT_WR)
    assert server.recv(10) == b""
    until(host, 0, 0)  # now in TIME_WAIT here


def test_many(host: Redirect, sockets: contextlib.ExitStack) -> None:
    """More than one message of the kernel's holds."""
    listener = listen(sockets, host, 4, 9001)
    listener.listen(500)
    for _ in range(400):
        pair(sockets, host, listener, VIPS[4])
    whole = [{"vip": VIPS[4], "port": 9001, "protocol": "tcp", "open": 400, "closing": 0}]
    assert counted(host)["connections"] == whole


def answerer(
    stack: contextlib.ExitStack, host: Redirect, family: int, address: str, client: int = 0
) -> socket.socket:
    """A UDP socket for port 5300 of an address, connected to a port of a client if that is given."""
    with host.namespace.entered():
        made = stack.enter_context(socket.socket(FAMILIES[family], socket.SOCK_DGRAM))
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((address, 5300))
    if client:
        mapped = "::ffff:" if family == 6 and "." in address else ""
        made.connect((f"{mapped}127.0.0.1" if "." in address else "::1", client))
    return made


def test_of_udp_those_that_are_connected(host: Redirect, sockets: contextlib.ExitStack) -> None:
    """Each until its server closes it; those that anybody may write to are none. TCP's stand beside them."""
    for family, vip in VIPS.items():
        answerer(sockets, host, family, vip)
    assert counted(host)["connections"] == []
    four = [answerer(sockets, host, 4, VIPS[4], 6000 + n) for n in range(3)]
    answerer(sockets, host, 6, f"::ffff:{VIPS[4]}", 6100)  # of a server for both families
    answerer(sockets, host, 6, VIPS[6], 6200)
    answerer(sockets, host, 4, "127.0.0.1", 6300)  # of the host itself
    pair(sockets, host, listen(sockets, host, 4, 5300), VIPS[4])
    whole = [
        {"vip": VIPS[4], "port": 5300, "protocol": "tcp", "open": 1, "closing": 0},
        {"vip": VIPS[4], "port": 5300, "protocol": "udp", "open": 4, "closing": 0},
        {"vip": VIPS[6], "port": 5300, "protocol": "udp", "open": 1, "closing": 0},
    ]
    assert counted(host)["connections"] == whole
    assert f"udp {VIPS[4]} port 5300" in host.must("status", "--connections")
    for each in four:
        each.close()
    assert [each["open"] for each in counted(host)["connections"]] == [1, 1, 1]


def test_nothing_on_lo(host: Redirect) -> None:
    for vip in (*VIPS.values(), OTHER):
        host.namespace.ip("address", "del", f"{vip}/{128 if ':' in vip else 32}", "dev", "lo")
    refused = host.call("status", "--connections")
    assert (refused.returncode, "Say --vip" in refused.stderr) == (1, True)
    assert counted(host, "0.0.0.0/0", "::/0")["open"] == 0
