"""Questions about connections that are left: what is asked, how it is signed, what counts as an answer."""

import asyncio
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from glbpy._native import siphash24
from glbpy.connections_left import (
    ANSWER,
    Asked,
    Count,
    NoReportError,
    ask,
    asked_of,
    question,
    read_key,
)
from glbpy.drain_watch import DrainWatch, draining
from glbpy.errors import InvalidInputError
from glbpy.models import Document, parse
from glbpy.status import ConnectionsLeft
from glbpy.store import Store

KEY = bytes(range(16))
UDP = 17
ASKED = (Asked("203.0.113.10/32", 80, 80),)


def document(**backend: object) -> Document:
    members = [{"name": "a", "address": "10.0.0.11"} | backend, {"name": "b", "address": "10.0.0.12"}]
    service = {"vips": ["203.0.113.10", "2001:db8::/64"], "protocol": "tcp", "pool": "web"}
    nat = {"encapsulation": "nat", "backend_port": 8080}
    services = [
        service | {"name": "www", "ports": [80, "8000-8099"]},
        service | {"name": "dns", "vips": ["203.0.113.11"], "protocol": "udp", "ports": [53]},
        service | {"name": "nat", "vips": ["203.0.113.12"], "ports": [80]} | nat,
        service | {"name": "all", "vips": ["203.0.113.13"], "protocol": "any", "ports": ["any"]},
    ]
    pools = [{"name": "web", "backends": members, "report": {}}]
    return parse(Document, {"pools": pools, "services": services})


def test_the_pools_connections_are_asked_for() -> None:
    whole = document()
    (pool,) = whole.pools
    assert asked_of(pool.backends[0], pool, whole.services) == (
        Asked("203.0.113.10", 80, 80),
        Asked("203.0.113.10", 8000, 8099),
        Asked("2001:db8::/64", 80, 80),
        Asked("2001:db8::/64", 8000, 8099),
        Asked("203.0.113.11", 53, 53, UDP),
        Asked("10.0.0.11", 8080, 8080),
        Asked("203.0.113.13", 0, 65535),
        Asked("203.0.113.13", 0, 65535, UDP),
    )


def test_a_question_is_as_documented() -> None:
    asked = (Asked("203.0.113.0/24", 1, 65535), Asked("2001:db8::1", 80, 80, UDP))
    message = question(KEY, bytes(16), asked)
    body = (
        b"GLBQ\x01\x02\x00\x00" + bytes(16)
        + bytes.fromhex("0418 0001 ffff 0600 cb007100") + bytes(12)
        + bytes.fromhex("0680 0050 0050 1100 20010db8 00000000 00000000 00000001")
    )  # fmt: skip
    assert message[:-8] == body
    assert message[-8:] == siphash24(KEY, body).to_bytes(8, "big")


def test_siphash_is_that_of_its_paper() -> None:
    assert siphash24(KEY, bytes(range(15))) == 0xA129CA6149BE45E5


class Host:
    """Answers questions on 127.0.0.1 as ``reply`` says: from the question's nonce to datagrams."""

    def __init__(self, reply: Callable[[bytes], list[bytes]]) -> None:
        self.reply = reply
        self.questions = 0

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self.questions += 1
        for answer in self.reply(data[8:24]):
            self.transport.sendto(answer, address)

    def error_received(self, error: Exception) -> None:
        raise error

    def connection_lost(self, error: Exception | None) -> None:
        pass


def asked_of_host(reply: Callable[[bytes], list[bytes]], asked: tuple[Asked, ...] = ASKED) -> Count:
    async def body() -> Count:
        loop = asyncio.get_running_loop()
        host = Host(reply)
        transport, _ = await loop.create_datagram_endpoint(
            lambda: host,  # type: ignore[arg-type, return-value]
            local_addr=("127.0.0.1", 0),
        )
        try:
            return await ask("127.0.0.1", transport.get_extra_info("sockname")[1], KEY, asked)
        finally:
            transport.close()

    return asyncio.run(body())


def answer(nonce: bytes, opened: int, closing: int, key: bytes = KEY, **other: object) -> bytes:
    fields = {"magic": b"GLBR", "version": 1, "status": 0} | other
    message = ANSWER.pack(
        fields["magic"], fields["version"], 0, 0, fields["status"], nonce, opened, closing
    )
    return message + siphash24(key, message).to_bytes(8, "big")


def test_an_answer_counts() -> None:
    assert asked_of_host(lambda nonce: [answer(nonce, 7, 2)]) == Count(7, 2)


def test_many_vips_are_several_questions() -> None:
    many = tuple(Asked(f"10.1.0.{n}", 80, 80) for n in range(70))
    assert asked_of_host(lambda nonce: [answer(nonce, 1, 0)], many) == Count(3, 0)


def test_what_is_no_answer_is_passed_over() -> None:
    def reply(nonce: bytes) -> list[bytes]:
        good = answer(nonce, 1, 1)
        wrong = [
            b"",
            good[:-1],
            good + b"\0",
            answer(nonce, 9, 9, key=bytes(16)),
            answer(bytes(16), 9, 9),
            answer(nonce, 9, 9, magic=b"GLBQ"),
            answer(nonce, 9, 9, version=2),
            good[:-20] + struct.pack(">Q", 0) + good[-12:],
        ]
        return [*wrong, good]

    assert asked_of_host(reply) == Count(1, 1)


def test_silence_and_refusal_are_told_apart() -> None:
    with pytest.raises(NoReportError, match="the same key"):
        asked_of_host(lambda nonce: [])
    with pytest.raises(NoReportError, match="tcp_diag"):
        asked_of_host(lambda nonce: [answer(nonce, 0, 0, status=1)])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(NoReportError, match="is glb-redirect report running"):
        asyncio.run(ask("127.0.0.1", port, KEY, ASKED))


@pytest.mark.parametrize("text", ["", "00" * 15, "00" * 17, "zz" * 16])
def test_a_bad_key_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match="32 hex digits"):
        read_key(path)
    path.write_text("00" * 16 + "\n")
    assert read_key(path) == bytes(16)


def test_only_draining_backends_are_watched(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.db")
    store.write(lambda state: document(state="draining"), actor="-", action="apply")
    ((number, where),) = draining(store.current()).items()
    assert (where.address, where.port) == ("10.0.0.11", 19524)

    async def body() -> None:
        said: list[object] = [Count(2, 1), NoReportError("gone"), Count(0, 0)]

        async def fake(*_: object) -> Count:
            found = said.pop(0)
            if isinstance(found, Exception):
                raise found
            assert isinstance(found, Count)
            return found

        watch = DrainWatch(KEY, fake)
        seen = []
        for _ in range(3):
            await watch._round(draining(store.current()))
            seen.append(watch.left(number))
        assert seen == [
            ConnectionsLeft(open=2, closing=1, answers=1),
            ConnectionsLeft(open=2, closing=1, answers=1, error="gone"),
            ConnectionsLeft(open=0, closing=0, answers=2),
        ]
        store.write(lambda state: document(state="active"), actor="-", action="apply")
        await watch._round(draining(store.current()))
        assert watch.left(number) is None

    asyncio.run(body())
    store.close()
