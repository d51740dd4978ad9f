"""The lab's network, backends and traffic by themselves: VIPs routed straight to a backend, no balancer."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from glbpy.errors import InvalidInputError
from glbpy.lab import netns, topology
from glbpy.lab.topology import PORT, VIP4, VIP6
from glbpy.lab.traffic import BrokenError, Client, Connection, Load, request

VIPS = [VIP4, VIP6]


@pytest.fixture(scope="module")
def client(wires: str) -> Iterator[Client]:
    with Client(topology.namespace(wires, "client")) as client:
        yield client


@pytest.mark.parametrize("vip", VIPS)
def test_answer_names_the_backend(client: Client, vip: str) -> None:
    result = client.run(request(vip, PORT))
    assert (result.backend, result.error) == ("backend1", None)


def test_curl_in_the_client_namespace_works(wires: str) -> None:
    said = netns.run(
        [
            "ip",
            "netns",
            "exec",
            f"glb-{wires}-client",
            "curl",
            "-gsS",
            f"http://{VIP4}/",
            f"http://[{VIP6}]/healthz",
        ]
    )
    assert said == "backend1\nok\n"


@pytest.mark.parametrize("vip", VIPS)
def test_slow_answer_comes_evenly(client: Client, vip: str) -> None:
    async def halves() -> tuple[int, float]:
        connection = await Connection(vip, PORT).open()
        began = time.monotonic()
        path = "/slow?seconds=1&bytes=100000"
        length = await connection._ask(path, False, 5)
        await connection.reader.readexactly(length // 2)
        half = time.monotonic() - began
        await connection.reader.readexactly(length - length // 2)
        connection.close()
        return length, half

    length, half = client.run(halves())
    assert length == 100000
    assert 0.4 <= half <= 0.9


def test_download_checks_every_byte(client: Client) -> None:
    async def download() -> int:
        connection = await Connection(VIP4, PORT).open()
        try:
            return await connection.download(0.3, 1_234_567)
        finally:
            connection.close()

    assert client.run(download()) == 1_234_567


@pytest.mark.parametrize("path", ["/", "/slow?seconds=0.1&bytes=1000"])
@pytest.mark.parametrize("vip", [VIP4, f"[{VIP6}]"])
def test_a_body_of_any_size_is_taken(wires: str, tmp_path: Path, vip: str, path: str) -> None:
    body = tmp_path / "body"
    body.write_bytes(bytes(5_000_000))
    post = ["curl", "-gsS", "-m", "20", "-o", "/dev/null", "-w", "%{http_code} %{size_upload}"]
    said = netns.run_in(f"glb-{wires}-client", [*post, "--data-binary", f"@{body}", f"http://{vip}{path}"])
    assert said == "200 5000000"


@pytest.mark.parametrize(
    "query", ["", "?seconds=1", "?seconds=-1&bytes=1", "?seconds=1&bytes=x", "?seconds=nan&bytes=1"]
)
def test_slow_refuses_nonsense(client: Client, query: str) -> None:
    async def ask() -> bytes:
        connection = await Connection(VIP4, PORT).open()
        try:
            return await connection.get(f"/slow{query}")
        finally:
            connection.close()

    with pytest.raises(BrokenError, match="400 Bad Request"):
        client.run(ask())


def test_a_thousand_connections_at_once(client: Client) -> None:
    async def all_at_once() -> list[str | None]:
        connections = [Connection(VIPS[number % 2], PORT) for number in range(1000)]
        await asyncio.gather(*(each.open() for each in connections))
        await asyncio.gather(*(each.get() for each in connections))
        for each in connections:
            each.close()
        return [each.backend for each in connections]

    assert client.run(all_at_once()) == ["backend1"] * 1000


def test_a_load_accounts_for_failures(wires: str, client: Client) -> None:
    load = Load(VIP4, PORT, workers=2, timeout_s=0.5)
    running = client.start(load.run())
    netns.wait_until(lambda: len(load.account.results) > 10, "ten answers")
    router = topology.namespace(wires, "router")
    netns.ip(router, [f"route replace unreachable {VIP4}"])
    try:
        netns.wait_until(lambda: len(load.account.failures()) > 2, "failures")
    finally:
        netns.ip(router, [f"route del unreachable {VIP4}"])
        topology.route_vips(wires, [topology.Backend(wires, 1)])
    load.stop()
    running.result(20)
    assert load.account.per_backend()["backend1"] > 10
    assert {each.backend for each in load.account.failures()} == {None}


def test_a_cut_download_is_broken(wires: str, client: Client) -> None:
    async def download() -> int:
        connection = await Connection(VIP4, PORT).open()
        try:
            return await connection.download(60, 600_000)
        finally:
            connection.close()

    running = client.start(download())
    backend = topology.Backend(wires, 1)
    netns.wait_until(
        lambda: (
            "ESTAB" in netns.run_in(backend.ns, ["ss", "-Htn", "state", "established"])
            or bool(netns.run_in(backend.ns, ["ss", "-Htn", "state", "established"]).strip())
        ),
        "a connection",
    )
    topology.route_vips(wires, [topology.Backend(wires, 2)])  # which knows nothing of it: reset
    try:
        with pytest.raises(BrokenError, match="reset"):
            running.result(20)
    finally:
        topology.route_vips(wires, [topology.Backend(wires, 1)])


def test_packets_that_reach_the_director_are_whole(wires: str) -> None:
    """Checksums filled in and no super-packets, on the cable that AF_PACKET reads."""
    features = netns.run_in(f"glb-{wires}-router", ["ethtool", "-k", "director1"])
    for line in ("tx-checksumming: off", "tcp-segmentation-offload: off", "generic-receive-offload: off"):
        assert line in features
    mtus = [
        link["mtu"]
        for link in json.loads(
            netns.run(["ip", "-j", "-n", f"glb-{wires}-router", "link", "show", "master", "br0"])
        )
    ]
    assert mtus == [1600] * 3


@pytest.mark.parametrize("name", ["", "a_b", "-a", "a-", "A", "a" * 21, "../x"])
def test_bad_lab_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidInputError):
        topology.check_name(name)


def test_a_lab_does_not_take_anothers_namespaces(wires: str) -> None:
    assert topology.namespaces(wires) != []
    assert topology.namespaces(wires[: -len("-wires")]) == []
    assert topology.namespaces(f"{wires}-client") == []
