"""QUIC through two directors that share nothing: clients change address, backends drain, keys rotate.

Clients and servers are aioquic's, the servers' connection ids as the API tells each. Both directors hash all
fields of a flow, and the router spreads flows over them: without QUIC-LB a client that moves would be lost.
"""

import asyncio
import datetime
import json
import socket
import ssl
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Self, TypeVar

import pytest
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from glbpy.client import path_of
from glbpy.lab import netns
from glbpy.lab.lab import POOL, Lab, document
from glbpy.lab.topology import CLIENT4, CLIENT6, VIP4, VIP6
from glbpy.lab.traffic import Client

T = TypeVar("T")
PORT = 443
MOVED = {VIP4: "198.51.100.3", VIP6: "2001:db8:c::3"}  # where clients go to
HOME = {VIP4: CLIENT4, VIP6: CLIENT6}
COUNT = 12  # connections; by chance all would stay once in half a million times
OLD = {"config_id": 0, "server_id_length": 3, "nonce_length": 9}
NEW = {"config_id": 1, "server_id_length": 7, "nonce_length": 5}  # of the same length in all, as servers need
PROGRAM = Path(__file__).with_name("quic_server.py")


def certificate(directory: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "lab")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - datetime.timedelta(days=1))
    made = made.not_valid_after(now + datetime.timedelta(days=2))
    paths = directory / "quic.crt", directory / "quic.key"
    paths[0].write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ))  # fmt: skip
    return paths


def apply(lab: Lab, configurations: list[dict[str, Any]], issue: int) -> None:
    """Put the service in force; then, as the draft has it, tell the servers."""
    whole = document(lab.backends())
    service = {"name": "h3", "vips": [VIP4, VIP6], "protocol": "udp", "ports": [PORT], "pool": POOL}
    whole["services"].append(service | {"quic": {"configurations": configurations, "issue": issue}})
    with lab.api() as api:
        lab.wait_in_force(api, api.post(path_of("apply"), whole)["revision"])
        lab.wait_filled(api)
        for each in lab.backends():
            told = api.get(path_of("pools", POOL, "backends", each.name, "quic"))
            fresh = lab.path / each.name / "quic.new"
            fresh.write_text(json.dumps(told))
            fresh.replace(fresh.with_name("quic.json"))


@pytest.fixture(scope="module")
def running(lab_name: Callable[[str], str]) -> Iterator[Lab]:
    lab = Lab(lab_name("quic"))
    lab.down()  # of a run that was killed
    lab.up(directors=2)
    netns.ip(lab.state().namespaces.client, [
        f"addr add {MOVED[VIP4]}/24 dev eth0", f"addr add {MOVED[VIP6]}/64 dev eth0",
    ])  # fmt: skip
    crt, key = certificate(lab.path)
    apply(lab, [OLD], 0)
    logs = []
    for each in lab.backends():
        run = lab.path / each.name
        logs.append(run / "quic.log")
        files = [str(PROGRAM), str(run / "quic.json"), each.name, str(crt), str(key)]
        netns.spawn(each.ns, [sys.executable, *files, str(PORT), VIP4, VIP6], logs[-1])
    for log in logs:
        netns.wait_until(lambda log=log: log.exists() and "ready" in log.read_text(), f"{log}", 30)  # type: ignore[misc]
    yield lab
    lab.down()


@pytest.fixture
def lab(running: Lab) -> Lab:
    """All backends active, configuration 0 alone."""
    with running.api() as api:
        for each in running.backends():
            api.post(path_of("pools", POOL, "backends", each.name, "undrain"))
    apply(running, [OLD], 0)
    return running


@pytest.fixture
def client(lab: Lab) -> Iterator[Client]:
    with Client(lab.state().namespaces.client) as client:
        yield client


