"""Katran's balancer fixtures: its cases, with our names and outcomes. tests/README.md has the table.

VIPs and reals are Katran's, so that each case can be found again; not one line of its code or data is here.
Where the outcome differs, on purpose, the case says so.
"""

import ipaddress
from typing import Any

import pytest
from oracle.build import ARP, ethernet, fragment, icmp, ipv4, ipv6, tcp, udp
from oracle.frames import CLIENT4, CLIENT6, FRAGMENT, ICMP, ICMPV6, MF, TCP, UDP, v4, v6

from glbpy import _native as native
from glbpy.compiler import configuration, offline
from glbpy.models import Document, parse

ALL = ["src_addr", "dst_addr", "src_port", "dst_port"]
REALS = {4: ["10.0.0.1", "10.0.0.2", "10.0.0.3"], 6: ["fc00::1", "fc00::2", "fc00::3"]}
SOURCE = {4: "172.16.104.123", 6: "fc00:2307::1337"}
PLAIN = {(4, 4): "ipip", (4, 6): "4in6", (6, 6): "ip6ip6"}  # by families of VIP and real
NUMBER = {"ipip": 4, "4in6": 4, "ip6ip6": 41}
GUE_PORT = 19523


def service(name: str, vip: str, ports: list[Any], reals: str, tunnel: str, **fields: Any) -> dict[str, Any]:
    families = (6 if ":" in vip else 4), int(reals[-1]) if reals[-1].isdigit() else 4
    kind = "gue" if tunnel == "gue" else PLAIN[families]
    whole = {"name": name, "vips": [vip], "protocol": "tcp", "ports": ports, "pool": reals}
    return whole | {"encapsulation": kind, "hash_fields": ALL, "hops": 1, "table_size": 1024} | fields


def world(tunnel: str) -> native.PacketPath:
    pools = [
        {"name": f"reals{v}", "backends": [{"name": f"r{n}", "address": a} for n, a in enumerate(REALS[v])]}
        for v in REALS
    ] + [{"name": "none", "backends": []}]
    services = [
        service("udp4", "10.200.1.1", [80], "reals4", tunnel, protocol="udp"),
        service("tcp4", "10.200.1.1", [80], "reals4", tunnel),
        service("any-port", "10.200.1.2", ["any"], "reals4", tunnel),
        service("4in6", "10.200.1.3", [80], "reals6", tunnel),
        service("by-port", "10.200.1.4", ["any"], "reals4", tunnel, hash_fields=["dst_port"]),
        service("6in6", "fc00:1::1", [80], "reals6", tunnel),
        service("marked4", "10.200.1.7", [80], "reals4", tunnel, outer_dscp="copy", decapsulator="rfc6040"),
        service("marked6", "fc00:1::7", [80], "reals6", tunnel, outer_dscp="copy", decapsulator="rfc6040"),
        service("none4", "10.200.1.8", [80], "none", "gue"),
        service("none6", "fc00:1::8", [80], "none", "gue", protocol="udp"),
        service("net", "fc00:a::/96", ["any"], "reals6", tunnel),
        service("net-443", "fc00:b::/96", [443], "reals6", tunnel),
        service("net-udp", "fc00:c::/96", ["any"], "reals6", tunnel, protocol="udp"),
        service("net-udp-443", "fc00:d::/96", [443], "reals6", tunnel, protocol="udp"),
    ]
    state, secret = offline(parse(Document, {"pools": pools, "services": services}))
    snapshot = native.Snapshot(native.compile_snapshot(configuration(state, secret, {})))
    director = native.DirectorInput(
        ipaddress.IPv4Address(SOURCE[4]),
        local_mac=bytes.fromhex("020000000001"),
        gateway_mac=bytes.fromhex("0000deadbeaf"),
        outer_source_v6=ipaddress.IPv6Address(SOURCE[6]),
        icmp_echo="answer",
    )
    return native.PacketPath(snapshot, director)


PATHS = {tunnel: world(tunnel) for tunnel in ("gue", "ip")}
TO4 = ipv4(CLIENT4, "10.200.1.1", TCP, tcp(1, 80))
TO6 = ipv6(CLIENT6, "fc00:1::1", TCP, tcp(1, 80))
both = pytest.mark.parametrize("tunnel", PATHS)


