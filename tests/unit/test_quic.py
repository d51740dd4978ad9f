"""QUIC-LB: the library against the oracle and the draft; where packets go; what the API refuses."""

import ipaddress
import random
from typing import Any

import pytest
from oracle import quic as oracle
from oracle.build import udp
from oracle.frames import UDP, v4, v6

from glbpy import _native as native
from glbpy import quic
from glbpy.compiler import configuration, offline
from glbpy.errors import DocumentError, InvalidInputError
from glbpy.models import Document, Health, Service, check_whole, parse

KEY = bytes.fromhex("8f95f09245765f80256934e50c66207f")  # of all of the draft's encrypted vectors
VECTORS = [  # appendix B.1, its second one with two zeros put in their places, and B.2
    (None, 0, "c4605e", "4504cc4f", "07c4605e4504cc4f"),
    (None, 1, "350d28b420", "03487d970b", "2a350d28b42003487d970b"),
    (KEY, 0, "ed793a", "ee080dbf", "0720b1d07b359d3c"),
    (KEY, 1, "ed793a51d49b8f5fab65", "ee080dbf48", "2fcc381bc74cb4fbad2823a3d1f8fed2"),
    (KEY, 2, "ed793a51d49b8f5f", "ee080dbf48c0d1e5", "504dd2d05a7b0de9b2b9907afb5ecf8cc3"),
    (KEY, 3, "ed793a51d49b8f5fab", "ee080dbf48c0d1e55d", "125779c9cc86beb3a3a4a3ca96fce4bfe0cdbc"),
]
BACKENDS = [{"name": f"h{n}", "address": f"10.0.0.{n}"} for n in range(1, 9)]
SERVICE = {
    "name": "h3", "vips": ["203.0.113.10", "2001:db8:100::10"], "protocol": "udp", "ports": [443],
    "pool": "h", "table_size": 256,
}  # fmt: skip
DIRECTOR = native.DirectorInput(
    ipaddress.IPv4Address("10.0.0.254"), bytes.fromhex("020000000002"), bytes.fromhex("0200000000fe")
)


def document(quic_: Any = True, states: dict[str, str] | None = None, **fields: Any) -> Document:
    backends = [{**b, "state": (states or {}).get(b["name"], "active")} for b in BACKENDS]
    service = {**SERVICE, "quic": quic_, **fields}
    return parse(Document, {"pools": [{"name": "h", "backends": backends}], "services": [service]})


class Rig:
    """A document's packet path, and the oracle's view of its configurations."""

    def __init__(self, doc: Document, unhealthy: tuple[int, ...] = ()) -> None:
        state, secret = offline(doc)
        inputs = configuration(state, secret, dict.fromkeys(unhealthy, Health.UNHEALTHY))
        self.path = native.PacketPath(native.Snapshot(native.compile_snapshot(inputs)), DIRECTOR)
        [service] = doc.services
        assert service.quic is not None
        self.configs = {}
        for found in service.quic.configurations:
            config = oracle.Config(
                found.config_id, found.server_id_length, found.nonce_length,
                quic.key(secret, service.name, found),
            )  # fmt: skip
            ids = quic.server_ids(state, secret, service, found)
            servers = {server_id: int(name[1:]) for name, server_id in ids.items()}
            self.configs[found.config_id] = config, servers

    def connection_id(self, backend: int, config_id: int = 0, seed: int = 0) -> bytes:
        config, servers = self.configs[config_id]
        [server_id] = [key for key, owner in servers.items() if owner == backend]
        return config.encode(server_id, random.Random(seed).randbytes(config.nonce_length))

    def decide(self, payload: bytes, port: int = 5000, family: int = 4) -> native.Decision:
        return self.path.decide((v4 if family == 4 else v6)(udp(port, 443, payload), UDP))


def number(decision: native.Decision) -> int:
    return int(decision.chain[0].name[1:])


def short(connection_id: bytes) -> bytes:
    return b"\x41" + connection_id + bytes(20)


def long(kind: str, connection_id: bytes, version: int = 1, body: bytes = bytes(30)) -> bytes:
    first = 0xC0 | oracle.TYPES[version].index(kind) << 4
    ids = bytes([len(connection_id)]) + connection_id + b"\x02\x55\x66"
    header = bytes([first]) + version.to_bytes(4) + ids
    return header + (b"\0" if kind == "initial" else b"") + (0x4000 | len(body)).to_bytes(2) + body


# ---- ids ----


