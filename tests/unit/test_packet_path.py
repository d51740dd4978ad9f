"""The packet path in C against the oracle: its vectors, GLB's reference packets, and random frames."""

import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from oracle import glb_results
from oracle.decide import Decision, decide
from oracle.model import Bind, Config, Director, Service, config_from_json, director_from_glb, from_glb
from oracle.rows import Backend
from packet_path import as_decision, path_of

from glbpy import _native as native
from glbpy.errors import InvalidInputError

VECTORS = json.loads((Path(__file__).resolve().parents[1] / "vectors/frames.json").read_text())


# ---- the repository's own vectors ----


CONFIGS = {item["name"]: config_from_json(item["services"]) for item in VECTORS["configs"]}
DIRECTORS = {
    item["name"]: Director(**{key: value for key, value in item.items() if key != "name"})
    for item in VECTORS["directors"]
}


@cache
def vector_path(config: str, director: str) -> native.PacketPath:
    return path_of(CONFIGS[config], DIRECTORS[director])


def frame_of(case: dict[str, Any]) -> bytes:
    """Return a vector's frame, whose zeros at the end are only counted."""
    return bytes.fromhex(case["frame"]) + bytes(case.get("zeros", 0))


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_frames_are_the_oracles(case: dict[str, Any]) -> None:
    config, director, _ = case["name"].split("/")
    mine = as_decision(vector_path(config, director).decide(frame_of(case)))
    expected = Decision(**{key: case[key] for key in vars(mine) if key in case})
    if expected.output is not None:
        expected.output += "00" * case.get("zeros", 0)
    assert mine == expected


# ---- random frames ----


def mutate(draw: random.Random, frame: bytes) -> bytes:
    """Return the frame with a few bytes changed behind the MAC addresses, or cut, or with bytes added."""
    data = bytearray(frame)
    for _ in range(draw.choice((0, 1, 1, 2, 3))):
        if len(data) > 12:
            value = draw.choice((0, 1, 4, 6, 17, 44, 60, 255, draw.randrange(256)))
            data[draw.randrange(12, min(len(data), 120))] = value
    match draw.randrange(6):
        case 0:
            del data[draw.randrange(len(data) + 1) :]
        case 1:
            data += draw.randbytes(draw.randrange(20))
    return bytes(data)


@pytest.mark.parametrize(
    ("config", "director"), [("alt_ordered", "zero"), ("every_port", "zero"), ("alt_glb", "computed")]
)
def test_random_frames_are_the_oracles(config: str, director: str) -> None:
    draw = random.Random(f"{config}/{director}")
    frames = [bytes.fromhex(case["frame"]) for case in VECTORS["cases"] if len(case["frame"]) < 400]
    path = vector_path(config, director)
    reasons = set()
    for _ in range(3000):
        frame = mutate(draw, draw.choice(frames))
        mine = as_decision(path.decide(frame))
        assert mine == decide(CONFIGS[config], DIRECTORS[director], frame), frame.hex()
        reasons.add(mine.reason)
    assert len(reasons) > 12  # else the mutations all end in the same place


# ---- GLB's reference packets ----


@pytest.mark.parametrize("case", glb_results.packet_cases(), ids=lambda case: case["name"])
def test_packets_are_glbs(case: dict[str, Any]) -> None:
    """Every case bit for bit, up to the outer IP total length, but for the departures that are listed."""
    mine = as_decision(glb_path(case["config"], case["director"]).decide(bytes.fromhex(case["frame"])))
    if case["name"] in glb_results.DEPARTURES:
        assert mine.reason == glb_results.DEPARTURES[case["name"]][0]
        return
    if case["expected"] in ("pass", "drop"):
        assert (mine.verdict, mine.output) == ({"pass": "punt", "drop": "drop"}[case["expected"]], None)
        return
    assert mine.output == glb_results.glb_output(case["expected"])
    explain = case["explain"]
    assert (mine.hash, mine.row, mine.chain) == (explain["hash"], explain["row"], explain["hops"])


@cache
def glb_path(config: str, director: str) -> native.PacketPath:
    reference = glb_results.load("packets.json")
    settings = reference["directors"][director]
    return path_of(
        from_glb(reference["configs"][config], settings, "glb"), director_from_glb(settings, "computed")
    )


# ---- what is refused ----


def test_a_backend_that_only_ipv6_reaches_is_refused() -> None:
    bind = Bind.of("203.0.113.1/32", "tcp", 80, 80)
    service = Service("www", 1, (bind,), (Backend("2001:db8::1"),), bytes(16), bytes(16))
    with pytest.raises(InvalidInputError, match=r"service www: a backend .* no outer_source_v6"):
        path_of(Config((service,)), DIRECTORS["zero"])
