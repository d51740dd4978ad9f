"""The C library against the oracle: committed frames, frames damaged at random, GLB's reference results.

Rows and classification of the committed vectors are in test_native_vectors.py.
"""

import hashlib
import json
import random
from dataclasses import asdict
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from oracle import frames, glbfile, shared
from oracle.decide import decide
from oracle.model import Config, Director, config_from_json, director_from_glb, from_glb

import native as c_library
from glbpy import _native
from glbpy.errors import InvalidInputError

VECTORS = json.loads((Path(__file__).resolve().parents[1] / "vectors/frames.json").read_text())
CONFIGS = {item["name"]: config_from_json(item["services"]) for item in VECTORS["configs"]}
DIRECTORS = {
    item["name"]: Director(**{key: value for key, value in item.items() if key != "name"})
    for item in VECTORS["directors"]
}

needs_shared = pytest.mark.skipif(shared.VECTORS is None, reason=shared.ABSENT)


@cache
def snapshot(config: str) -> _native.Snapshot:
    return c_library.snapshot(CONFIGS[config])


def without_nothing(decision: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in decision.items() if value not in (None, [])}


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_frames_come_out_as_the_oracle_says(case: dict[str, Any]) -> None:
    config, director, _ = case["name"].split("/", 2)
    zeros = case.get("zeros", 0)
    expected = {key: value for key, value in case.items() if key not in ("name", "frame", "zeros")}
    if "output" in expected:
        expected["output"] += "00" * zeros
    path = c_library.path(snapshot(config), DIRECTORS[director])
    found = c_library.decide(path, bytes.fromhex(case["frame"]) + bytes(zeros))
    assert without_nothing(found) == expected


def test_vectors_reach_every_reason_of_the_packet_path() -> None:
    """What needs a forwarder around it is tested there."""
    elsewhere = {"no_snapshot", "no_headroom", "tx_full"}
    assert {case["reason"] for case in VECTORS["cases"]} == set(_native.REASONS) - elsewhere


def damaged(source: random.Random, frame: bytes) -> bytes:
    """Return the frame with one to three bytes changed, cut off or added; the MACs stay."""
    data = bytearray(frame[:200])
    values = (0, 1, 2, 3, 4, 5, 6, 8, 17, 43, 44, 51, 58, 59, 60, 0x45, 0x46, 0x60, 255)
    for _ in range(source.choice((1, 1, 2, 3))):
        if source.random() < 0.2 or len(data) <= 12:
            data = data[: source.randrange(len(data) + 1)]
        elif source.random() < 0.1:
            data += source.randbytes(source.randrange(16))
        else:
            data[source.randrange(12, len(data))] = source.choice((*values, source.randrange(256)))
    return bytes(data)


@pytest.mark.parametrize("config", ["ordered", "alt_glb", "every_port", "hops_8"])
@pytest.mark.parametrize("director", ["zero", "computed"])
def test_damaged_frames_are_judged_as_by_the_oracle(config: str, director: str) -> None:
    source = random.Random(f"{config} {director}")
    path = c_library.path(snapshot(config), DIRECTORS[director])
    originals = list(frames.every().values())
    for _ in range(1500):
        frame = damaged(source, source.choice(originals))
        expected = asdict(decide(CONFIGS[config], DIRECTORS[director], frame))
        assert c_library.decide(path, frame) == expected, frame.hex()


# ---- GLB's own results


@needs_shared
@pytest.mark.parametrize("name", shared.table_files())
def test_tables_are_glbs(name: str) -> None:
    reference = shared.load(f"tables/{name}")
    for table, expected in zip(reference["config"]["tables"], reference["tables"], strict=True):
        backends = [
            _native.BackendInput(f"b{n}", n, ip_address(b.address), b.state, b.health)
            for n, b in enumerate(glbfile.backends_of(table), 1)
        ]
        rows = _native.build_rows(
            backends, rows=65536, hops=2, policy="glb", seed=bytes.fromhex(table["seed"])
        )
        chains = [list(rows[at : at + 2]) for at in range(0, len(rows), 2)]
        assert hashlib.sha256(glbfile.entries_bytes(chains)).hexdigest() == expected["sha256_entries"]


@cache
def reference_config(config: str, director: str, policy: str) -> tuple[Config, _native.Snapshot]:
    reference = shared.load("packets.json")
    described = from_glb(reference["configs"][config], reference["directors"][director], policy)
    return described, c_library.snapshot(described)


def decide_reference(
    case: dict[str, str], policy: str, checksum: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the C and what the oracle make of a case of packets.json."""
    described, compiled = reference_config(case["config"], case["director"], policy)
    director = director_from_glb(shared.load("packets.json")["directors"][case["director"]], checksum)
    frame = bytes.fromhex(case["frame"])
    found = c_library.decide(c_library.path(compiled, director), frame)
    return found, asdict(decide(described, director, frame))


@needs_shared
@pytest.mark.parametrize("case", shared.packet_cases(), ids=lambda case: case["name"])
def test_packets_are_glbs(case: dict[str, Any]) -> None:
    found, oracle = decide_reference(case, "glb", "computed")
    assert found == oracle
    if case["name"] in shared.DEPARTURES:
        assert found["reason"] == shared.DEPARTURES[case["name"]][0]
        return
    if case["expected"] in ("pass", "drop"):
        assert found["verdict"] == {"pass": "punt", "drop": "drop"}[case["expected"]]
        return
    explain = case["explain"]
    assert found["output"] == shared.glb_output(case["expected"])
    assert (found["hash"], found["row"], found["chain"]) == (explain["hash"], explain["row"], explain["hops"])


@needs_shared
@pytest.mark.parametrize("checksum", ["zero", "computed"])
@pytest.mark.parametrize("case", shared.packet_cases(), ids=lambda case: case["name"])
def test_ordered_policy_judges_glbs_packets_as_the_oracle(case: dict[str, Any], checksum: str) -> None:
    found, oracle = decide_reference(case, "ordered", checksum)
    assert found == oracle


def overlaps() -> list[dict[str, Any]]:
    return shared.load("classify_overlap.json")["configs"] if shared.VECTORS else []


@needs_shared
@pytest.mark.parametrize("item", overlaps(), ids=lambda item: item["name"])
def test_of_overlapping_binds_the_most_specific_wins(item: dict[str, Any]) -> None:
    """GLB is implementation-defined here; glbpy is not, and refuses exact duplicates."""
    tables = [table | {"name": f"t{n}"} for n, table in enumerate(item["config"]["tables"])]
    config = from_glb({"tables": tables}, {}, "glb")
    if item["name"] == "same_twice":
        with pytest.raises(InvalidInputError):
            c_library.snapshot(config)
        return
    specific = {"exact_then_cidr": 0, "cidr_then_exact": 1, "exact_port_then_range": 0,
                "range_then_exact_port": 1, "cidr_port_then_exact_range": 1}[item["name"]]  # fmt: skip
    reference = shared.load("classify_overlap.json")
    path = c_library.path(c_library.snapshot(config), director_from_glb(reference["director"], "zero"))
    results = {case["what"]: c_library.decide(path, bytes.fromhex(case["frame"])) for case in item["cases"]}
    assert results["tcp 203.0.113.77:80"]["service"] == f"t{specific}"
    for case in item["cases"]:
        if case["table_dpdk"] == "pass":
            assert results[case["what"]]["verdict"] == "punt"
        else:
            assert results[case["what"]]["verdict"] == "forward"
