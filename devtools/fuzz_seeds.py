"""Write the inputs that fuzzing starts from: frames of tests/vectors, small snapshots and lists, flows.

`fuzz_seeds.py FOLDER` makes in FOLDER the folders icmp, lists, parse, snapshot, flow_cache, fragments and
quic anew.
"""

import hashlib
import ipaddress
import json
import random
import shutil
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from glbpy import _native as native

VECTORS = Path(__file__).resolve().parents[1] / "tests/vectors"
VIP_V6 = bytes.fromhex("20010db8010000000000000000000010")  # of the vectors
FUZZ_VIP_V6 = bytes.fromhex("20010db8000000000000000000000010")  # of native/tests/fuzz_parse.c
SETTINGS = (0, 1, 2, 4, 9, 31, 32, 96, 137)  # native/tests/fuzz_parse.c says what the bits mean


def frames() -> Iterator[bytes]:
    """Each distinct frame in front of an encapsulation and settings, in turn."""
    vectors = json.loads((VECTORS / "frames.json").read_text())
    distinct = sorted({case["frame"] for case in vectors["cases"]})
    for number, text in enumerate(distinct):
        frame = bytes.fromhex(text).replace(VIP_V6, FUZZ_VIP_V6)
        settings = SETTINGS[number % len(SETTINGS)]
        yield bytes([number % len(native.ENCAPSULATIONS), settings, 60]) + frame


def errors() -> Iterator[bytes]:
    """The ICMP messages of the vectors, from their type on, with each setting in turn."""
    vectors = json.loads((VECTORS / "frames.json").read_text())
    distinct = sorted({case["frame"] for case in vectors["cases"]})
    for number, text in enumerate(distinct):
        frame = bytes.fromhex(text).replace(VIP_V6, FUZZ_VIP_V6)
        v4 = frame[12:14] == b"\x08\x00"
        at, protocol = (34, frame[23:24]) if v4 else (54, frame[20:21])
        if protocol == (b"\x01" if v4 else b"\x3a") and len(frame) > at + 8:
            settings = (number * 16 + number * 2) & 0x3E | (not v4)
            yield bytes([settings, frame[at], frame[at + 1], 60]) + frame[at + 8 :]
    yield from outer_errors()


def outer_errors() -> Iterator[bytes]:
    """Too-bigs about what the director sends: 64 in settings, and an eighth of the MTU (fuzz_icmp.c)."""
    gue = struct.pack("!HHHH", 0x8001, 19523, 1400, 0)
    v4 = struct.pack("!BBHHHBBH", 0x45, 0, 1420, 0, 0x4000, 64, 17, 0) + bytes((10, 0, 0, 254, 10, 0, 0, 2))
    near, far = (ipaddress.IPv6Address(f"2001:db8::{last:x}").packed for last in (254, 2))
    v6 = struct.pack("!IHBB", 6 << 28, 1420, 17, 64) + near + far
    for mtu in (10, 100, 170, 200):
        yield bytes([64, 3, 4, mtu]) + v4 + gue
        yield bytes([64 | 1, 2, 0, mtu]) + v6 + gue


def snapshots() -> Iterator[bytes]:
    """The services of the vectors on small pools, and one for each way to build a table."""
    for case in json.loads((VECTORS / "classify.json").read_text()):
        binds = [(service["id"], service["name"], service["binds"]) for service in case["services"]]
        yield compiled([service(number, name, found) for number, name, found in binds if found])
    bind = [["203.0.113.10/32", "tcp", 80, 80], ["2001:db8::/64", "any", 0, 65535]]
    for extra in (
        {"hops": 8},
        {"algorithm": "maglev", "rows": 251},
        {"policy": "glb", "alt_hash_fields": ("src_port",)},
        {"flow_cache": True, "hops": 1, "source_bits_v4": 24},
        {"encapsulation": "gre", "hops": 1},
        {"unmatched": "reject"},
        {"flow_cache": True, "udp_timeout": 9},
        {"quic": (native.QuicInput(1, 2, 5, bytes(16), ((0, b"ab"), (3, b"cd"))),)},
    ):
        yield compiled([service(1, "web", bind, **extra)])