@pytest.mark.parametrize(("key", "config_id", "server_id", "nonce", "connection_id"), VECTORS)
def test_the_oracle_makes_the_drafts_ids(
    key: bytes | None, config_id: int, server_id: str, nonce: str, connection_id: str
) -> None:
    config = oracle.Config(config_id, len(server_id) // 2, len(nonce) // 2, key)
    made = config.encode(bytes.fromhex(server_id), bytes.fromhex(nonce), int(connection_id[:2], 16) & 31)
    # The last one was printed with another configuration's bits in front.
    assert made[1:].hex() == connection_id[2:]
    assert config.decode(made).hex() == server_id


@pytest.mark.parametrize("server_id_length", range(1, 16))
def test_every_length_is_the_oracles(server_id_length: int) -> None:
    """Random keys, ids and nonces, through the library and the oracle, both ways."""
    chance = random.Random(server_id_length)
    for nonce_length in range(4, 20 - server_id_length):
        for _ in range(20):
            key = chance.randbytes(16) if chance.random() < 0.8 else None
            config = oracle.Config(chance.randrange(7), server_id_length, nonce_length, key)
            c = native.ffi.new("struct glb_quic *")
            c.server_id_len, c.nonce_len, c.encrypted = server_id_length, nonce_length, key is not None
            if key is not None:
                native.lib.glb_quic_expand_key(key, c.keys)
            server_id, nonce = chance.randbytes(server_id_length), chance.randbytes(nonce_length)
            expected = config.encode(server_id, nonce)
            out = native.ffi.new("uint8_t[20]")
            native.lib.glb_quic_encode(c, server_id, nonce, out)
            assert bytes(out)[: config.length] == expected[1:]
            native.lib.glb_quic_decode(c, expected[1:], out)
            assert bytes(out)[:16] == server_id.ljust(16, b"\0")
            assert config.decode(expected) == server_id


# ---- packets ----

TWO = {
    "configurations": [
        {"config_id": 3, "server_id_length": 2, "nonce_length": 5},
        {"config_id": 1, "server_id_length": 1, "nonce_length": 18, "encrypted": False},
    ]
}


def test_packets_go_to_whoever_chose_their_id() -> None:
    rig = Rig(document())
    for backend in range(1, 9):
        own = rig.connection_id(backend)
        for family in (4, 6):
            for port in (5000, 5001, 60000):  # the client's address does not matter
                later = long("handshake", own, oracle.VERSION_2)
                for payload in (short(own), long("handshake", own), later):
                    decision = rig.decide(payload, port, family)
                    assert (number(decision), decision.by_id) == (backend, True)
                    assert len({b.id for b in decision.chain}) == len(decision.chain) == 2


def test_the_row_stands_behind_the_owner() -> None:
    rig = Rig(document())
    row = rig.decide(b"\x41").chain  # too short for an id
    for backend in range(1, 9):
        chain = rig.decide(short(rig.connection_id(backend))).chain
        behind = next(b.name for b in row if b.name != f"h{backend}")
        assert [b.name for b in chain] == [f"h{backend}", behind]


def test_what_a_client_made_up_goes_by_its_flow() -> None:
    """Even when it happens to name a server: Initial and 0-RTT packets, and unknown versions."""
    rig = Rig(document())
    row = [b.id for b in rig.decide(b"\x41").chain]
    for backend in range(1, 9):
        own = rig.connection_id(backend)
        unknown = bytearray(long("handshake", own))
        unknown[1:5] = bytes.fromhex("ff00001d")
        for payload in (
            long("initial", own), long("initial", own, oracle.VERSION_2), long("0-rtt", own),
            long("initial", own) + bytes(900), long("initial", own) + long("0-rtt", own), bytes(unknown),
        ):  # fmt: skip
            decision = rig.decide(payload)
            assert [b.id for b in decision.chain] == row
            assert not decision.by_id


def test_an_initial_in_front_of_a_later_packet_is_not_made_up() -> None:
    """So a handshake goes on while the table changes."""
    rig = Rig(document())
    own = rig.connection_id(5)
    for behind in (long("handshake", own), long("0-rtt", own) + long("handshake", own), short(own)):
        assert number(rig.decide(long("initial", own) + behind)) == 5


def test_unroutable_ids_go_by_their_flow() -> None:
    rig = Rig(document(TWO))
    row = [b.id for b in rig.decide(b"\x41").chain]
    own = rig.connection_id(4, 3)
    for wrong in (
        bytes([own[0] & 31 | 7 << 5]) + own[1:], bytes([own[0] & 31 | 2 << 5]) + own[1:], own[:-1], b"",
        bytes([3 << 5]) + bytes(7),
    ):  # fmt: skip
        decision = rig.decide(b"\x41" + wrong)
        assert ([b.id for b in decision.chain], decision.by_id) == (row, False)
    assert number(rig.decide(b"\x41" + own)) == 4


@pytest.mark.parametrize("state", ["draining", "filling", "inactive"])
def test_a_draining_backend_keeps_its_connections(state: str) -> None:
    rig = Rig(document(states={"h5": state}))
    decision = rig.decide(short(rig.connection_id(5)))
    assert decision.by_id == (state != "inactive")
    assert (number(decision) == 5) == (state != "inactive")
    fresh = {number(rig.decide(long("initial", bytes(8)), port)) for port in range(2000, 2400)}
    assert fresh == {1, 2, 3, 4, 6, 7, 8}


def test_an_unhealthy_backend_is_not_gone_to() -> None:
    rig = Rig(document(), unhealthy=(5,))
    assert not rig.decide(short(rig.connection_id(5))).by_id


def test_both_of_two_configurations_are_read() -> None:
    rig = Rig(document(TWO))
    for backend in range(1, 9):
        for config_id in (1, 3):
            assert number(rig.decide(short(rig.connection_id(backend, config_id)))) == backend


def payloads(rig: Rig, chance: random.Random) -> bytes:
    """Return a random datagram: made of the right parts, and then perhaps damaged."""
    made = bytearray()
    own = chance.choice([
        chance.randbytes(chance.randrange(21)),
        rig.connection_id(chance.randrange(1, 9), chance.choice([*rig.configs]), chance.randrange(1 << 30)),
    ])  # fmt: skip
    for _ in range(chance.randrange(1, 4)):
        kind = chance.choice(["initial", "0-rtt", "handshake", "retry", "short", "padding"])
        version = chance.choice([oracle.VERSION_1, oracle.VERSION_2])
        other = own if chance.random() < 0.9 else chance.randbytes(len(own))
        if kind == "short":
            made += short(other)
        elif kind == "padding":
            made += bytes(chance.randrange(40))
        else:
            made += long(kind, other, version, chance.randbytes(chance.randrange(30)))
    for _ in range(chance.choice([0, 0, 1, 3])):
        if made:
            made[chance.randrange(len(made))] = chance.randrange(256)
    return bytes(made[: chance.randrange(len(made) + 1)] if chance.random() < 0.2 else made)


TINY = {"configurations": [{"config_id": 0, "server_id_length": 1}]}


@pytest.mark.parametrize("configurations", [True, TWO, TINY])
def test_random_packets_go_where_the_oracle_says(configurations: Any) -> None:
    rig, chance = Rig(document(configurations)), random.Random(21)
    named = 0
    for _ in range(6000):
        payload = payloads(rig, chance)
        chosen = oracle.server_chosen(payload)
        expected = None if chosen is None else oracle.server_of(rig.configs, chosen)
        decision = rig.decide(payload)
        assert decision.by_id == (expected is not None), payload.hex()
        if expected is not None:
            assert number(decision) == expected
            named += 1
    assert named > 600


def test_who_leaves() -> None:
    """Nobody whose ids lead to it still: not by a drain, but by a removal, or a change of what is read."""

    def leaving(after: Document) -> set[str]:
        (old, secret), (new, _) = offline(document()), offline(after)
        snapshots = [
            native.Snapshot(native.compile_snapshot(configuration(state, secret, {}))) for state in (old, new)
        ]
        return {f"h{leaver.backend}" for leaver in native.leavers(*snapshots)}

    everyone = {backend["name"] for backend in BACKENDS}
    assert leaving(document()) == set()
    assert leaving(document(states={"h5": "draining"})) == set()
    assert leaving(document(states={"h5": "inactive"})) == {"h5"}
    assert leaving(document(states={"h5": "draining"}, quic_=one(key="00" * 16))) == {"h5"}
    assert leaving(document(quic_=one(config_id=1), hash_fields=["src_addr"])) == everyone
    both = {"configurations": [{"config_id": 0}, {"config_id": 1}], "issue": 1}
    assert leaving(document(quic_=both, hash_fields=["src_addr"])) == set()


# ---- what is given to servers ----


def test_server_ids_are_stable_and_different() -> None:
    permutation = bytes(range(16))
    for length in (1, 2):
        everything = [quic.allocate(permutation, n, length) for n in range(256**length)]
        assert len(set(everything)) == 256**length
    with pytest.raises(InvalidInputError, match="does not fit into a server id of 1 bytes"):
        quic.allocate(permutation, 256, 1)
    assert quic.allocate(permutation, 7, 15) == quic.allocate(permutation, 7, 15)
    state, secret = offline(document(TWO))
    ids = [quic.of_backend(state, secret, "h", f"h{n}") for n in range(1, 9)]
    assert all([c.config_id for c in found] == [3, 1] for found in ids)
    assert all([c.issue for c in found] == [True, False] for found in ids)
    assert len({c.server_id for found in ids for c in found if c.config_id == 1}) == 8
    plain, secret_ids = ([c.server_id for f in ids for c in f if c.config_id == n] for n in (1, 3))
    assert [server_id[:2] for server_id in secret_ids] != plain


def test_what_a_server_is_told_makes_ids_that_lead_to_it() -> None:
    doc = document(TWO)
    rig, (state, secret) = Rig(doc), offline(doc)
    for backend in range(1, 9):
        for found in quic.of_backend(state, secret, "h", f"h{backend}"):
            config = oracle.Config(
                found.config_id, found.server_id_length, found.nonce_length,
                bytes.fromhex(found.key) if found.key else None,
            )  # fmt: skip
            made = config.encode(bytes.fromhex(found.server_id), bytes(found.nonce_length))
            assert len(made) == found.connection_id_length
            assert number(rig.decide(short(made))) == backend


def test_explicit_server_ids_are_all() -> None:
    listed = {"h1": "000001", "h3": "ffffff", "gone": "000002"}
    given = {"configurations": [{"config_id": 0, "server_ids": listed}]}
    state, secret = offline(document(given))
    found = {n: quic.of_backend(state, secret, "h", f"h{n}") for n in range(1, 9)}
    assert {n: c[0].server_id for n, c in found.items() if c} == {1: "000001", 3: "ffffff"}
    [text] = quic.remarks(document(given))
    assert "h2, h4, h5, h6, h7, h8 of pool h have no server id" in text


# ---- what is refused ----


def one(**fields: Any) -> dict[str, Any]:
    return {"configurations": [{"config_id": 0, **fields}]}


@pytest.mark.parametrize(
    ("given", "where", "what"),
    [
        (one(server_id_length=0), "configurations/0/server_id_length", "greater than or equal to 1"),
        (one(server_id_length=16), "configurations/0/server_id_length", "less than or equal to 15"),
        (one(nonce_length=3), "configurations/0/nonce_length", "greater than or equal to 4"),
        (one(server_id_length=8, nonce_length=12), "configurations/0/nonce_length", "at most 11 with"),
        (one(config_id=7), "configurations/0/config_id", "less than or equal to 6"),
        (one(key="00" * 16, encrypted=False), "configurations/0/key", "leave it out"),
        (one(key="00" * 15), "configurations/0/key", "32 hex digits"),
        (one(server_ids={"h1": "0001"}), "configurations/0/server_ids/h1", "is not 6 hex digits"),
        (one(server_ids={"h1": "00" * 3, "h2": "00" * 3}), "configurations/0/server_ids/h2", "of h1 already"),
        ({"configurations": [{"config_id": 1}] * 2}, "configurations/1/config_id", "already given"),
        ({"configurations": []}, "configurations", "at least 1"),
        ({"configurations": [{"config_id": 1}], "issue": 2}, "issue", "there is no configuration 2"),
    ],
)  # fmt: skip
def test_wrong_configurations_are_named(given: Any, where: str, what: str) -> None:
    with pytest.raises(DocumentError) as failed:
        parse(Service, {**SERVICE, "quic": given})
    assert [error.pointer for error in failed.value.errors] == [f"/quic/{where}"]
    assert what in failed.value.errors[0].detail


@pytest.mark.parametrize("fields", [{"protocol": "tcp"}, {"protocol": "any"}, {"policy": "glb"}])
def test_quic_is_for_udp(fields: dict[str, Any]) -> None:
    with pytest.raises(DocumentError) as failed:
        parse(Service, {**SERVICE, "quic": True, **fields})
    assert "/quic" in [error.pointer for error in failed.value.errors]


def test_true_is_one_configuration_and_hashes_all_fields() -> None:
    service = parse(Service, {**SERVICE, "quic": True})
    assert service.quic is not None
    assert [c.config_id for c in service.quic.configurations] == [service.quic.issue] == [0]
    assert service.hash_fields == ("src_addr", "dst_addr", "src_port", "dst_port")
    assert parse(Service, service.model_dump(mode="json")) == service
    assert parse(Service, {**SERVICE, "quic": False}).quic is None
    assert parse(Service, {**SERVICE, "quic": False}).hash_fields == ("src_addr",)
    check_whole(document())


def test_rotation_lists_the_new_one_behind() -> None:
    """The first listed is issued until `issue` says otherwise."""
    given = {"configurations": [{"config_id": 2}, {"config_id": 3}]}
    first = parse(Service, {**SERVICE, "quic": given})
    assert first.quic is not None
    assert first.quic.issue == 2
