"""The oracle against published SipHash vectors and GLB's reference results."""

from __future__ import annotations

import hashlib
import random
from array import array

import pytest

from oracle import glb_results, glbfile, rows
from oracle.decide import Decision, decide
from oracle.model import director_from_glb, from_glb
from oracle.siphash import pack, siphash24, siphash24_lanes, words

KEY = bytes(range(16))
PUBLISHED = {  # message 00 01 02 … of this length, key 00 … 0f: the paper's and its reference code's
    0: 0x726FDB47DD0E0E31, 1: 0x74F839C593DC67FD, 2: 0x0D6C8009D9A94F5A, 3: 0x85676696D7FB7E2D,
    4: 0xCF2794E0277187B7, 7: 0xAB0200F58B01D137, 8: 0x93F5F5799A932462, 15: 0xA129CA6149BE45E5,
    63: 0x958A324CEB064572,
}  # fmt: skip


@pytest.mark.parametrize(("length", "digest"), PUBLISHED.items())
def test_siphash_gives_the_published_results(length: int, digest: int) -> None:
    assert siphash24(KEY, bytes(range(length))) == digest


def test_siphash_in_lanes_equals_one_at_a_time() -> None:
    draw = random.Random(1)
    messages = [draw.randbytes(13) for _ in range(50)]
    columns = [pack(column) for column in zip(*map(words, messages), strict=True)]
    assert siphash24_lanes(KEY, columns, 50) == array("Q", (siphash24(KEY, message) for message in messages))


def test_the_two_smallest_are_found_as_by_sorting() -> None:
    for scores in ([3, 1, 2], [1, 1, 1], [5, 5, 0, 0], [2, 1]):
        assert rows.smallest(scores, 2) == rows.smallest(scores, len(scores))[:2]


@pytest.mark.parametrize("name", glb_results.table_files())
def test_tables_are_glbs(name: str) -> None:
    """Whole files up to 16 backends; for larger pools the 128 sampled rows (the C is checked in full)."""
    reference = glb_results.load(f"tables/{name}")
    tables = reference["config"]["tables"]
    if max(len(table["backends"]) for table in tables) <= 16:
        entries = [glbfile.entries(table) for table in tables]
        for mine, table in zip(entries, reference["tables"], strict=True):
            assert hashlib.sha256(glbfile.entries_bytes(mine)).hexdigest() == table["sha256_entries"]
        data = glbfile.file_bytes(reference["config"], entries)
        assert hashlib.sha256(data).hexdigest() == reference["sha256_file"]
        return
    for table, expected in zip(tables, reference["tables"], strict=True):
        backends, seed = glbfile.backends_of(table), bytes.fromhex(table["seed"])
        first = list(rows.chains(seed, backends, 64, 2, "glb"))
        assert [[row, *chain] for row, chain in enumerate(first)] == expected["rows_first_64"]
        for row, *chain in expected["rows_random_64"]:
            assert [*rows.chains(seed, backends, 1, 2, "glb", first=row)] == [chain]


def decide_case(case: dict[str, str], checksum: str) -> Decision:
    reference = glb_results.load("packets.json")
    director = reference["directors"][case["director"]]
    config = from_glb(reference["configs"][case["config"]], director, "glb")
    return decide(config, director_from_glb(director, checksum), bytes.fromhex(case["frame"]))


@pytest.mark.parametrize("case", glb_results.packet_cases(), ids=lambda case: case["name"])
def test_packets_are_glbs(case: dict[str, str]) -> None:
    mine = decide_case(case, "computed")
    if case["name"] in glb_results.DEPARTURES:
        assert mine.reason == glb_results.DEPARTURES[case["name"]][0]
        return
    if case["expected"] in ("pass", "drop"):
        assert mine.verdict == {"pass": "punt", "drop": "drop"}[case["expected"]]
        return
    assert mine.output == glb_results.glb_output(case["expected"])
    explain = case["explain"]
    assert (mine.hash, mine.row, mine.chain) == (explain["hash"], explain["row"], explain["hops"])


BOTH_FORWARD = [
    case
    for case in glb_results.packet_cases()
    if case["name"] not in glb_results.DEPARTURES
    and min(len(case["expected"]), len(case["expected_xdp"])) > 8
]


@pytest.mark.parametrize("case", BOTH_FORWARD, ids=lambda case: case["name"])
def test_zero_checksum_is_glbs_on_xdp(case: dict[str, str]) -> None:
    """The XDP director's frames but for the source MAC."""
    mine = decide_case(case, "zero")
    theirs = glb_results.glb_output(case["expected_xdp"])
    assert mine.output is not None
    assert (mine.output[:12], mine.output[24:]) == (theirs[:12], theirs[24:])


def test_departures_name_real_cases() -> None:
    assert set(glb_results.DEPARTURES) <= {case["name"] for case in glb_results.packet_cases()}
