"""`glb table rows`: GLB's own tables, the oracle's rows in every shape, the summary, and what is refused."""

import hashlib
import json
import random
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from oracle import glb_results, glbfile, maglev
from oracle.rows import Backend, chains
from typer.testing import CliRunner, Result

from glbpy.cli.main import build
from glbpy.errors import InvalidInputError

SEED = "34567890123456783456789012345678"


def service(name: str = "www", pool: str = "web", **fields: Any) -> dict[str, Any]:
    return {
        "name": name, "vips": ["203.0.113.10"], "protocol": "tcp", "ports": [80], "pool": pool, "seed": SEED,
        **fields,
    }  # fmt: skip


def document(backends: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    return {"pools": [{"name": "web", "backends": backends}], "services": [service(**fields)]}


def pool(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"name": f"b{n}", "address": f"10.0.{n >> 8}.{n & 255}", **fields} for n in range(1, count + 1)]


def run(folder: Path, given: dict[str, Any], *words: str) -> Result:
    file = folder / "glb.json"
    file.write_text(json.dumps(given))
    return CliRunner().invoke(build(), ["table", "rows", "-f", str(file), *words])


def rows(folder: Path, given: dict[str, Any], *words: str, name: str = "www") -> dict[str, Any]:
    result = run(folder, given, "--service", name, "--json", *words)
    assert result.exit_code == 0, (result.output, result.exception)
    found: dict[str, Any] = json.loads(result.stdout)
    assert list(found) == ["backends", "rows"]
    return found


@pytest.mark.parametrize("name", glb_results.table_files())
def test_rows_are_glbs(tmp_path: Path, name: str) -> None:
    """Every table of the reference, by a document of the same backends, seed and policy."""
    reference = glb_results.load(f"tables/{name}")
    for position, table in enumerate(reference["config"]["tables"]):
        expected = reference["tables"][position]
        backends = [
            {"name": f"b{n}", "address": item["ip"], "state": item["state"]}
            for n, item in enumerate(table["backends"])
        ]
        sick = [f"web/b{n}" for n, b in enumerate(glbfile.backends_of(table)) if b.unhealthy]
        given = document(backends, policy="glb", seed=table["seed"])
        found = rows(tmp_path, given, *chain(*(("--unhealthy", name) for name in sick)))
        assert found["backends"] == [backend["name"] for backend in backends]
        packed = glbfile.entries_bytes(found["rows"])
        assert hashlib.sha256(packed).hexdigest() == expected["sha256_entries"]
        for row, first, second in expected["rows_first_64"] + expected["rows_random_64"]:
            assert found["rows"][row] == [first, second]


@pytest.mark.parametrize("seed", range(24))
def test_rows_are_the_oracles(tmp_path: Path, seed: int) -> None:
    """Algorithms, sizes, hops, weights, states and health, at random."""
    draw = random.Random(seed)
    by_maglev = seed % 3 == 0
    size = draw.choice((251, 257, 1021)) if by_maglev else draw.choice((256, 512, 1024))
    hops = draw.randrange(1, 3 if by_maglev else 5)
    span = draw.choice(((1,), (7,), (0, 1), (1, 2, 3), (1, 100, 65535)))
    states = ("active", "active", "active", "draining", "filling", "inactive")
    backends = [
        Backend(
            f"10.0.{draw.randrange(256)}.{n}",
            draw.choice(states) if seed % 2 else "active",
            draw.choice(("unknown", "unhealthy")) if seed % 4 == 0 else "unknown",
            draw.choice(span),
        )
        for n in range(draw.choice((1, 2, 3, 30)))
    ]
    given = document(
        [
            {"name": f"b{n}", "address": b.address, "state": b.state, "weight": b.weight}
            for n, b in enumerate(backends)
        ],
        algorithm="maglev" if by_maglev else "rendezvous",
        table_size=size,
        hops=hops,
    )
    # Another pool and service in the same document change nothing.
    given["pools"].insert(0, {"name": "more", "backends": pool(3)})
    given["services"].insert(0, service("other", "more", ports=[81], table_size=512))
    sick = [f"web/b{n}" for n, b in enumerate(backends) if b.unhealthy]
    found = rows(tmp_path, given, *chain(*(("--unhealthy", name) for name in sick)))
    key = bytes.fromhex(SEED)
    expected = (
        maglev.chains(key, backends, size, hops)
        if by_maglev
        else list(chains(key, backends, size, hops, "ordered"))
    )
    assert found == {"backends": [f"b{n}" for n in range(len(backends))], "rows": expected}


