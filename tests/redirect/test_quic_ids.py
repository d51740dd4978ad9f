"""QUIC on backends: by the connection id that a server chose, judged by tests/oracle/quic.py."""

import json
import os
import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from oracle import quic

from . import packets as p
from .bpf import REDIRECT, UNSPEC
from .conftest import Redirect, know_peers
from .netns import Namespace

DIRECTOR, HERE, PEER = "10.77.0.1", "10.77.0.11", "10.77.0.12"
VIPS = {4: "203.0.113.10", 6: "2001:db8::10"}
CLIENTS = {4: "198.51.100.7", 6: "2001:db8:1::7"}
KEY = bytes(range(16))
PLAIN = (quic.Config(0, 3, 13, None), quic.Config(2, 1, 4, None), quic.Config(6, 15, 4, None))
SECRET = (quic.Config(0, 3, 13, KEY), quic.Config(1, 4, 8, KEY), quic.Config(2, 10, 9, KEY))
families = pytest.mark.parametrize("family", [4, 6])
BEHIND = bytes(40)  # packet number and what is encrypted


def own(config: quic.Config) -> bytes:
    return bytes(range(0xA0, 0xA0 + config.server_id_length))


def another(config: quic.Config) -> bytes:
    return own(config)[:-1] + b"\x01"


def written(path: Path, configs: tuple[quic.Config, ...], **changes: object) -> str:
    """A file as `glb get quic -o json` prints it."""
    entries: list[dict[str, Any]] = [
        {
            "service": "h3", "vips": list(VIPS.values()), "ports": [443],
            "config_id": config.config_id, "issue": False,
            "server_id": own(config).hex(), "server_id_length": config.server_id_length,
            "nonce_length": config.nonce_length, "connection_id_length": 1 + config.length,
            "encrypted": config.key is not None, "key": config.key and config.key.hex(),
        }
        | changes
        for config in configs
    ]  # fmt: skip
    path.write_text(json.dumps({"pool": "web", "backend": "web1", "configurations": entries}))
    return str(path)


@pytest.fixture(scope="module", params=["tc", "xdp", "nfqueue"])
def redirect(
    bpffs: Path, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Redirect]:
    namespace = Namespace("c")
    namespace.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
    namespace.ip("link", "set", "eth0", "up")
    know_peers(namespace, "eth0", PEER)
    redirect = Redirect(namespace, "eth0", bpffs / "glb", request.param)
    file = written(tmp_path_factory.mktemp("quic") / "plain.json", PLAIN)
    bound = ("--service", f"udp:[{VIPS[6]}]:443=bound")
    redirect.attach("--allow", DIRECTOR, "--peer", PEER, "--quic", file, *bound)
    yield redirect
    redirect.detach()
    namespace.delete()


def short(connection_id: bytes) -> bytes:
    return b"\x40" + connection_id + BEHIND


def long(kind: int, connection_id: bytes, version: int = quic.VERSION_1) -> bytes:
    head = struct.pack("!BI", 0xC0 | kind << 4, version)
    token = b"\0" if kind == (1 if version == quic.VERSION_2 else 0) else b""
    ids = bytes([len(connection_id)]) + connection_id + b"\x02hi"
    return head + ids + token + bytes([len(BEHIND)]) + BEHIND


def judge(redirect: Redirect, payload: bytes, family: int = 4, *, port: int = 443, hops: int = 1) -> str:
    """Verdict and bytes must go with the reason."""
    inner, chain = p.udp(CLIENTS[family], 5000, VIPS[family], port, payload), [PEER] * hops
    ran, reason = redirect.feed(p.gue(inner, src=DIRECTOR, dst=HERE, hops=chain, sum_udp=True))
    onward = p.gue(inner, src=HERE, dst=PEER, hops=chain, next_hop=1, sum_udp=True)
    expected = (REDIRECT, onward) if reason == "forwarded" else (UNSPEC, inner)
    assert (ran.verdict, ran.frame) == (expected[0], p.ethernet(expected[1]))
    return reason


def rule(family: int) -> str:
    """Of a datagram whose id says nothing: IPv6 has `bound` here, and no socket."""
    return "local_udp" if family == 4 else "forwarded"