def outer(frame: bytes) -> tuple[int, str, str, int, int, bytes]:
    """Family, source, destination, TOS, protocol and payload of a frame to send."""
    packet = frame[14:]
    if packet[0] >> 4 == 4:
        ends, tos, protocol, payload = packet[12:20], packet[1], packet[9], packet[20:]
    else:
        word = int.from_bytes(packet[:4])
        ends, tos, protocol, payload = packet[8:40], word >> 20 & 0xFF, packet[6], packet[40:]
    half = len(ends) // 2
    source, destination = (str(ipaddress.ip_address(end)) for end in (ends[:half], ends[half:]))
    return 4 if half == 4 else 6, source, destination, tos, protocol, payload


def assert_wrapped(tunnel: str, frame: bytes, reals: int, tos: int = 0) -> None:
    """It goes to one of the reals of this family, with the client's packet unchanged inside."""
    found = PATHS[tunnel].decide(frame)
    assert (found.verdict, found.reason) == ("forward", "forwarded")
    assert found.output is not None
    assert found.output[:12].hex() == "0000deadbeaf020000000001"
    family, source, destination, marks, protocol, payload = outer(found.output)
    inner = frame[14:]
    assert (family, source, marks) == (reals, SOURCE[reals], tos)
    assert destination == str(found.chain[0].address)
    assert destination in REALS[reals]
    if tunnel == "gue":
        assert protocol == UDP
        assert int.from_bytes(payload[2:4]) == GUE_PORT
        assert payload[8:10] == bytes([1, 4 if inner[0] >> 4 == 4 else 41])
        assert payload[16:] == inner
    else:
        assert protocol == NUMBER[PLAIN[6 if inner[0] >> 4 == 6 else 4, reals]]
        assert payload == inner


@both
@pytest.mark.parametrize(
    ("frame", "reals"),
    [
        pytest.param(v4(udp(31337, 80, b"test pkt"), UDP, dst="10.200.1.1"), 4, id="udp-v4-on-v4"),
        pytest.param(v4(tcp(31337, 80), dst="10.200.1.1"), 4, id="tcp-v4-on-v4"),
        pytest.param(v4(tcp(31337, 42), dst="10.200.1.2"), 4, id="any-port"),
        pytest.param(v4(tcp(31337, 80), dst="10.200.1.3"), 6, id="v4-on-v6"),
        pytest.param(v6(tcp(31337, 80), dst="fc00:1::1"), 6, id="v6-on-v6"),
    ],
)
def test_wrapped(tunnel: str, frame: bytes, reals: int) -> None:
    assert_wrapped(tunnel, frame, reals)


@both
def test_tos_is_copied_where_the_service_says_so(tunnel: str) -> None:
    """Katran always copies; here it is the service's choice."""
    marks = 0x8C
    assert_wrapped(tunnel, v4(tcp(31337, 80), dst="10.200.1.7", tos=marks), 4, marks)
    assert_wrapped(tunnel, v6(tcp(31337, 80), dst="fc00:1::7", traffic_class=marks), 6, marks)
    assert_wrapped(tunnel, v4(tcp(31337, 80), dst="10.200.1.1", tos=marks), 4, 0)


@both
def test_echo_requests_are_answered(tunnel: str) -> None:
    four = v4(icmp(8, 0, 0, b"ping"), ICMP, dst="10.200.1.1")
    six = v6(icmp(128, 0, 0, b"ping"), ICMPV6, dst="fc00:1::1")
    for frame, source in ((four, "10.200.1.1"), (six, "fc00:1::1")):
        found = PATHS[tunnel].decide(frame)
        assert (found.verdict, found.reason) == ("answer", "echo_answered")
        assert found.output is not None
        assert outer(found.output)[1] == source


@both
def test_too_big_follows_the_quoted_connection(tunnel: str) -> None:
    for port in range(31337, 31387):
        quoted4 = ipv4("10.200.1.1", CLIENT4, TCP, tcp(80, port))
        quoted6 = ipv6("fc00:1::1", CLIENT6, TCP, tcp(80, port))
        for error, client, reals in (
            (
                v4(icmp(3, 4, 1400, quoted4), ICMP, src="10.99.0.1", dst="10.200.1.1"),
                v4(tcp(port, 80), dst="10.200.1.1"),
                4,
            ),
            (
                v6(icmp(2, 0, 1280, quoted6), ICMPV6, src="fc00:99::1", dst="fc00:1::1"),
                v6(tcp(port, 80), dst="fc00:1::1"),
                6,
            ),
        ):
            assert_wrapped(tunnel, error, reals)
            assert PATHS[tunnel].decide(error).chain == PATHS[tunnel].decide(client).chain


