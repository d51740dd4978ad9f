"""`glb trace -f`: a document, and a packet to one of its services, in every encapsulation."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from glbpy.cli.main import build
from glbpy.errors import InvalidInputError

POOLS = {4: "10.0.0.", 6: "2001:db8:a::"}
VIPS = {4: "203.0.113.10", 6: "2001:db8:f::10"}
MACS = {f"{POOLS[v]}{n}": f"02:00:00:00:0{v}:0{n}" for v in (4, 6) for n in (1, 2)}


def run(folder: Path, services: list[dict[str, Any]], *words: str) -> Result:
    pools = [
        {"name": f"v{v}", "backends": [{"name": f"b{n}", "address": f"{net}{n}"} for n in (1, 2)]}
        for v, net in POOLS.items()
    ]
    base = {"ports": [80], "protocol": "tcp"}
    named = [{"name": f"s{n}", **base, **each} for n, each in enumerate(services, 1)]
    (folder / "glb.json").write_text(json.dumps({"pools": pools, "services": named}))
    return CliRunner().invoke(build(), ["trace", "-f", str(folder / "glb.json"), *words])


def sent(folder: Path, service: dict[str, Any], *words: str) -> tuple[str, str]:
    """The line about what is sent, behind the frame's length, and the first hop."""
    done = run(folder, [service], "--service", "s1", *words)
    assert done.exit_code == 0, (done.output, done.exception)
    [line] = [line for line in done.stdout.splitlines() if line.startswith("send")]
    [hop] = [line for line in done.stdout.splitlines() if line.startswith("hop 1")]
    return line.partition(" bytes to ")[2], hop.split()[2]


@pytest.mark.parametrize(
    ("vip", "backend", "fields", "text"),
    [
        (4, 4, {}, "; 10.0.0.2 port {port} → {hop} port 19523, no UDP checksum, 1 further hop"),
        (6, 6, {"hops": 1}, "; 2001:db8::2 port {port} → {hop} port 19523, UDP checksum"),
        (6, 4, {"encapsulation": "gre", "hops": 1}, "; 10.0.0.2 → {hop}, GRE, IPv6"),
        (4, 6, {"encapsulation": "gre", "gre_key": 9, "hops": 1},
         "; 2001:db8::2 → {hop}, GRE with key 9, IPv4"),
        (4, 4, {"encapsulation": "ipip", "hops": 1}, "; 10.0.0.2 → {hop}, IPv4"),
        (6, 6, {"encapsulation": "ip6ip6", "hops": 1}, "; 2001:db8::2 → {hop}, IPv6"),
        (4, 6, {"encapsulation": "4in6", "hops": 1}, "; 2001:db8::2 → {hop}, IPv4"),
        (6, 4, {"encapsulation": "6in4", "hops": 1}, "; 10.0.0.2 → {hop}, IPv6"),
        (4, 4, {"encapsulation": "l3dsr", "dscp": 11, "hops": 1},
         "; 192.0.2.254 port 65000 → {hop} port 80, TCP, DSCP 11"),
        (6, 6, {"encapsulation": "nat", "backend_port": 8080, "hops": 1},
         "; 2001:db8:ffff::254 port 65000 → {hop} port 8080, TCP"),
        (4, 4, {"outer_dscp": 10, "decapsulator": "rfc6040"}, "1 further hop, DSCP 10"),
    ],
)  # fmt: skip
def test_encapsulations(tmp_path: Path, vip: int, backend: int, fields: dict[str, Any], text: str) -> None:
    said, hop = sent(tmp_path, {"vips": [VIPS[vip]], "pool": f"v{backend}", **fields})
    assert said.startswith("02:00:00:00:00:01; ")
    start, *rest = text.format(hop=hop, port="{port}").split("{port}")
    assert start in said
    assert not rest or rest[0] in said


def test_a_backend_on_the_link(tmp_path: Path) -> None:
    """l2dsr needs one; other backends are behind the gateway."""
    service = {"vips": [VIPS[4]], "pool": "v4", "encapsulation": "l2dsr", "hops": 1}
    known = [word for address, mac in MACS.items() for word in ("--neighbour", f"{address}={mac}")]
    said, hop = sent(tmp_path, service, *known)
    assert said.startswith(f"{MACS[hop]}; 192.0.2.254 port 65000 → {VIPS[4]} port 80")
    done = run(tmp_path, [service], "--service", "s1")
    assert "verdict  drop (not_on_link)" in done.stdout


@pytest.mark.parametrize("version", [4, 6])
def test_packets_of_every_kind(tmp_path: Path, version: int) -> None:
    services = [
        {"vips": [VIPS[version]], "pool": "v4", "unmatched": "reject"},
        {"vips": [VIPS[version]], "pool": "v4", "unmatched": "reject", "protocol": "any", "ports": [53]},
    ]
    client = {4: "198.51.100.7", 6: "2001:db8:c::7"}[version]

    def ask(*words: str) -> str:
        done = run(tmp_path, services, "--vip", VIPS[version], "--client", client, *words)
        assert done.exit_code == 0, (done.output, done.exception)
        return done.stdout

    assert f"packet   TCP {client} port 65000 → {VIPS[version]} port 80" in ask()
    assert "service  s2, id 2" in ask("--port", "53", "--protocol", "udp", "--client-port", "1234")
    assert "packet   echo request" in ask("--protocol", "icmp")
    answer = ask("--port", "81", "--syn")
    assert "verdict  answer (unmatched_rejected)" in answer
    assert f"{VIPS[version]} port 81 → {client} port 65000, TCP" in answer
    assert f"{VIPS[version]} → {client}, ICMP" in ask("--port", "81", "--protocol", "udp")


def test_health_and_json(tmp_path: Path) -> None:
    services = [{"vips": [VIPS[4]], "pool": "v4"}]
    words = ("--service", "1", "--json", "--unhealthy")
    for down, first in (("v4/b1", "10.0.0.2"), ("v4/b2", "10.0.0.1")):
        found = json.loads(run(tmp_path, services, *words, down).stdout)
        assert (found["service"], found["chain"][0]) == ("s1", first)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give one of --service, --vip and --frame"),
        (("--service", "s1", "--vip", "203.0.113.10"), "give one of"),
        (("--service", "nobody"), "there are: s1"),
        (("--vip", "x"), "is not an IP address"),
        (("--vip", "203.0.113.10", "--client", "::1"), "the VIP is an IPv4 address"),
        (("--service", "s1", "--live"), "are for a trace from files"),
        (("--service", "s1", "--neighbour", "x"), "write ADDRESS=MAC"),
    ],
)
def test_wrong_options(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    done = run(tmp_path, [{"vips": [VIPS[4]], "pool": "v4"}], *words)
    assert isinstance(done.exception, InvalidInputError)
    assert said in str(done.exception)
