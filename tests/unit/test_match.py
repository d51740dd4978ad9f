"""Which service takes a packet, and what becomes of what none takes: against the oracle, and the models."""

import random
import struct
import time
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from oracle.build import IPV4, IPV6, ethernet, extension, ipv4, ipv6, tcp, udp
from oracle.decide import decide
from oracle.model import Bind, Config, Director, Service
from oracle.rows import Backend
from packet_path import as_decision, path_of

from glbpy import _native as native
from glbpy.compiler import configuration, offline
from glbpy.errors import DocumentError, InvalidInputError
from glbpy.models import Document, parse

DIRECTOR = Director("10.1.0.2", "02:00:00:00:00:fe", "02:00:00:00:00:01")
CLIENTS = {4: "192.0.2.7", 6: "2001:db8:c::7"}
ESP, SCTP = 50, 132


def packet(vip: str, protocol: str, port: int = 0, client: str = "", **fields: Any) -> bytes:
    """Return a frame to a VIP; protocol other: ESP."""
    version = ip_address(vip).version
    payload = (
        {"tcp": tcp, "udp": udp}[protocol](4000, port, b"hello", **fields)
        if protocol in ("tcp", "udp")
        else b"e" * 40
    )
    number = {"tcp": 6, "udp": 17, "esp": ESP, "sctp": SCTP}[protocol]
    wrap, kind = (ipv4, IPV4) if version == 4 else (ipv6, IPV6)
    return ethernet(wrap(client or CLIENTS[version], vip, number, payload), kind)


def service(number: int, binds: list[tuple[str, str, int, int]], unmatched: str = "punt") -> Service:
    keys = random.Random(number)
    backends = tuple(Backend(f"10.9.{number}.{i}") for i in range(1, 4))
    made = tuple(Bind.of(*bind) for bind in binds)
    hash_key, seed = keys.randbytes(16), keys.randbytes(16)
    return Service(f"s{number}", number, made, backends, hash_key, seed, rows=256, unmatched=unmatched)


def random_config(draw: random.Random) -> Config:
    """Nested prefixes, overlapping port ranges, any protocol and any port, without exact duplicates."""
    taken, services = set(), []
    policy = {}
    for number in range(1, draw.randrange(2, 12)):
        binds = []
        for _ in range(draw.randrange(1, 5)):
            v4 = draw.random() < 0.5
            bits = draw.choice((8, 24, 28, 30, 31, 32) if v4 else (32, 64, 120, 126, 128))
            base = f"203.0.113.{draw.randrange(8)}" if v4 else f"2001:db8::{draw.randrange(8):x}"
            prefix = str(ip_network(f"{base}/{bits}", strict=False))
            low = draw.choice((0, 1, 80, 443, 1000, draw.randrange(65536)))
            high = draw.choice((low, low, 65535, draw.randrange(low, 65536)))
            bind = (prefix, draw.choice(("tcp", "udp", "any")), low, high)
            if bind in taken:
                continue
            unmatched = policy.setdefault(prefix, draw.choice(("punt", "drop", "reject")))
            if binds and policy[binds[0][0]] != unmatched:
                continue
            taken.add(bind)
            binds.append(bind)
        if binds:
            services.append(service(number, binds, policy[binds[0][0]]))
    return Config(tuple(services)) if services else random_config(draw)


@pytest.mark.parametrize("seed", range(40))
def test_the_most_specific_bind_wins(seed: int) -> None:
    draw = random.Random(f"match {seed}")
    config = random_config(draw)
    path = path_of(config, DIRECTOR)
    edges = [
        port for s in config.services for b in s.binds for port in (b.first - 1, b.first, b.last, b.last + 1)
    ]
    ports = [port for port in edges if 0 <= port <= 65535]
    for _ in range(150):
        vip = draw.choice(("203.0.113.", "2001:db8::")) + f"{draw.randrange(9):x}"
        frame = packet(vip, draw.choice(("tcp", "udp", "esp", "sctp")), draw.choice(ports))
        assert as_decision(path.decide(frame)) == decide(config, DIRECTOR, frame), frame.hex()


