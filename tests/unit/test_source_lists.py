"""Source lists by way of Python: their text, look-ups against a naive twin, damaged files, the wire page."""

import random
import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

import pytest

from glbpy import _native as native
from glbpy.errors import InvalidInputError, ListsError

PAGE = Path(__file__).resolve().parents[2] / "docs/wire/lists.md"


def test_text_comes_back_in_its_one_form() -> None:
    text = b"2001:DB8::/32\n192.0.2.7 # a scanner\r\n\n# nothing\n  10.0.0.0/8\n192.0.2.7/32\n"
    tidy = b"10.0.0.0/8\n192.0.2.7/32\n2001:db8::/32\n"
    assert native.tidy_prefixes(text) == (tidy, 3)
    assert native.tidy_prefixes(tidy) == (tidy, 3)
    assert native.tidy_prefixes(b"") == (b"", 0)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b"::/0\n" * 16 + b"10.0.0.1/24\n", "line 17: 10.0.0.1/24 has host bits set; write 10.0.0.0/24"),
        (b"# a\nexample.com\n", "line 2: example.com is not an IPv4 or IPv6 prefix"),
        (b"::/129\n", "line 1: ::/129 has no length from 0 to 128"),
        (b"10.0.0.0/8,10.1.0.0/16\n", "line 1: 10.0.0.0/8,10.1.0.0/16 has no length"),
    ],
)
def test_errors_name_line_and_fix(text: bytes, error: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^{re.escape(error)}"):
        native.tidy_prefixes(text)
    with pytest.raises(InvalidInputError, match=f"^/lists/bots: {re.escape(error)}"):
        native.compile_lists({"bots": text})


def test_look_ups_agree_with_a_naive_twin() -> None:
    chance = random.Random(7)
    networks = []
    for _ in range(400):
        bits = chance.randint(9, 32)
        high = chance.getrandbits(14) << 18 | chance.getrandbits(3)
        networks.append(ip_network((high, bits), strict=False))
        bits = chance.randint(20, 128)
        high = 0x20010DB8 << 96 | chance.getrandbits(12) << 76 | chance.getrandbits(9)
        networks.append(ip_network((high, bits), strict=False))
    lists = native.Lists(native.compile_lists({"x": "\n".join(map(str, networks)).encode()}))
    assert lists.prefixes == {"x": len(set(networks))}
    inside = 0
    for network in networks:
        first, last, size = int(network[0]), int(network[-1]), 2**network.max_prefixlen
        for number in (first, last, (first - 1) % size, (last + 1) % size):
            address = type(network[0])(number)
            expected = any(address.version == n.version and address in n for n in networks)
            assert lists.has("x", address) == expected
            inside += expected
    assert 1000 < inside < 3200
    assert not lists.has("y", networks[0][0])


def test_damaged_files_are_refused() -> None:
    data = native.compile_lists({"bots": b"192.0.2.0/24\n"})
    assert native.Lists(data).prefixes == {"bots": 1}
    for wrong, text in (
        (b"", "not a lists file"),
        (b"x" + data[1:], "does not begin with"),
        (data[:8] + b"\x02" + data[9:], "format version 2, this program reads version 1"),
        (data[:-1], "truncated"),
        (data + b"\0", "bytes behind their end"),
        (data[:-1] + b"\0", "digest does not match"),
    ):
        with pytest.raises(ListsError, match=text):
            native.Lists(wrong)


def test_the_page_has_the_bytes() -> None:
    block = re.search(r"```hexdump\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert block is not None
    dump = b""
    for line in block[1].splitlines():
        match = re.fullmatch(r"([0-9a-f]{4})  ((?:[0-9a-f]{2} )*[0-9a-f]{2})(?:  +\S.*)?", line)
        assert match is not None, line
        if int(match[1], 16) > len(dump):  # what is left out is zero
            dump += bytes(int(match[1], 16) - len(dump))
        assert int(match[1], 16) == len(dump), line
        dump += bytes.fromhex(match[2])
    text = b"10.0.0.0/8\n10.1.0.0/16\n192.0.2.7\n2001:db8::/32\n"
    assert native.compile_lists({"bots": text}) == dump
    lists = native.Lists(dump)
    for address, wanted in (
        (IPv4Address("10.255.255.255"), True),
        (IPv4Address("11.0.0.0"), False),
        (IPv6Address("2001:db8::1"), True),
    ):
        assert lists.has("bots", address) == wanted
    assert lists.has("bots", ip_address("192.0.2.7"))
