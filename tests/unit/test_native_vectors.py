"""The C library against the oracle's vectors: rows of both policies, classification of overlapping binds."""

import hashlib
import ipaddress
import json
from pathlib import Path
from typing import Any

import pytest

from glbpy import _native as native

VECTORS = Path(__file__).resolve().parents[1] / "vectors"


def cases(name: str) -> list[Any]:
    vectors = json.loads((VECTORS / f"{name}.json").read_text())
    return [pytest.param(case, id=case["name"]) for case in vectors]


@pytest.mark.parametrize("case", cases("rows"))
def test_rows_equal_the_oracle(case: dict[str, Any]) -> None:
    backends = tuple(
        native.BackendInput(f"b{i}", i + 1, ipaddress.ip_address(address), *rest)
        for i, (address, *rest) in enumerate(case["backends"])
    )
    hops = case["hops"]
    rows = native.build_rows(
        backends, rows=case["rows"], hops=hops, policy=case["policy"], seed=bytes.fromhex(case["seed"])
    )
    chains = [
        [hop for hop in rows[at : at + hops] if hop != native.HOP_NONE] for at in range(0, len(rows), hops)
    ]
    assert chains[: len(case["first"])] == case["first"]
    assert hashlib.sha256(rows.tobytes()).hexdigest() == case["sha256"]


def compiled(services: list[dict[str, Any]]) -> native.Snapshot:
    return native.Snapshot(native.compile_snapshot(native.ConfigInput(
        pools=(native.PoolInput("pool", ()),),
        services=tuple(
            native.ServiceInput(
                service["name"], service["id"], 0, bytes(16), bytes(16), rows=256,
                binds=tuple(
                    native.BindInput(ipaddress.ip_network(prefix), protocol, first, last)
                    for prefix, protocol, first, last in service["binds"]
                ),
            )
            for service in services
        ),
    )))  # fmt: skip


@pytest.mark.parametrize("case", cases("classify"))
def test_classification_equals_the_oracle(case: dict[str, Any]) -> None:
    snapshot = compiled(case["services"])
    for address, protocol, port, name in case["queries"]:
        found = snapshot.find(ipaddress.ip_address(address), protocol, port)
        assert (found and found.name) == name, (address, protocol, port)
    for address, name in case["echo"]:
        found = snapshot.find_echo(ipaddress.ip_address(address))
        assert (found and found.name) == name, address
