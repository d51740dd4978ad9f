"""Asks `glb-redirect report` on a backend how many connections of a pool's VIPs it has. docs/wire/report.md.

One question and one answer in UDP, both with a MAC under a shared key; a fresh nonce in each question, so
that an old answer counts for nothing.
"""

import asyncio
import hmac
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_network
from os import urandom
from pathlib import Path
from typing import TYPE_CHECKING

from glbpy import _native
from glbpy.errors import InvalidInputError

if TYPE_CHECKING:
    from glbpy.models import Backend, Pool, Service

PORT = 19524
KEY_BYTES = 16
HEAD = struct.Struct(">4sBBBB16s")
ASKED = struct.Struct(">BBHHBx16s")
PROTOCOLS = {"tcp": (6,), "udp": (17,), "any": (6, 17)}
ANSWER = struct.Struct(">4sBBBB16sQQ")
ASKED_MAX = 32  # in one question
ANSWER_S = 0.5  # how long one question waits, at each of TRIES
TRIES = 2


class NoReportError(Exception):
    """The backend did not say; the message says why."""


@dataclass(frozen=True)
class Asked:
    """Connections to an address of ``network`` and a port from ``first`` to ``last``.

    ``protocol`` is 6, TCP, or 17, UDP: of that, sockets that are connected.
    """

    network: str
    first: int
    last: int
    protocol: int = 6

    def packed(self) -> bytes:
        network = ip_network(self.network)
        address = network.network_address.packed
        return ASKED.pack(network.version, network.prefixlen, self.first, self.last, self.protocol, address)


@dataclass(frozen=True)
class Count:
    """``open``: the client may ask more. ``closing``: the server is through, the client has not heard all."""

    open: int
    closing: int


def read_key(path: Path) -> bytes:
    """Read a file of 32 hex digits. Raises InvalidInputError."""
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii"))
    except OSError as error:
        raise InvalidInputError(f"{path}: {error.strerror}") from None
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise InvalidInputError(f"{path}: want a key of 32 hex digits, such as `openssl rand -hex 16` prints")
    return key


def asked_of(backend: "Backend", pool: "Pool", services: Iterable["Service"]) -> tuple[Asked, ...]:
    """Return which connections of ``backend`` are the pool's: those to services' VIPs, with nat to itself."""
    from glbpy.models import parse_range

    found: dict[Asked, None] = {}
    for service in services:
        if service.pool != pool.name:
            continue
        nat = service.encapsulation == "nat"
        ports = [service.backend_port] if nat and service.backend_port is not None else service.ports
        for network in [backend.address] if nat else service.vips:
            for port in ports:
                for protocol in PROTOCOLS[service.protocol]:
                    found[Asked(network, *parse_range(port), protocol)] = None
    return tuple(found)


async def ask(address: str, port: int, key: bytes, asked: tuple[Asked, ...]) -> Count:
    """Return how many connections the backend has. Raises NoReportError."""
    parts = [asked[at : at + ASKED_MAX] for at in range(0, len(asked), ASKED_MAX)]
    counts = [await _ask(address, port, key, part) for part in parts]
    return Count(sum(count.open for count in counts), sum(count.closing for count in counts))


async def _ask(address: str, port: int, key: bytes, asked: tuple[Asked, ...]) -> Count:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as udp:
        udp.setblocking(False)
        try:
            udp.connect((address, port))
            for _ in range(TRIES):
                nonce = urandom(16)
                udp.send(question(key, nonce, asked))
                try:
                    async with asyncio.timeout(ANSWER_S):
                        return await _answer(udp, key, nonce)
                except TimeoutError:
                    continue
        except ConnectionRefusedError:
            why = f"nothing answers on UDP port {port}: is glb-redirect report running?"
            raise NoReportError(why) from None
        except OSError as error:
            raise NoReportError(error.strerror or str(error)) from None
    raise NoReportError(f"no answer on UDP port {port}: is it the same key there, and no firewall between?")


def question(key: bytes, nonce: bytes, asked: tuple[Asked, ...]) -> bytes:
    message = HEAD.pack(b"GLBQ", 1, len(asked), 0, 0, nonce) + b"".join(each.packed() for each in asked)
    return message + _mac(key, message)


async def _answer(udp: socket.socket, key: bytes, nonce: bytes) -> Count:
    while True:
        data = await asyncio.get_running_loop().sock_recv(udp, 2048)
        message, mac = data[:-8], data[-8:]
        if len(message) != ANSWER.size or not hmac.compare_digest(_mac(key, message), mac):
            continue
        magic, version, _, _, status, echoed, opened, closing = ANSWER.unpack(message)
        if (magic, version, echoed) != (b"GLBR", 1, nonce):
            continue
        if status != 0:
            raise NoReportError("its kernel does not list its sockets: modprobe tcp_diag udp_diag")
        return Count(opened, closing)


def _mac(key: bytes, message: bytes) -> bytes:
    return _native.siphash24(key, message).to_bytes(8, "big")
