"""Echo replies that the director makes in C, byte by byte against replies made here from scratch."""

import struct
from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_network

import pytest
from oracle.build import IPV4, IPV6, ethernet, fragment, ipv4, ipv6
from oracle.wrap import checksum

from glbpy import _native as native

CLIENT_MAC, LOCAL_MAC = "02:00:00:00:00:aa", "02:00:00:00:00:01"
CLIENTS = {4: "192.0.2.77", 6: "2001:db8:ff::77"}
VIPS = {4: "203.0.113.10", 6: "2001:db8::10"}
TYPES = {4: (8, 0), 6: (128, 129)}

DIRECTOR = native.DirectorInput(
    outer_source_v4=IPv4Address("172.16.0.1"), local_mac=bytes.fromhex(LOCAL_MAC.replace(":", "")),
    gateway_mac=bytes.fromhex("0200000000fe"), icmp_echo="answer", filter_mac=True,
)  # fmt: skip


def path(director: native.DirectorInput = DIRECTOR) -> native.PacketPath:
    pool = native.PoolInput("web", [native.BackendInput("web1", 1, ip_address("10.1.0.11"))])
    binds = [native.BindInput(ip_network(vip), "tcp", 80, 80) for vip in VIPS.values()]
    service = native.ServiceInput(
        name="www", id=1, pool=0, hash_key=bytes(16), seed=bytes(16), rows=256, binds=binds
    )
    return native.PacketPath(
        native.Snapshot(native.compile_snapshot(native.ConfigInput([pool], [service]))), director
    )


def message(family: int, kind: int, source: str, destination: str, body: bytes) -> bytes:
    """An ICMP or ICMPv6 message with its checksum, summed over all that it covers."""
    raw = struct.pack(">BBH", kind, 0, 0) + body
    covered = raw
    if family == 6:
        covered = (
            ip_address(source).packed
            + ip_address(destination).packed
            + struct.pack(">II", len(raw), 58)
            + raw
        )
    return raw[:2] + struct.pack(">H", checksum(covered)) + raw[4:]


def frame(
    family: int, kind: int, source: str, destination: str, body: bytes, **ethernet_options: object
) -> bytes:
    inner = message(family, kind, source, destination, body)
    make, number, ethertype = (ipv4, 1, IPV4) if family == 4 else (ipv6, 58, IPV6)
    return ethernet(make(source, destination, number, inner), ethertype, **ethernet_options)  # type: ignore[arg-type, operator]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("size", [0, 1, 56, 57, 1400])
@pytest.mark.parametrize("tags", [(), ((0x8100, 7),), ((0x88A8, 7), (0x8100, 9))])
def test_reply_is_the_one_made_from_scratch(
    family: int, size: int, tags: tuple[tuple[int, int], ...]
) -> None:
    body = struct.pack(">HH", 0xBEEF, size) + bytes((n * 7 + 255) % 256 for n in range(size))
    client, vip, (request, reply) = CLIENTS[family], VIPS[family], TYPES[family]
    asked = frame(family, request, client, vip, body, tags=tags, minimum=60)
    found = path().decide(asked)
    assert (found.verdict, found.reason) == ("answer", "echo_answered")
    assert found.output == frame(family, reply, vip, client, body, tags=tags, dst=CLIENT_MAC, src=LOCAL_MAC)


def test_identification_and_class_of_service_come_back() -> None:
    inner = message(4, 8, CLIENTS[4], VIPS[4], bytes(8))
    asked = ipv4(CLIENTS[4], VIPS[4], 1, inner, identification=0x1234, tos=0xB8, fragment=0x4000)
    answered = path().decide(ethernet(asked, IPV4)).output
    assert answered is not None
    expected = ipv4(
        VIPS[4], CLIENTS[4], 1, message(4, 0, VIPS[4], CLIENTS[4], bytes(8)), identification=0x1234, tos=0xB8,
        fragment=0x4000,
    )  # fmt: skip
    assert answered[14:] == expected


@pytest.mark.parametrize(
    "asked",
    [
        ethernet(ipv4(CLIENTS[4], VIPS[4], 1, message(4, 8, "", "", bytes(4)), options=b"\x01" * 4), IPV4),
        ethernet(ipv4(CLIENTS[4], VIPS[4], 1, message(4, 8, "", "", bytes(4)), fragment=0x2000), IPV4),
        ethernet(
            ipv6(CLIENTS[6], VIPS[6], 44, fragment(58, 0, True) + bytes([128, 0, 0, 0]) + bytes(12)), IPV6
        ),
        ethernet(ipv4("224.0.0.1", VIPS[4], 1, message(4, 8, "", "", bytes(4))), IPV4),
        ethernet(
            ipv4(CLIENTS[4], VIPS[4], 1, message(4, 8, "", "", bytes(4))), IPV4, src="03:00:00:00:00:aa"
        ),
        ethernet(ipv4(CLIENTS[4], VIPS[4], 1, message(4, 0, "", "", bytes(4))), IPV4),
    ],
    ids=["options", "fragment", "v6-fragment", "from-multicast", "from-group-mac", "reply"],
)
def test_what_is_no_plain_request_is_the_kernels(asked: bytes) -> None:
    found = path().decide(asked)
    assert (found.verdict, found.reason, found.output) == ("punt", "icmp_not_taken", None)


def test_other_choices() -> None:
    asked = frame(4, 8, CLIENTS[4], VIPS[4], bytes(60))
    assert path(replace(DIRECTOR, icmp_echo="forward")).decide(asked).verdict == "forward"
    assert path(replace(DIRECTOR, icmp_echo="punt")).decide(asked).reason == "icmp_not_taken"
    assert path().decide(frame(4, 8, CLIENTS[4], "203.0.113.11", bytes(60))).reason == "not_vip"
