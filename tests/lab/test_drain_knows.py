"""A drain that knows: backends say how many connections are left, and `--wait` ends with the last one."""

import itertools
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from glbpy.client import path_of
from glbpy.connections_left import Asked, question, read_key
from glbpy.lab import netns
from glbpy.lab.director import report_key
from glbpy.lab.lab import POOL, Lab, document
from glbpy.lab.topology import PORT, VIP4, VIP6
from glbpy.lab.traffic import Client, Connection

GLB = str(Path(sys.executable).with_name("glb"))
UDP_PORT = 19524
UDP_SERVICE = 5353
CLIENT_PORTS = itertools.count(20000)


@pytest.fixture
def telling(lab: Lab) -> Iterator[Lab]:
    """The lab, whose backends say how many connections they have."""
    key = report_key(lab.director_dir)
    pids = [
        netns.spawn(
            each.ns, ["glb-redirect", "report", "--secret", str(key)], lab.path / each.name / "report.log"
        )
        for each in lab.backends()
    ]
    apply(lab, report={})
    yield lab
    netns.stop(pids)
    apply(lab)


def apply(lab: Lab, **fields: Any) -> None:
    whole = document(lab.backends())
    whole["pools"][0] |= fields
    with lab.api() as api:
        lab.wait_in_force(api, api.post(path_of("apply"), whole)["revision"])


def left(lab: Lab, name: str) -> dict[str, Any]:
    with lab.api() as api:
        return dict(api.get(path_of("pools", POOL, "backends", name))["status"]["connections"] or {})


async def open_on(name: str, vip: str) -> Connection:
    """A connection that lives on backend `name`."""
    while True:
        connection = await Connection(vip, PORT).open()
        await connection.get()
        if connection.backend == name:
            return connection
        connection.close()


def drain(lab: Lab, name: str, *options: str) -> subprocess.Popen[str]:
    command = [GLB, "drain", f"{POOL}/{name}", "--wait", "--url", lab.state().api_url, *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_wait_ends_when_the_last_connection_has_ended(telling: Lab, client: Client) -> None:
    lab, name = telling, "backend1"
    connections = [client.run(open_on(name, vip)) for vip in (VIP4, VIP6, VIP4)]
    waiting = drain(lab, name)
    for open_ones in (3, 2, 1):
        netns.wait_until(lambda n=open_ones: left(lab, name).get("open") == n, f"{open_ones} to be left")
        answers = left(lab, name)["answers"]
        netns.wait_until(lambda n=answers: left(lab, name)["answers"] > n + 3, "it to be asked again")
        assert waiting.poll() is None, waiting.communicate()
        client.run(connections[open_ones - 1].get())
        client.loop.call_soon_threadsafe(connections[open_ones - 1].close)
    said, wrong = waiting.communicate(timeout=10)
    assert waiting.returncode == 0, wrong
    assert said.splitlines()[-1] == "its last connection has ended"
    shown = subprocess.run(
        [GLB, "get", "backends", "--url", lab.state().api_url], capture_output=True, text=True, timeout=30
    )
    assert "CONNECTIONS" in shown.stdout
    lab.drain(name, undrain=True)
    netns.wait_until(lambda: left(lab, name) == {}, "it not to be asked any more")


def test_wait_gives_up_when_it_is_told_to(telling: Lab, client: Client) -> None:
    connection = client.run(open_on("backend2", VIP4))
    waiting = drain(telling, "backend2", "--timeout", "2", "--force")
    _, wrong = waiting.communicate(timeout=20)
    assert waiting.returncode == 1, wrong
    assert "web/backend2 drains still: 1 connections are left" in wrong
    client.run(connection.get())
    client.loop.call_soon_threadsafe(connection.close)


def test_a_backend_that_does_not_say_is_named(lab: Lab) -> None:
    """Nothing answers there: the drain is in force, and --wait does not claim that it is over."""
    apply(lab, report={})
    waiting = drain(lab, "backend3", "--timeout", "2")
    _, wrong = waiting.communicate(timeout=20)
    assert waiting.returncode == 1, wrong
    assert "is glb-redirect report running?" in wrong
    apply(lab)


def test_it_waits_for_the_sockets_of_udp(telling: Lab) -> None:
    """Of a server that connects one to each client; what another port or protocol has is not asked for."""
    lab, name = telling, "backend1"
    space = lab.backend(name).ns
    dns = {"name": "dns", "vips": [VIP4], "protocol": "udp", "ports": [UDP_SERVICE], "pool": POOL}
    whole = document(lab.backends())
    whole["pools"][0]["report"] = {}
    with lab.api() as api:
        plain = whole["services"]
        lab.wait_in_force(api, api.post(path_of("apply"), whole | {"services": [*plain, dns]})["revision"])
    with (
        connected(space, VIP4, UDP_SERVICE) as first,
        connected(space, VIP4, UDP_SERVICE) as second,
        connected(space, VIP4, UDP_SERVICE + 1),
    ):
        waiting = drain(lab, name)
        for sock, open_ones in ((first, 2), (second, 1)):
            netns.wait_until(lambda n=open_ones: left(lab, name).get("open") == n, f"{open_ones} to be left")
            answers = left(lab, name)["answers"]
            netns.wait_until(lambda n=answers: left(lab, name)["answers"] > n + 3, "it to be asked again")
            assert waiting.poll() is None, waiting.communicate()
            sock.close()
        said, wrong = waiting.communicate(timeout=10)
    assert waiting.returncode == 0, wrong
    assert said.splitlines()[-1] == "its last connection has ended"
    lab.drain(name, undrain=True)


def connected(space: str, vip: str, port: int) -> socket.socket:
    """A server's UDP socket that is connected to a client of its own."""
    with netns.entered(space):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((vip, port))
    made.connect(("198.51.100.7", next(CLIENT_PORTS)))
    return made


def test_only_who_has_the_key_is_answered(telling: Lab) -> None:
    lab, backend = telling, telling.backend("backend1")
    key = read_key(report_key(lab.director_dir))
    good = question(key, bytes(16), (Asked(VIP4, PORT, PORT),))
    numbers = random.Random(1)
    bad = [b"", b"x", good[:-1], good + b"\0", question(bytes(16), bytes(16), (Asked(VIP4, PORT, PORT),))]
    bad += [question(key, bytes(16), ()), b"GLBQ" + bytes(1400)]
    bad += [question(key, bytes(16), (Asked(VIP4, PORT, PORT), Asked(VIP4, PORT, PORT, 132)))]
    for _ in range(200):
        spoilt = bytearray(good)
        spoilt[numbers.randrange(len(good))] ^= 1 << numbers.randrange(8)
        bad.append(bytes(spoilt))
    with (
        netns.entered(lab.directors()[0].ns),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as v4,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as v6,
    ):
        v4.connect((backend.address4, UDP_PORT))
        v6.connect((backend.address6, UDP_PORT))
        for asker in (v4, v6):
            asker.settimeout(2)
            for message in bad:
                asker.send(message)
            asker.send(good)
            first = asker.recv(2048)  # from the address that was asked, or a connected socket got nothing
            assert first[:4] == b"GLBR"
            asker.settimeout(0.2)
            with pytest.raises(TimeoutError):
                asker.recv(2048)
