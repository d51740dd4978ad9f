"""A drain says which flows it moves at once: those that neither second chance nor a flow cache keeps."""

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from glbpy import draining
from glbpy.compiler import NativeCompiler
from glbpy.controller import Controller
from glbpy.models import Document, parse
from glbpy.store import Store

BACKENDS = [{"name": f"dns{n}", "address": f"10.0.0.1{n}"} for n in (1, 2, 3)]


def document(states: dict[str, str] | None = None, **fields: Any) -> Document:
    service = {"name": "dns", "vips": ["203.0.113.10"], "protocol": "udp", "ports": [53], "pool": "dns"}
    backends = [{**b, "state": (states or {}).get(b["name"], "active")} for b in BACKENDS]
    return parse(Document, {"pools": [{"name": "dns", "backends": backends}], "services": [service | fields]})


def said(**fields: Any) -> list[str]:
    return list(draining.remarks(document(**fields), document({"dns2": "draining"}, **fields)))


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({}, "all flows (there is no second chance for UDP) on dns/dns2 move to other backends"),
        ({"protocol": "any"}, "all flows that are not TCP (there is no second chance for them) on dns/dns2"),
        ({"protocol": "tcp", "encapsulation": "gre"}, "all flows (second chance is off with gre) on dns/"),
        ({"encapsulation": "ipip"}, "all flows (second chance is off with ipip) on dns/dns2"),
    ],
)
def test_flows_that_nothing_holds_are_named(fields: dict[str, Any], what: str) -> None:
    (text,) = said(**fields)
    assert text.startswith(f"service dns: {what}")
    assert "flow_cache: on" in text


@pytest.mark.parametrize(
    "fields",
    [
        {"flow_cache": "on"},
        {"protocol": "tcp"},
        {"encapsulation": "gre", "flow_cache": "on"},
        {"quic": True},
        {"quic": True, "encapsulation": "gre"},
    ],
)
def test_flows_that_are_held_are_not(fields: dict[str, Any]) -> None:
    assert said(**fields) == []


@pytest.mark.parametrize(
    ("fields", "warned"),
    [({}, True), ({"hops": 3}, False), ({"flow_cache": "on"}, False), ({"settle_seconds": 0}, False)],
)
def test_more_drains_than_chains_have_room_for(fields: dict[str, Any], warned: bool) -> None:
    """Settling holds them for its time. Without it such a drain is refused: nothing to warn of."""
    one, two = {"dns1": "draining"}, {"dns1": "draining", "dns2": "draining"}
    before, after = (document(states, protocol="tcp", **fields) for states in (one, two))
    found = list(draining.remarks(before, after))
    assert bool(found) == warned
    assert list(draining.remarks(after, after)) == []
    if found:
        assert "2 backends of pool dns drain, and chains have 2 hops of their own" in found[0]


def test_only_a_drain_that_begins_is_spoken_of() -> None:
    before, drained = document({"dns2": "draining"}), document({"dns2": "draining", "dns3": "draining"})
    (text,) = draining.remarks(before, drained)
    assert "dns/dns3" in text
    assert "dns/dns2" not in text
    assert list(draining.remarks(drained, before)) == []
    assert list(draining.remarks(document({"dns2": "inactive"}), before)) == []


def test_the_answer_to_a_drain_has_it(tmp_path: Path) -> None:
    async def drains() -> list[tuple[str, ...]]:
        with closing(Store(tmp_path / "store.db")) as store:
            async with Controller(store, NativeCompiler(), []).run() as controller:
                await controller.apply(document())
                return [(await controller.drain("dns", "dns1")).warnings for _ in range(2)]

    first, again = asyncio.run(drains())
    assert any("on dns/dns1 move to other backends at once" in warning for warning in first)
    assert again == ()


def test_the_answer_to_a_drain_of_quic_servers_warns_of_nothing(tmp_path: Path) -> None:
    """Neither of flows that move, nor of backends that leave rows: connection ids lead to them."""

    async def drain() -> tuple[str, ...]:
        with closing(Store(tmp_path / "store.db")) as store:
            async with Controller(store, NativeCompiler(), []).run() as controller:
                await controller.apply(document(quic=True))
                return (await controller.drain("dns", "dns1")).warnings

    assert asyncio.run(drain()) == ()
