"""The C library against GLB's reference results beyond test_packet_path.py: tables, overlapping binds."""

import hashlib
import json
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from oracle import glb_results, glbfile
from oracle.decide import decide
from oracle.model import Config, Director, director_from_glb, from_glb
from packet_path import as_decision, backend_input, path_of

from glbpy import _native as native
from glbpy.errors import InvalidInputError

VECTORS = json.loads((Path(__file__).resolve().parents[1] / "vectors/frames.json").read_text())


def test_vectors_reach_every_reason_of_the_packet_path() -> None:
    """What needs a forwarder around it is tested there."""
    elsewhere = {
        "unmatched_dropped", "unmatched_rejected", "reject_limited",  # test_match.py
        "no_snapshot", "no_headroom", "tx_full", "no_next_hop", "not_on_link", "muted",
        "echo_answered", "echo_limited", "steer_ring_full", "tx_ring_full", "punt_limited", "punt_full",
        "traced", "oversize_limited", "oversize_fragmented", "no_buffer",  # test_oversize.py
        "outer_too_big", "outer_too_big_ignored",  # test_path_mtu.c, dataplane/test_path_mtus.py
        "packets_limited", "flows_limited",  # test_guard.c, dataplane/test_limits.py
        "blocked", "not_allowed",  # test_guard.c, dataplane/test_source_lists_live.py
        # dataplane/test_fragments.py
        "fragment_tiny", "fragment_bad_length", "fragment_endless", "fragment_overlap", "fragment_timeout",
        "fragment_no_room",
        # test_path_peers.c, dataplane/test_fragment_peers.py
        "fragment_redirected", "fragment_from_peer", "fragment_peer_too_long", "fragment_peer_unknown",
        "fragment_peer_bad",
        # test_strict.py
        "source_martian", "source_is_vip", "port_zero", "tcp_bad_flags", "tcp_bad_header", "udp_bad_length",
    }  # fmt: skip
    assert {case["reason"] for case in VECTORS["cases"]} == set(native.REASONS) - elsewhere


@pytest.mark.parametrize("name", glb_results.table_files())
def test_tables_are_glbs(name: str) -> None:
    reference = glb_results.load(f"tables/{name}")
    for table, expected in zip(reference["config"]["tables"], reference["tables"], strict=True):
        backends = [backend_input(backend, n) for n, backend in enumerate(glbfile.backends_of(table), 1)]
        seed = bytes.fromhex(table["seed"])
        rows = native.build_rows(backends, rows=65536, hops=2, policy="glb", seed=seed)
        chains = [list(rows[at : at + 2]) for at in range(0, len(rows), 2)]
        assert hashlib.sha256(glbfile.entries_bytes(chains)).hexdigest() == expected["sha256_entries"]


@cache
def ordered(config: str, director: str, checksum: str) -> tuple[Config, Director, native.PacketPath]:
    reference = glb_results.load("packets.json")
    settings = reference["directors"][director]
    described = from_glb(reference["configs"][config], settings, "ordered")
    own = director_from_glb(settings, checksum)
    return described, own, path_of(described, own)


@pytest.mark.parametrize("checksum", ["zero", "computed"])
@pytest.mark.parametrize("case", glb_results.packet_cases(), ids=lambda case: case["name"])
def test_ordered_policy_takes_glbs_packets_as_the_oracle(case: dict[str, Any], checksum: str) -> None:
    described, director, path = ordered(case["config"], case["director"], checksum)
    frame = bytes.fromhex(case["frame"])
    assert asdict(as_decision(path.decide(frame))) == asdict(decide(described, director, frame))


def overlaps() -> list[dict[str, Any]]:
    return glb_results.load("classify_overlap.json")["configs"]


# GLB is implementation-defined here, glbpy is not: the table with the most specific bind of 203.0.113.77:80.
SPECIFIC = {
    "exact_then_cidr": 0,
    "cidr_then_exact": 1,
    "exact_port_then_range": 0,
    "range_then_exact_port": 1,
    "cidr_port_then_exact_range": 1,
}


@pytest.mark.parametrize("item", overlaps(), ids=lambda item: item["name"])
def test_of_overlapping_binds_the_most_specific_wins(item: dict[str, Any]) -> None:
    tables = [table | {"name": f"t{n}"} for n, table in enumerate(item["config"]["tables"])]
    config = from_glb({"tables": tables}, {}, "glb")
    director = director_from_glb(glb_results.load("classify_overlap.json")["director"], "zero")
    if item["name"] not in SPECIFIC:
        with pytest.raises(InvalidInputError):
            path_of(config, director)
        return
    path = path_of(config, director)
    found = {case["what"]: path.decide(bytes.fromhex(case["frame"])) for case in item["cases"]}
    service = found["tcp 203.0.113.77:80"].service
    assert service is not None
    assert service.name == f"t{SPECIFIC[item['name']]}"
    for case in item["cases"]:
        assert found[case["what"]].verdict == ("punt" if case["table_dpdk"] == "pass" else "forward")