# ---- rejections ----

REJECTING = Config(
    (service(1, [("203.0.113.1/32", "tcp", 80, 80), ("2001:db8::1/128", "tcp", 80, 80)], "reject"),)
)
VIPS = {4: "203.0.113.1", 6: "2001:db8::1"}


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("flags", range(64))
def test_resets_are_the_oracles(version: int, flags: int) -> None:
    """Whatever flags, but for a reset, which is never answered."""
    path = path_of(REJECTING, DIRECTOR)
    frame = bytearray(packet(VIPS[version], "tcp", 81))
    at = 14 + (20 if version == 4 else 40)
    frame[at + 4 : at + 12] = struct.pack(">II", 0xFFFFFFFE, 0x12345678)
    frame[at + 13] = flags
    found = as_decision(path.decide(bytes(frame)))
    assert found == decide(REJECTING, DIRECTOR, bytes(frame))
    assert found.reason == ("unmatched_dropped" if flags & 4 else "unmatched_rejected")


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("size", [0, 1, 519, 520, 521, 1183, 1184, 1185, 1400])
def test_unreachables_are_the_oracles(version: int, size: int) -> None:
    """With as much of the packet as fits."""
    path = path_of(REJECTING, DIRECTOR)
    wrap, kind = (ipv4, IPV4) if version == 4 else (ipv6, IPV6)
    frame = ethernet(
        wrap(CLIENTS[version], VIPS[version], 17, udp(4000, 53, bytes(range(256)) * 6)[: 8 + size]), kind
    )
    found = as_decision(path.decide(frame))
    assert (found.verdict, found.reason) == ("answer", "unmatched_rejected")
    assert found == decide(REJECTING, DIRECTOR, frame)
    assert found.output is not None
    assert len(found.output) // 2 <= 14 + (576 if version == 4 else 1280)


def test_tags_options_and_extension_headers_are_no_obstacle() -> None:
    path = path_of(REJECTING, DIRECTOR)
    with_options = ipv4(CLIENTS[4], VIPS[4], 6, tcp(4000, 81), options=b"\x01" * 8)
    extended = ipv6(CLIENTS[6], VIPS[6], 0, extension(17, 16) + udp(4000, 53, b"hello"))
    for payload, kind in ((with_options, IPV4), (extended, IPV6)):
        frame = ethernet(payload, kind, tags=((0x88A8, 7), (0x8100, 3)))
        found = as_decision(path.decide(frame))
        assert found.verdict == "answer"
        assert found == decide(REJECTING, DIRECTOR, frame)


@pytest.mark.parametrize(
    "source", ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "::", "::1", "ff02::1"]
)
def test_sources_that_cannot_be_answered_are_dropped(source: str) -> None:
    path = path_of(REJECTING, DIRECTOR)
    found = path.decide(packet(VIPS[ip_address(source).version], "udp", 53, client=source))
    assert (found.verdict, found.reason, found.output) == ("drop", "unmatched_dropped", None)


def test_vips_with_two_policies_are_refused() -> None:
    config = Config(
        (
            service(1, [("203.0.113.1/32", "tcp", 80, 80)]),
            service(2, [("203.0.113.1/32", "tcp", 81, 81)], "drop"),
        )
    )
    with pytest.raises(InvalidInputError, match=r"shares a VIP with service s1.*give both the same"):
        path_of(config, DIRECTOR)


@pytest.mark.parametrize(
    "bind",
    [
        ("203.0.113.1/32", "tcp", 80, 80),
        ("203.0.113.0/28", "udp", 8000, 8099),
        ("2001:db8::/64", "any", 0, 65535),
    ],
)
@pytest.mark.parametrize("apart", [True, False])
def test_exact_duplicates_are_refused(bind: tuple[str, str, int, int], apart: bool) -> None:
    """Of two services, or within one; what differs in anything at all is none."""
    prefix, protocol, first, last = bind
    near = [
        (str(ip_network(prefix).supernet()), protocol, first, last),
        (prefix, "tcp" if protocol == "udp" else "udp", first, last),
        (prefix, protocol, first, last - 1 if first != last else last + 1),
    ]

    def made(other: tuple[str, str, int, int]) -> Config:
        if apart:
            return Config((service(1, [bind]), service(2, [other])))
        return Config((service(1, [bind, other]),))

    for other in near:
        path_of(made(other), DIRECTOR)
    with pytest.raises(InvalidInputError, match=r"the same as services\[0\].binds\[0\].*remove one of them"):
        path_of(made(bind), DIRECTOR)


