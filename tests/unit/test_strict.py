"""Directors with `strict`: each reason by an example, and random damage against the oracle."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from oracle.decide import decide
from oracle.model import Director, config_from_json
from packet_path import as_decision, path_of

VECTORS = json.loads((Path(__file__).resolve().parents[1] / "vectors/frames.json").read_text())
CONFIG = config_from_json(next(c for c in VECTORS["configs"] if c["name"] == "every_port")["services"])
PLAIN = Director(**{k: v for k, v in VECTORS["directors"][0].items() if k != "name"})
STRICT = replace(PLAIN, strict=True)
PATH = path_of(CONFIG, STRICT)
LOOSE = path_of(CONFIG, PLAIN)
FRAMES = [
    bytes.fromhex(case["frame"]) + bytes(case.get("zeros", 0))
    for case in VECTORS["cases"]
    if len(case["frame"]) < 400
]


def usual(version: int, protocol: int) -> bytearray:
    """Return the first of the vectors' frames of this kind that is forwarded, whatever its options."""
    for frame in FRAMES:
        found = LOOSE.decide(frame)
        if found.verdict == "forward" and found.kind == {6: "tcp", 17: "udp"}[protocol]:
            flow, plain = found.flow, frame[12:14] in (b"\x08\x00", b"\x86\xdd")
            headers = frame[14] == 0x45 if version == 4 else frame[20] == protocol
            if flow is not None and flow.family == version and plain and headers:
                return bytearray(frame)
    raise AssertionError("the vectors have such a frame")


def l4(version: int) -> int:
    return 34 if version == 4 else 54


def reason(frame: bytes) -> str:
    mine = as_decision(PATH.decide(frame))
    assert mine == decide(CONFIG, STRICT, frame)
    return mine.reason


@pytest.mark.parametrize(
    ("version", "source", "expected"),
    [
        (4, "00000007", "source_martian"),
        (4, "7f000001", "source_martian"),
        (4, "e0000001", "source_martian"),
        (4, "f0000001", "source_martian"),
        (4, "ffffffff", "source_martian"),
        (4, "dfffffff", "forwarded"),
        (4, "80000000", "forwarded"),
        (6, "00" * 16, "source_martian"),
        (6, "00" * 15 + "01", "source_martian"),
        (6, "00" * 10 + "ffff7f000001", "source_martian"),
        (6, "ff02" + "00" * 13 + "01", "source_martian"),
        (6, "0064ff9b" + "00" * 8 + "c0000201", "forwarded"),
    ],
)
def test_sources(version: int, source: str, expected: str) -> None:
    frame = usual(version, 6)
    at = 26 if version == 4 else 22
    frame[at : at + len(source) // 2] = bytes.fromhex(source)
    assert reason(bytes(frame)) == expected


@pytest.mark.parametrize("version", [4, 6])
def test_the_vip_as_source(version: int) -> None:
    frame = usual(version, 6)
    source, target, size = (26, 30, 4) if version == 4 else (22, 38, 16)
    frame[source : source + size] = frame[target : target + size]
    assert reason(bytes(frame)) == "source_is_vip"
    assert LOOSE.decide(bytes(frame)).verdict == "forward"


@pytest.mark.parametrize("version", [4, 6])
def test_every_combination_of_flags(version: int) -> None:
    frame = usual(version, 6)
    good = {0x02, 0x04, 0x10, 0x11, 0x12, 0x14}  # SYN, RST, ACK, FIN ACK, SYN ACK, RST ACK
    for flags in range(256):
        frame[l4(version) + 13] = flags
        expected = "forwarded" if flags & 0x17 in good else "tcp_bad_flags"
        assert reason(bytes(frame)) == expected, hex(flags)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("protocol", [6, 17])
@pytest.mark.parametrize("at", [0, 2])
def test_ports(version: int, protocol: int, at: int) -> None:
    frame = usual(version, protocol)
    frame[l4(version) + at : l4(version) + at + 2] = b"\0\0"
    assert reason(bytes(frame)) in ("port_zero", "no_service")


@pytest.mark.parametrize("version", [4, 6])
def test_udp_lengths(version: int) -> None:
    frame = usual(version, 17)
    there = LOOSE.decide(bytes(frame)).length - (l4(version) - 14)
    for length in (0, 7, 8, there, there + 1, 65535):
        frame[l4(version) + 4 : l4(version) + 6] = length.to_bytes(2, "big")
        assert reason(bytes(frame)) == ("forwarded" if 8 <= length <= there else "udp_bad_length")


OPTIONS = [
    ("01010101", True),
    ("00ffffff", True),
    ("020405b4", True),
    ("0101080a0000000100000002", True),
    ("020405b4010303070101080a0000000100000000", True),
    ("02000000", False),  # of no length
    ("02010000", False),  # shorter than kind and length
    ("01010103", False),  # cut before its length
    ("0101050a", False),  # longer than what is left
    ("020405b4010304ff", False),
]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(("options", "good"), OPTIONS)
def test_tcp_options(version: int, options: str, good: bool) -> None:
    frame = usual(version, 6)[: l4(version) + 20] + bytes.fromhex(options)
    frame[l4(version) + 12] = (5 + len(options) // 8) << 4
    frame[l4(version) + 13] = 0x10
    length = len(frame) - 14
    frame[16:18] = length.to_bytes(2, "big") if version == 4 else frame[16:18]
    if version == 6:
        frame[18:20] = (length - 40).to_bytes(2, "big")
    assert reason(bytes(frame)) == ("forwarded" if good else "tcp_bad_header")
    frame[l4(version) + 12] = 0x40  # shorter than the fixed header
    assert reason(bytes(frame)) == "tcp_bad_header"
    frame[l4(version) + 12] = 0xF0  # beyond the packet
    assert reason(bytes(frame)) == "tcp_bad_header"


def test_random_damage_is_judged_as_the_oracle_does() -> None:
    draw = random.Random(6)
    seen = set()
    for _ in range(6000):
        frame = bytearray(draw.choice(FRAMES))
        for _ in range(draw.choice((0, 1, 1, 2, 4))):
            at = draw.randrange(12, min(len(frame), 90)) if len(frame) > 13 else 0
            value = draw.choice((0, 1, 2, 4, 5, 8, 17, 127, 224, 255, draw.randrange(256)))
            frame[at : at + 1] = bytes([value])
        seen.add(reason(bytes(frame)))
    assert {"source_martian", "tcp_bad_flags", "tcp_bad_header", "udp_bad_length"} <= seen