@families
@pytest.mark.parametrize("config", PLAIN, ids=lambda config: f"config {config.config_id}")
def test_by_the_id_of_a_server(redirect: Redirect, family: int, config: quic.Config) -> None:
    nonce = os.urandom(config.nonce_length)
    mine, others = config.encode(own(config), nonce), config.encode(another(config), nonce)
    for packet in (short, lambda id: long(2, id), lambda id: long(3, id, quic.VERSION_2)):
        assert judge(redirect, packet(mine), family) == "local_udp"
        assert judge(redirect, packet(others), family) == "forwarded"
        assert judge(redirect, packet(others), family, hops=0) == "local_udp"  # the last hop takes it
    assert judge(redirect, short(mine + b"more"), family) == "local_udp"
    assert judge(redirect, short(others), family, port=444) == "local_udp"  # another service


@families
def test_what_a_client_may_have_made_up_goes_by_the_rule(redirect: Redirect, family: int) -> None:
    config = PLAIN[0]
    mine, others = (config.encode(server(config), bytes(13)) for server in (own, another))
    for chosen in (mine, others):
        for kind, version in ((0, 1), (1, 1), (3, 1), (0, 2), (1, 2), (2, 2)):  # Initial, 0-RTT, Retry
            number = quic.VERSION_1 if version == 1 else quic.VERSION_2
            assert judge(redirect, long(kind, chosen, number), family) == rule(family)
        assert judge(redirect, long(2, chosen, 0xFF00001D), family) == rule(family)
        assert judge(redirect, long(2, chosen)[:20], family) == rule(family)  # cut short
        assert judge(redirect, b"\x40" + chosen, family) == rule(family)
        assert judge(redirect, long(2, chosen[:10]), family) == rule(
            family
        )  # shorter than the configuration's
        assert judge(redirect, long(2, chosen + bytes(4)), family) == rule(family)  # 21 bytes
        unknown = bytes([3 << 5]) + chosen[1:]
        assert judge(redirect, short(unknown), family) == rule(family)
        assert judge(redirect, short(bytes([7 << 5]) + chosen[1:]), family) == rule(family)
    assert judge(redirect, b"", family) == rule(family)
    assert judge(redirect, long(2, b""), family) == rule(family)


@families
def test_ids_of_every_length_that_a_header_can_claim(redirect: Redirect, family: int) -> None:
    """The first id decides, by its length; what the length of the second one is does not matter."""
    good = long(2, PLAIN[1].encode(another(PLAIN[1]), bytes(PLAIN[1].nonce_length)) + bytes(8))
    seen = set()
    for at in (5, 6 + good[5]):
        for length in range(256):
            payload = p.put(good, at, bytes([length]))
            whose = owner(PLAIN, payload)
            seen.add((at, whose))
            expected = "forwarded" if whose == "another's" else rule(family)
            assert judge(redirect, payload, family) == expected, f"{payload.hex()}: {whose}"
    assert seen == {(5, "another's"), (5, "nobody's"), (6 + good[5], "another's")}


def owner(configs: tuple[quic.Config, ...], payload: bytes) -> str:
    """By the oracle, with a right source id in a long header: nothing behind the first id is read here."""
    if len(payload) > 6 and payload[0] & 0x80 and len(payload) > (behind := 6 + payload[5]):
        payload = p.put(payload, behind, b"\0")
    read = quic.packets(payload)
    if not read or read[0][0] not in ("short", "short, unfixed", "handshake") or not read[0][1]:
        return "nobody's"
    connection_id = read[0][1]
    config = {each.config_id: each for each in configs}.get(connection_id[0] >> 5)
    if not config or len(connection_id) < 1 + config.length:
        return "nobody's"
    return "mine" if config.decode(connection_id) == own(config) else "another's"


