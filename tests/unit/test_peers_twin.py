"""Which director has a datagram's fragments: the packet path in C against the oracle, at random."""

import random
import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

import pytest
from oracle.build import IPV4, IPV6, ethernet, fragment, ipv4, ipv6, udp
from oracle.parse import Address
from oracle.peers import choose, message, scramble, seed
from oracle.siphash import siphash24

from glbpy import _native as native
from glbpy.errors import InvalidInputError

VIPS = ("203.0.113.10", "2001:db8::10", "203.0.113.11")
MAC, GATEWAY = b"\2" + bytes(5), b"\2" + bytes(4) + b"\xfe"
UDP, ANY = 17, 99
OUTER = {4: 20, 6: 40}


def snapshot(r: random.Random) -> tuple[native.Snapshot, dict[Address, bytes]]:
    """Services that follow fragments, and by VIP the key that counts: of its lowest protocol and port."""
    pool = native.PoolInput("media", (native.BackendInput("m1", 1, ip_address("10.1.0.11")),))
    keys = [r.randbytes(16) for _ in range(4)]
    binds = [
        [native.BindInput(ip_network(vip), "udp", 5300, 5399) for vip in VIPS],
        [native.BindInput(ip_network(vip), "udp", 53, 53) for vip in VIPS[:1]],
        [native.BindInput(ip_network(vip), "tcp", 443, 443) for vip in VIPS[:2]],
        [native.BindInput(ip_network(vip), "any", 0, 65535) for vip in VIPS[2:]],
    ]
    services = tuple(
        native.ServiceInput(
            name=f"s{n}", id=n + 1, pool=0, hash_key=key, seed=bytes(16), rows=256, binds=tuple(bound),
            hash_fields=("src_addr", "src_port"), fragments=n != 2,
        )
        for n, (key, bound) in enumerate(zip(keys, binds, strict=True))
    )  # fmt: skip
    made = native.Snapshot(native.compile_snapshot(native.ConfigInput((pool,), services, 1)))
    return made, dict(zip(map(ip_address, VIPS), (keys[2], keys[2], keys[3]), strict=True))


def some_addresses(r: random.Random, family: int, count: int) -> list[Address]:
    if family == 4:
        return [IPv4Address(r.getrandbits(32)) for _ in range(count)]
    return [IPv6Address(0x2001 << 112 | r.getrandbits(112)) for _ in range(count)]


def path_of(made: native.Snapshot, peers: list[Address], own: Address) -> native.PacketPath:
    v4 = own if isinstance(own, IPv4Address) else IPv4Address("192.0.2.254")
    v6 = own if isinstance(own, IPv6Address) else None
    director = native.DirectorInput(v4, MAC, GATEWAY, outer_source_v6=v6, peers=peers)
    return native.PacketPath(made, director)


def piece(r: random.Random, source: Address, vip: Address, protocol: int) -> bytes:
    """A first or later fragment of 64 bytes."""
    first = r.random() < 0.5
    port = r.choice([53, 5300]) if str(vip) == VIPS[0] else 5300
    payload = udp(r.randrange(1, 65536), port, bytes(56)) if first else r.randbytes(64)
    offset = 0 if first else r.randrange(1, 100)
    number = r.getrandbits(16)
    if source.version == 4:
        body = ipv4(str(source), str(vip), protocol, payload, identification=number, fragment=0x2000 | offset)
        return ethernet(body, IPV4)
    return ethernet(ipv6(str(source), str(vip), 44, fragment(protocol, offset, True, number) + payload), IPV6)


@pytest.mark.parametrize("family", [4, 6])
def test_random_fragments_go_where_the_oracle_says(family: int) -> None:
    """Lists of 2 to 64 directors in any order, of either family; clients of both."""
    r, redirected, stayed = random.Random(family), 0, 0
    made, keys = snapshot(r)
    for _ in range(60):
        peers = some_addresses(r, family, r.choice([2, 3, 8, 64]))
        own = r.choice(peers)
        path = path_of(made, peers, own)
        for _ in range(25):
            vip = r.choice(list(keys))
            [source] = some_addresses(r, vip.version, 1)
            protocol = r.choice([UDP, UDP, ANY]) if str(vip) == VIPS[2] else UDP
            frame = piece(r, source, vip, protocol)
            decision = path.decide(frame)
            wanted = choose(peers, keys[vip], source, vip, protocol)
            if wanted == own:
                stayed += 1
                assert decision.peer is None
                assert decision.reason in ("forwarded", "later_fragment", "fragment_overlap")
                continue
            redirected += 1
            assert (decision.verdict, decision.reason) == ("answer", "fragment_redirected")
            assert decision.peer == wanted
            assert decision.output is not None
            assert decision.output[14:][OUTER[family] + 16 :] == frame[14:]
            assert decision.output[14 : 14 + OUTER[family]][-len(wanted.packed) :] == wanted.packed
    assert redirected > 500
    assert stayed > 100


def test_a_list_that_is_wrong_is_refused() -> None:
    made, _ = snapshot(random.Random(1))
    peers = some_addresses(random.Random(2), 4, 3)
    for wrong in (peers[:1], [peers[0], peers[1], peers[1]], [peers[0], IPv6Address("2001:db8::1")]):
        with pytest.raises(InvalidInputError, match="peers: "):
            path_of(made, list(wrong), peers[0])
    with pytest.raises(InvalidInputError, match="peers: this director is not among them"):
        path_of(made, peers, IPv4Address("10.0.0.99"))


def test_the_example_of_the_page() -> None:
    """docs/wire/hashing.md: the message, the seeds and the scores of two directors."""
    page = (Path(__file__).resolve().parents[2] / "docs/wire/hashing.md").read_text()
    page = page.split("## Among directors")[1]
    rows = re.findall(r"^\| ([0-9.]+) \| `(\w{16})` \| `(\w{16})` \|", page, re.MULTILINE)
    assert len(rows) == 2
    key = bytes.fromhex("c921d5c0fa41c9112c21a90e7a920477")
    source, vip = ip_address("192.0.2.7"), ip_address("203.0.113.10")
    digest = siphash24(key, message(source, vip, UDP))
    assert f"`{digest:016x}`" in page
    scores = {}
    for address, its_seed, score in rows:
        assert seed(ip_address(address)) == int(its_seed, 16)
        assert scramble(digest ^ int(its_seed, 16)) == int(score, 16)
        scores[ip_address(address)] = int(score, 16)
    chosen = choose(list(scores), key, source, vip, UDP)
    assert chosen == max(scores, key=lambda address: scores[address])
    assert f"It is {chosen}'s" in page
