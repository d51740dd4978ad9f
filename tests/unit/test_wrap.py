"""Every encapsulation against the oracle's naive twin: committed vectors, and random frames and options."""

import json
import random
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from oracle import frames
from oracle.decide import Decision, decide
from oracle.model import Config, config_from_json
from oracle.wrap_cases import DIRECTORS, KINDS, draw_director, draw_service, summed
from packet_path import as_decision, path_of
from test_packet_path import mutate

VECTORS = json.loads((Path(__file__).resolve().parents[1] / "vectors/wrap.json").read_text())
CONFIGS = {item["name"]: config_from_json(item["services"]) for item in VECTORS["configs"]}
FRAMES = {name: summed(frame) for name, frame in frames.every().items() if len(frame) > 34}


@cache
def vector_path(config: str, director: str) -> Any:
    return path_of(CONFIGS[config], DIRECTORS[director])


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_frames_are_the_oracles(case: dict[str, Any]) -> None:
    config, director, _ = case["name"].split("/")
    mine = as_decision(vector_path(config, director).decide(bytes.fromhex(case["frame"])))
    assert mine == Decision(**{key: case[key] for key in vars(mine) if key in case})


def test_vectors_have_every_kind_both_ways() -> None:
    sent = {config for config, item in CONFIGS.items() if any(
        case["name"].startswith(f"{config}/") and case["verdict"] == "forward" for case in VECTORS["cases"]
    )}  # fmt: skip
    assert sent == set(CONFIGS)
    assert {service.encapsulation for config in CONFIGS.values() for service in config.services} == set(KINDS)


@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("kind", KINDS)
def test_random_frames_and_options_are_the_oracles(kind: str, number: int) -> None:
    """Of a damaged packet too: its checksums stay as wrong as they were."""
    draw = random.Random(f"wrap {kind} {number}")
    service, director = draw_service(draw, kind), draw_director(draw)
    config = Config((service,))
    path = path_of(config, director)
    every, forwarded = list(FRAMES.values()), 0
    for _ in range(500):
        frame = mutate(draw, draw.choice(every))
        mine = as_decision(path.decide(frame))
        assert mine == decide(config, director, frame), (frame.hex(), service, director)
        forwarded += mine.verdict == "forward"
    assert forwarded > 20


@pytest.mark.parametrize("kind", KINDS)
def test_the_mtu_counts_what_each_adds(kind: str) -> None:
    """The longest packet that fits is sent, and with one byte less of MTU its sender is told so."""
    draw = random.Random(f"mtu {kind}")
    for _ in range(4):
        service, director = draw_service(draw, kind), replace(draw_director(draw), mtu=0)
        for name in ("v4_full_mtu", "v6_syn"):
            sent = decide(Config((service,)), director, FRAMES[name])
            if sent.output is None:
                continue
            length = len(sent.output) // 2 - 14
            for mtu, reason in ((length, "forwarded"), (length - 1, "oversize_answered")):
                path = path_of(Config((service,)), replace(director, mtu=mtu))
                assert path.decide(FRAMES[name]).reason == reason


@pytest.mark.parametrize("kind", ["l3dsr", "nat"])
@pytest.mark.parametrize("family", [4, 6])
def test_checksums_at_their_edges_are_the_oracles(kind: str, family: int) -> None:
    """UDP: a checksum that comes to 0 is sent as ffff, since 0 says that there is none, and stays."""
    draw = random.Random(f"edges {kind} {family}")
    config, director = Config((draw_service(draw, kind, family),)), DIRECTORS["plain"]
    path = path_of(config, director)
    frame = (frames.v4 if family == 4 else frames.v6)(frames.udp(5353, 53, b"query"), frames.UDP)
    at = 14 + (20 if family == 4 else 40) + 6

    def becomes(field: int) -> int:
        whole = frame[:at] + field.to_bytes(2, "big") + frame[at + 2 :]
        found = path.decide(whole).output
        assert found is not None
        assert found.hex() == decide(config, director, whole).output
        return int.from_bytes(found[at : at + 2], "big")

    zero = (1 - becomes(1)) % 0xFFFF  # whatever was changed moves every checksum by as much
    assert becomes(zero or 0xFFFF) == 0xFFFF
    assert becomes(0) == 0
    for field in (zero + 1, zero - 1, 0xFFFF, 0xFFFE, *(draw.randrange(1, 0x10000) for _ in range(300))):
        assert becomes(field % 0x10000 or 1) != 0