def service(number: int, name: str, binds: list[Any], **extra: Any) -> native.ServiceInput:
    fields: dict[str, Any] = {"rows": 256, **extra}
    return native.ServiceInput(
        name, number, 0, bytes(16), bytes(16),
        tuple(native.BindInput(ipaddress.ip_network(vip), *rest) for vip, *rest in binds), **fields,
    )  # fmt: skip


def compiled(services: list[native.ServiceInput]) -> bytes:
    states = ("active", "draining", "filling", "inactive")
    backends = tuple(
        native.BackendInput(f"b{n}", n + 1, ipaddress.ip_address(f"10.1.0.{n + 1}"), states[n % 4])
        for n in range(5)
    )
    return native.compile_snapshot(native.ConfigInput((native.PoolInput("pool", backends),), tuple(services)))


def flows() -> Iterator[bytes]:
    """Random operations, and a few flows that open, talk and end."""
    talk = bytes(byte for flow in range(20) for what in (0, 1, 1, 2) for byte in (what, flow, 0))
    yield bytes([63, 28]) + talk
    for number in range(8):
        yield random.Random(number).randbytes(600)


def fragments() -> Iterator[bytes]:
    """Datagrams in order, backwards and mixed, as operations of native/tests/fuzz_fragments.c."""

    def piece(family: int, number: int, index: int, last: int) -> bytes:
        at, flags = index * 16, 0x40 | (0x20 if index < last else 0)
        return bytes([1, family, number, at & 255, 64, flags | at >> 8, 0, 0])

    for family in range(8):
        whole = [[piece(family, number, index, 5) for index in range(6)] for number in range(12)]
        mixed = [each for datagram in whole for each in datagram]
        yield b"".join(mixed)
        yield b"".join(each for datagram in whole for each in reversed(datagram))
        random.Random(family).shuffle(mixed)
        yield b"".join(mixed)
        yield b"".join(mixed + mixed[::3]) + random.Random(family).randbytes(800)


def datagrams() -> Iterator[bytes]:
    """Client's QUIC datagrams in front of lengths and settings (native/tests/fuzz_quic.c)."""
    ids = bytes([17]) + bytes(range(17)) + bytes([2, 8, 9])
    short = b"\x41" + bytes(range(17)) + bytes(20)
    for version, kinds in ((1, (0xC3, 0xD0, 0xE0, 0xF0)), (0x6B3343CF, (0xD3, 0xE0, 0xF0, 0xC0))):
        initial, early, handshake, retry = (bytes([kind]) + version.to_bytes(4) + ids for kind in kinds)
        initial += b"\x02\x01\x02" + b"\x40\x05" + bytes(5)
        early += b"\x03" + bytes(3)
        handshake += b"\x03" + bytes(3)
        for number, made in enumerate((
            initial, early, handshake, retry, initial + handshake, initial + early + handshake,
            initial + short, initial + bytes(60), short, short[:9],
        )):  # fmt: skip
            for settings in (0, 1, 2, 5, 6, 15):
                yield bytes([number % 4, settings]) + made


def lists() -> Iterator[bytes]:
    """Texts of prefixes, and lists files of them."""
    few = b"192.0.2.0/24 # one\n\n2001:db8::/32\n10.0.0.1\n"
    many = b"".join(b"10.%d.0.0/20\n2001:db8:%x::/48\n" % (n, n * 3) for n in range(60))
    yield from (few, many, native.compile_lists({}), native.compile_lists({"few": few, "many": many}))
    last = b"255.255.255.255\nff00::/8"
    yield native.compile_lists({"all": b"0.0.0.0/0\n::/0\n", "none": b"", "last": last})


def main() -> None:
    root = Path(sys.argv[1])
    every = {
        "icmp": errors(), "lists": lists(), "parse": frames(), "snapshot": snapshots(), "flow_cache": flows(),
        "fragments": fragments(),
        "quic": datagrams(),
    }  # fmt: skip
    for target, inputs in every.items():
        folder = root / target
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for data in inputs:
            (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


main()
