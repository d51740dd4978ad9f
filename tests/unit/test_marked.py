"""Marked packets: what they are made of, and their checksums."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest

from glbpy.errors import InvalidInputError
from glbpy.marked import MAGIC, SOURCES, Marked

VIPS = (IPv4Address("203.0.113.10"), IPv6Address("2001:db8::10"))


def checksum(data: bytes) -> int:
    """Add up 16-bit words; 0xffff where a checksum in them is right."""
    data += bytes(len(data) % 2)
    total = sum(data[n] << 8 | data[n + 1] for n in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@pytest.mark.parametrize("vip", VIPS)
@pytest.mark.parametrize(("protocol", "number"), [("tcp", 6), ("udp", 17), ("icmp", 1)])
def test_what_is_in_it(vip: IPv4Address | IPv6Address, protocol: str, number: int) -> None:
    packet = Marked(vip, port=443, protocol=protocol, client_port=1234).build()
    head = 20 if vip.version == 4 else 40
    if (vip.version, number) == (6, 1):
        number = 58
    addresses = packet[12:20] if vip.version == 4 else packet[8:40]
    assert addresses == SOURCES[vip.version].packed + vip.packed
    assert packet[9 if vip.version == 4 else 6] == number
    assert packet[-16:-8] == MAGIC
    body = packet[head:]
    if protocol != "icmp":
        assert (int.from_bytes(body[:2], "big"), int.from_bytes(body[2:4], "big")) == (1234, 443)
    pseudo = b"" if number == 1 else addresses + len(body).to_bytes(4, "big") + number.to_bytes(4, "big")
    assert checksum(pseudo + body) == 0xFFFF
    if vip.version == 4:
        assert checksum(packet[:20]) == 0xFFFF
        assert int.from_bytes(packet[2:4], "big") == len(packet)
    else:
        assert int.from_bytes(packet[4:6], "big") == len(body)


def test_first_packets_and_packets_in_mid_stream() -> None:
    assert Marked(VIPS[0], syn=True).build()[33] == 0x02
    assert Marked(VIPS[0]).build()[33] == 0x10


def test_each_has_a_mark_of_its_own() -> None:
    assert Marked(VIPS[0]).build() != Marked(VIPS[0]).build()


def test_a_client_of_the_other_family_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="the VIP is an IPv6 address"):
        Marked(VIPS[1], client=ip_address("192.0.2.1")).build()