class Quic:
    """A client's connection; `backend` is who answered first. Moves to other sockets while it lives."""

    def __init__(self, vip: str) -> None:
        self.vip = vip
        self.backend = ""
        self.asked = 0

    def _socket(self, address: str) -> socket.socket:
        made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        made.setblocking(False)
        made.bind((address, 0))
        return made

    async def open(self) -> None:
        configuration = QuicConfiguration(
            is_client=True, alpn_protocols=["test"], verify_mode=ssl.CERT_NONE, server_name="lab"
        )
        loop = asyncio.get_running_loop()
        self.transport, self.protocol = await loop.create_datagram_endpoint(
            lambda: QuicConnectionProtocol(QuicConnection(configuration=configuration)),
            sock=self._socket(HOME[self.vip]),
        )
        self.protocol.connect((self.vip, PORT) if "." in self.vip else (self.vip, PORT, 0, 0))
        async with asyncio.timeout(20):
            await self.protocol.wait_connected()
        self.backend = await self.ask()

    async def close(self) -> None:
        self.protocol.close()
        self.transport.close()

    async def ask(self) -> str:
        """Send 3000 bytes on a stream of its own, and have them back behind the backend's name."""
        self.asked += 1
        body = self.asked.to_bytes(4) * 750
        async with asyncio.timeout(20):
            reader, writer = await self.protocol.create_stream()
            writer.write(body)
            writer.write_eof()
            name, _, rest = (await reader.read()).partition(b" ")
        assert rest == body
        return name.decode()

    async def move(self, address: str, *, new_id: bool) -> None:
        """Go on from another port of `address`; without a new id, as behind a NAT that forgot."""
        before = self.transport
        self.transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: self.protocol, sock=self._socket(address)
        )
        before.close()
        if new_id:
            await self.renew()

    async def renew(self) -> None:
        self.protocol.change_connection_id()

    @property
    def config_id(self) -> int:
        return int(self.protocol._quic._peer_cid.cid[0] >> 5)


class Group:
    """Connections of a client, all made before the first is used again; closed with it."""

    def __init__(self, client: Client, vip: str, count: int = COUNT) -> None:
        self.client, self.vip, self.count = client, vip, count
        self.all: list[Quic] = []

    def __enter__(self) -> Self:
        self.client.run(self._open())
        return self

    def __exit__(self, *error: object) -> None:
        self.client.run(self._each(Quic.close))

    async def _open(self) -> None:
        for _ in range(self.count):
            self.all.append(Quic(self.vip))
            await self.all[-1].open()

    async def _each(self, work: Callable[[Quic], Coroutine[Any, Any, T]]) -> list[T]:
        return [await work(each) for each in self.all]

    def stay(self) -> None:
        """Fail unless each is answered by the backend that it began with."""
        assert self.client.run(self._each(Quic.ask), 60) == [each.backend for each in self.all]

    def move(self, address: str, *, new_id: bool) -> None:
        self.client.run(self._each(lambda each: each.move(address, new_id=new_id)))

    def renew(self) -> None:
        """Have each retire its connection id, for which its server then makes another."""
        self.client.run(self._each(Quic.renew))

    @property
    def backends(self) -> set[str]:
        return {each.backend for each in self.all}

    @property
    def config_ids(self) -> set[int]:
        return {each.config_id for each in self.all}


@pytest.mark.parametrize("vip", [VIP4, VIP6], ids=["v4", "v6"])
def test_connections_survive_new_ports_and_addresses(lab: Lab, client: Client, vip: str) -> None:
    with Group(client, vip) as group:
        assert group.backends == set(lab.state().backends)
        for address, new_id in ((HOME[vip], False), (MOVED[vip], True), (HOME[vip], True)):
            group.move(address, new_id=new_id)
            group.stay()


def test_connections_stay_while_each_backend_drains(lab: Lab, client: Client) -> None:
    with Group(client, VIP4) as group:
        assert group.backends == set(lab.state().backends)
        for name in lab.state().backends:
            lab.drain(name)
            group.move(MOVED[VIP4], new_id=True)
            group.stay()
            with Group(client, VIP4, 6) as late:
                assert name not in late.backends
            lab.drain(name, undrain=True)
        group.stay()


def test_connections_live_through_a_rotation_of_keys(lab: Lab, client: Client) -> None:
    with Group(client, VIP4) as group:
        assert group.config_ids == {0}
        apply(lab, [OLD, NEW], 0)  # directors first
        apply(lab, [OLD, NEW], 1)
        with Group(client, VIP4, 6) as fresh:
            assert fresh.config_ids == {1}
            for each in (group, fresh):
                each.move(MOVED[VIP4], new_id=False)
                each.stay()
            assert group.config_ids == {0}
            for _ in range(10):  # more than a client has in store
                group.renew()
                group.stay()
            assert group.config_ids == {1}
            apply(lab, [NEW], 1)
            for each in (group, fresh):
                each.move(HOME[VIP4], new_id=False)
                each.stay()