# ---- documents ----


def document(*services: dict[str, Any]) -> Document:
    pools = [{"name": "web", "backends": [{"name": "b1", "address": "10.0.0.1"}]}]
    base = {"vips": ["203.0.113.1"], "protocol": "tcp", "ports": [80], "pool": "web"}
    named = [{"name": f"s{i}", **base, **each} for i, each in enumerate(services, 1)]
    return parse(Document, {"pools": pools, "services": named})


def compiled(made: Document) -> native.Snapshot:
    return native.Snapshot(native.compile_snapshot(configuration(*offline(made), {})))


def test_any_protocol_and_any_port() -> None:
    snapshot = compiled(
        document(
            {"protocol": "any", "ports": ["any"]},
            {"ports": [443, "8000-8009"]},
            {"protocol": "any", "ports": [53]},
        )
    )
    vip = ip_address("203.0.113.1")
    wanted = {
        ("tcp", 1): 1,
        ("udp", 65535): 1,
        ("any", 0): 1,
        ("tcp", 443): 2,
        ("udp", 443): 1,
        ("tcp", 8009): 2,
        ("tcp", 53): 3,
        ("udp", 53): 3,
    }
    assert {key: snapshot.find(vip, *key).id for key in wanted} == wanted


@pytest.mark.parametrize(
    ("services", "pointer", "text"),
    [
        ([{"ports": ["any", 80]}], "/services/0/ports", '"any" has all ports already: leave the others out'),
        ([{"protocol": "sctp"}], "/services/0/protocol", "any"),
        ([{"protocol": "any", "policy": "glb"}], "/services/0/protocol", "policy glb takes tcp or udp"),
        ([{"unmatched": "tarpit"}], "/services/0/unmatched", "reject"),
        ([{}, {"ports": [81], "unmatched": "drop"}], "/services/1/unmatched", "punt: give both the same"),
        ([{"protocol": "any", "ports": ["any"]}] * 2, "/services/1/vips/0", "already belongs to service s1"),
    ],
)  # fmt: skip
def test_documents_that_are_refused(services: list[dict[str, Any]], pointer: str, text: str) -> None:
    with pytest.raises(DocumentError) as caught:
        offline(document(*services))
    assert [(error.pointer, text in error.detail) for error in caught.value.errors] == [(pointer, True)]


# ---- size ----


def test_a_hundred_thousand_services_on_a_thousand_vips() -> None:
    """Compiled and opened in bounded time; every look-up finds its own."""
    vips = [ip_network(f"198.18.{n >> 8}.{n & 255}/32") for n in range(1000)]
    pool = native.PoolInput(
        "web", tuple(native.BackendInput(f"b{n}", n, ip_address(f"10.0.0.{n}")) for n in range(1, 4))
    )

    def service(n: int) -> native.ServiceInput:
        port = n // 1000 + 1
        bind = native.BindInput(vips[n % 1000], "tcp", port, port)
        return native.ServiceInput(f"s{n}", n, 0, bytes(16), bytes(16), (bind,), rows=256)

    services = tuple(map(service, range(1, 100_001)))
    began = time.process_time()
    snapshot = native.Snapshot(native.compile_snapshot(native.ConfigInput((pool,), services)))
    assert time.process_time() - began < 60
    for n in random.Random(1).sample(range(1, 100_001), 500):
        found = snapshot.find(vips[n % 1000].network_address, "tcp", n // 1000 + 1)
        assert found is not None
        assert found.id == n
    assert snapshot.find(vips[0].network_address, "udp", 1) is None
