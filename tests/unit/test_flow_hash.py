"""Which bytes of a flow choose its row: every combination of hash fields, and prefixes of the source."""

import random
from ipaddress import IPv4Address, IPv6Address, ip_network
from itertools import combinations
from typing import Any

import pytest
from oracle import frames
from oracle.build import tcp
from oracle.decide import decide
from oracle.model import FIELDS, Bind, Config, Director, Service
from oracle.rows import Backend
from packet_path import as_decision, path_of

from glbpy import _native as native
from glbpy import trace
from glbpy.compiler import NativeCompiler, offline
from glbpy.models import Document, parse

DIRECTOR = Director("10.0.0.2", "02:00:00:00:00:fe", "02:00:00:00:00:02")
BACKENDS = tuple(Backend(f"10.0.0.{n}") for n in range(1, 8))
BINDS = tuple(Bind.of(vip, "tcp", 0, 65535) for vip in ("203.0.113.0/24", "2001:db8:100::/64"))
COMBINATIONS = [fields for n in (1, 2, 3, 4) for fields in combinations(FIELDS, n)]


def config(**extra: Any) -> Config:
    key = random.Random(repr(extra)).randbytes(16)
    return Config((Service("www", 1, BINDS, BACKENDS, key, bytes(16), rows=1024, **extra),))


def random_frame(draw: random.Random) -> bytes:
    segment = tcp(draw.randrange(65536), draw.randrange(65536))
    if draw.randrange(2):
        destination = f"203.0.113.{draw.randrange(256)}"
        return frames.v4(segment, src=str(IPv4Address(draw.getrandbits(32))), dst=destination)
    destination = f"2001:db8:100::{draw.randrange(256):x}"
    return frames.v6(segment, src=str(IPv6Address(draw.getrandbits(128))), dst=destination)


@pytest.mark.parametrize("fields", COMBINATIONS, ids="-".join)
def test_every_combination_of_fields_is_the_oracles(fields: tuple[str, ...]) -> None:
    given = config(hash_fields=fields)
    path, draw = path_of(given, DIRECTOR), random.Random(7)
    for _ in range(100):
        frame = random_frame(draw)
        mine = as_decision(path.decide(frame))
        assert mine.verdict == "forward"
        assert mine == decide(given, DIRECTOR, frame)


@pytest.mark.parametrize("bits", [(1, 1), (8, 48), (23, 63), (24, 64), (31, 127), (32, 128)], ids=str)
def test_prefixes_of_the_source_are_the_oracles(bits: tuple[int, int]) -> None:
    given = config(source_bits=bits)
    path, draw = path_of(given, DIRECTOR), random.Random(8)
    for _ in range(200):
        frame = random_frame(draw)
        assert as_decision(path.decide(frame)) == decide(given, DIRECTOR, frame)


def affinity_path(**affinity: int) -> native.PacketPath:
    pool = {"name": "web", "backends": [{"name": f"b{n}", "address": f"10.0.0.{n}"} for n in range(1, 8)]}
    service = {
        "name": "www", "vips": ["203.0.113.0/24", "2001:db8:100::/64"],
        "protocol": "tcp", "ports": ["1-65535"], "pool": "web", "source_affinity": affinity,
    }  # fmt: skip
    state, secret = offline(parse(Document, {"pools": [pool], "services": [service]}))
    snapshot = native.Snapshot(NativeCompiler().compile(state, secret, {}).data)
    director = native.DirectorInput(IPv4Address("10.0.0.2"), bytes(6), bytes(6))
    return native.PacketPath(snapshot, director)


def test_a_network_has_one_row_with_source_affinity_and_the_next_one_another() -> None:
    path, draw = affinity_path(v4_bits=24, v6_bits=56), random.Random(9)

    def rows(network: str) -> set[int | None]:
        first, size = ip_network(network)[0], ip_network(network).num_addresses
        make = frames.v4 if first.version == 4 else frames.v6
        return {
            path.decide(make(tcp(draw.randrange(65536), 80), src=str(first + draw.randrange(size)))).row
            for _ in range(50)
        }

    seen = [rows(n) for n in ("192.0.2.0/24", "192.0.3.0/24", "2001:db8:5::/56", "2001:db8:5:100::/56")]
    assert [len(found) for found in seen] == [1] * 4
    assert len(set.union(*seen)) == 4


def test_trace_says_which_prefix_counts() -> None:
    path = affinity_path()  # all of an IPv4 address, the first 64 bits of an IPv6 one
    for frame, text in ((frames.v4(tcp(1, 80)), "src_addr"), (frames.v6(tcp(1, 80)), "src_addr/64")):
        steps = dict(trace.explain(path, path.decide(frame)))
        assert steps["hash"].endswith(f" of {text}")