@both
def test_options_are_forwarded(tunnel: str) -> None:
    """Katran drops IPv4 packets with options; here they go with their flow."""
    plain, odd = (v4(tcp(31337, 80), dst="10.200.1.1", options=o) for o in (b"", b"\x01\x01\x01\x00"))
    assert_wrapped(tunnel, odd, 4)
    assert PATHS[tunnel].decide(odd).chain == PATHS[tunnel].decide(plain).chain


@both
def test_fragments_are_not_sent_by_ports_that_they_do_not_have(tunnel: str) -> None:
    """Katran drops all of them. Here the first one goes with its flow, and later ones nowhere by chance."""
    assert_wrapped(tunnel, v4(udp(31337, 80, bytes(8)), UDP, dst="10.200.1.1", fragment=MF), 4)
    later = PATHS[tunnel].decide(v4(bytes(16), UDP, dst="10.200.1.1", fragment=2))
    assert (later.verdict, later.reason) == ("punt", "later_fragment")
    six = v6(fragment(TCP, 2, True) + bytes(16), FRAGMENT, dst="fc00:1::1")
    assert (PATHS[tunnel].decide(six).verdict, PATHS[tunnel].decide(six).reason) == ("punt", "later_fragment")


@both
@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        pytest.param(v4(tcp(31337, 80), dst="10.200.99.1"), "not_vip", id="v4"),
        pytest.param(v6(tcp(31337, 80), dst="fc00:99::1"), "not_vip", id="v6"),
        pytest.param(ethernet(bytes(28), ARP), "not_ip", id="arp"),
        pytest.param(v4(TO4, 4, dst=SOURCE[4]), "not_vip", id="ipip"),
        pytest.param(v6(TO6, 41, dst=SOURCE[6]), "not_vip", id="ip6ip6"),
        pytest.param(v6(TO4, 4, dst=SOURCE[6]), "not_vip", id="4in6"),
        pytest.param(v4(udp(1, GUE_PORT, b"\x01\x04" + bytes(30)), UDP, dst=SOURCE[4]), "not_vip", id="gue"),
        pytest.param(v6(udp(1, GUE_PORT, b"\x01\x29" + bytes(50)), UDP, dst=SOURCE[6]), "not_vip", id="gue6"),
    ],
)
def test_what_is_not_ours_is_the_kernels(tunnel: str, frame: bytes, reason: str) -> None:
    """Tunnels to the director's own address, too: a director ends none."""
    found = PATHS[tunnel].decide(frame)
    assert (found.verdict, found.reason) == ("punt", reason)


@both
def test_by_destination_port_alone(tunnel: str) -> None:
    chains = set()
    for port in range(40, 80):
        one = PATHS[tunnel].decide(v4(tcp(31337, port), src="192.168.1.1", dst="10.200.1.4"))
        two = PATHS[tunnel].decide(v4(tcp(31338, port), src="192.168.1.100", dst="10.200.1.4"))
        assert one.chain == two.chain
        chains.add(one.chain[0].name)
    assert len(chains) == 3


@pytest.mark.parametrize(
    "frame",
    [v4(tcp(31337, 80), dst="10.200.1.8"), v6(udp(31337, 80), UDP, dst="fc00:1::8")],
    ids=["v4", "v6"],
)
def test_a_vip_without_backends_drops(frame: bytes) -> None:
    found = PATHS["gue"].decide(frame)
    assert (found.verdict, found.reason) == ("drop", "no_backend")


@both
@pytest.mark.parametrize(
    ("vip", "port", "protocol", "expected"),
    [
        ("fc00:a::1", 80, TCP, "forwarded"),
        ("fc00:a::ffff", 80, TCP, "forwarded"),
        ("fc00:a::1", 8080, TCP, "forwarded"),
        ("fc00:b::1", 443, TCP, "forwarded"),
        ("fc00:b::1", 80, TCP, "no_service"),
        ("fc00:c::1", 53, UDP, "forwarded"),
        ("fc00:d::1", 443, UDP, "forwarded"),
        ("fc00:d::1", 80, UDP, "no_service"),
        ("fc00:a:0:1::1", 80, TCP, "not_vip"),
    ],
)
def test_prefixes_as_vips(tunnel: str, vip: str, port: int, protocol: int, expected: str) -> None:
    frame = v6((tcp if protocol == TCP else udp)(31337, port), protocol, dst=vip)
    assert PATHS[tunnel].decide(frame).reason == expected