@pytest.mark.parametrize("bits", [8, 13, 16, 20])
def test_every_size_has_that_many_rows(tmp_path: Path, bits: int) -> None:
    found = rows(tmp_path, document(pool(3), table_size=1 << bits, hops=4))
    assert len(found["rows"]) == 1 << bits
    assert all(sorted(chain) == [0, 1, 2] for chain in found["rows"])  # no more hops than backends


def test_maglev_has_its_size_and_one_hop(tmp_path: Path) -> None:
    found = rows(tmp_path, document(pool(7), algorithm="maglev"))
    assert len(found["rows"]) == 65537
    assert {len(chain) for chain in found["rows"]} == {1}
    counts = Counter(chain[0] for chain in found["rows"])
    assert max(counts.values()) - min(counts.values()) == 1


def test_backends_without_rows_are_listed(tmp_path: Path) -> None:
    backends = pool(4)
    backends[1]["state"] = "inactive"
    backends[2]["weight"] = 0
    found = rows(tmp_path, document(backends, table_size=256))
    assert found["backends"] == ["b1", "b2", "b3", "b4"]
    assert {chain[0] for chain in found["rows"]} == {0, 3}
    assert {hop for chain in found["rows"] for hop in chain} == {0, 2, 3}
    assert rows(tmp_path, document([], table_size=256)) == {"backends": [], "rows": [[]] * 256}


def test_rows_are_those_of_the_compiled_snapshot(tmp_path: Path) -> None:
    """Without a seed, too, where the rows depend on the secret and the name of the pool."""
    from glbpy import _native

    given = {**document(pool(5), seed=None, table_size=1024), "secret": "ab" * 16}
    found = rows(tmp_path, given)
    target = tmp_path / "snapshot.glb"
    result = CliRunner().invoke(build(), ["compile", "-f", str(tmp_path / "glb.json"), "-o", str(target)])
    assert result.exit_code == 0, result.output
    snapshot = _native.Snapshot.open(target.read_bytes())
    for row, hops in enumerate(found["rows"]):
        assert [found["backends"][hop] for hop in hops] == [b.name for b in snapshot.row(0, row)]
    assert rows(tmp_path, {**given, "secret": "cd" * 16}) != found


def test_the_summary_has_shares_and_evenness(tmp_path: Path) -> None:
    backends = pool(3)
    backends[0]["weight"] = 2
    result = run(tmp_path, document(backends, algorithm="maglev"), "--service", "www", "--show", "1")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "service www, pool web: maglev, 65537 rows"
    assert lines[2].split() == [
        "b1", "10.0.0.1", "active", "unknown", "2", "32769", "50.00%", "32769"
    ]  # fmt: skip
    assert lines[5] == "shares are from 1.000 to 1.000 times what the weights entitle to"
    assert [line.split()[:2] for line in lines[6:]] == [["row", "0:"]]


@pytest.mark.parametrize(
    ("change", "words", "said"),
    [
        ({}, ["--service", "wwww"], "--service wwww: there is no such service; there are: www"),
        ({}, ["--service", "www", "--unhealthy", "web"], "write POOL/BACKEND"),
        ({"table_size": 1000}, ["--service", "www"], "/services/0/table_size: must be a power of two"),
        ({"algorithm": "maglev", "table_size": 65536}, ["--service", "www"], "65537 is the nearest"),
        ({"pool": "none"}, ["--service", "www"], "/services/0/pool: there is no pool none"),
    ],
)
def test_wrong_input_is_refused(tmp_path: Path, change: dict[str, Any], words: list[str], said: str) -> None:
    result = run(tmp_path, document(pool(2), **change), "--json", *words)
    assert isinstance(result.exception, InvalidInputError)
    assert result.exception.exit_code == 2
    assert said in str(result.exception)
    assert result.stdout == ""


def test_a_missing_option_is_a_usage_error(tmp_path: Path) -> None:
    assert run(tmp_path, document(pool(2))).exit_code == 2