def check_at_random(redirect: Redirect, configs: tuple[quic.Config, ...], count: int) -> None:
    seed = random.randrange(2**32)
    r, seen = random.Random(seed), set()
    for _ in range(count):
        config = r.choice(configs)
        server = r.choice([own(config), own(config), another(config), r.randbytes(config.server_id_length)])
        connection_id = config.encode(server, r.randbytes(config.nonce_length), r.randrange(32))
        connection_id = r.choice([connection_id, connection_id, r.randbytes(r.randrange(24))])
        payload = r.choice([short(connection_id), long(r.randrange(4), connection_id[:20])])
        if r.random() < 0.2:
            payload = p.put(payload, r.randrange(8), r.randbytes(1))
        whose = owner(configs, payload)
        seen.add(whose)
        expected = {"mine": "local_udp", "another's": "forwarded", "nobody's": "local_udp"}[whose]
        assert judge(redirect, payload) == expected, f"seed {seed}: {payload.hex()}: {whose}"
    assert seen == {"mine", "another's", "nobody's"}


def test_at_random_as_the_oracle(redirect: Redirect) -> None:
    check_at_random(redirect, PLAIN, 300)


def test_encrypted_ids(redirect: Redirect, tmp_path: Path) -> None:
    """One block, and four passes with lengths of either kind: a process reads them, eBPF does not."""
    file = written(tmp_path / "secret.json", SECRET)
    before = redirect.call("status", "eth0", "--json").stdout
    if redirect.way != "nfqueue":
        done = redirect.call("attach", "eth0", "--quic", file)
        assert done.returncode == 1
        assert "eBPF cannot read encrypted connection ids" in done.stderr
        assert redirect.call("status", "eth0", "--json").stdout == before
        return
    plain = written(tmp_path / "plain.json", PLAIN)
    redirect.attach("--quic", file)
    check_at_random(redirect, SECRET, 300)
    redirect.attach("--quic", plain)


def test_status_and_leaving_it_out(redirect: Redirect, tmp_path: Path) -> None:
    if redirect.way == "nfqueue":
        return
    arguments = ["--quic", written(tmp_path / "plain.json", PLAIN)]
    names = [f"udp:{VIPS[4]}:443=quic", f"udp:[{VIPS[6]}]:443=quic"]
    redirect.attach(*arguments)
    assert sorted(each["service"] for each in redirect.status()["services"]) == sorted(names)
    others = short(PLAIN[0].encode(another(PLAIN[0]), bytes(13)))
    assert judge(redirect, others) == "forwarded"
    arguments = ["--quic", written(tmp_path / "other.json", PLAIN[1:])]
    redirect.attach(*arguments)
    assert judge(redirect, others) == "local_udp"  # a configuration that is gone
    redirect.attach()
    assert redirect.status()["services"] == []


WRONG: list[tuple[dict[str, object], str]] = [
    ({"server_id": "xy"}, "server_id must be"),
    ({"server_id": ""}, "server_id must be"),
    ({"server_id": "00" * 16}, "server_id must be"),
    ({"nonce_length": 3}, "nonce_length must be"),
    ({"nonce_length": 17}, "nonce_length must be"),
    ({"encrypted": True, "key": "00"}, "key must be"),
    ({"config_id": 7}, "config_id must be"),
    ({"vips": ["203.0.113.0/24"]}, "vips must be single addresses"),
    ({"vips": []}, "vips and ports are needed"),
    ({"ports": ["8000-9000"]}, "ports must be single numbers"),
    ({"ports": [443, 443]}, "there are two of this VIP"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_wrong_files(redirect: Redirect, tmp_path: Path, change: dict[str, object], message: str) -> None:
    done = redirect.call("attach", "eth0", "--quic", written(tmp_path / "wrong.json", PLAIN[:1], **change))
    assert done.returncode == 1
    assert f"configurations[0]: {message}" in done.stderr


def test_no_file(redirect: Redirect, tmp_path: Path) -> None:
    for content in (None, "{", "{}"):
        path = tmp_path / "quic.json"
        if content is not None:
            path.write_text(content)
        done = redirect.call("attach", "eth0", "--quic", str(path))
        assert done.returncode == 1
        assert f"--quic {path}: " in done.stderr
    done = redirect.call("attach", "eth0", "--service", "udp:203.0.113.10:443=quic")
    assert done.returncode == 2
