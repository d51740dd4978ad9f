"""What the flow cache keeps, with real clients and real servers.

Two services without second chance, alike but for the flow cache, each with half of the connections: those of
the one must not notice what breaks connections of the other.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from glbpy.client import path_of
from glbpy.lab import netns, redirect
from glbpy.lab.lab import POOL, Lab, document
from glbpy.lab.topology import VIP4, VIP6
from glbpy.lab.traffic import Client
from tests.lab.conftest import DIRECTORS
from tests.lab.stayers import Stayer, Stayers

FORGETFUL: dict[str, dict[str, Any]] = {
    "gue": {"hops": 1, "settle_seconds": 0},
    "gre": {"encapsulation": "gre", "settle_seconds": 0},
}


@pytest.fixture(scope="module")
def shared_lab(lab_name: Callable[[str], str]) -> Iterator[Lab]:
    """A lab of its own. What breaks here leaves backends with halves of connections; in a lab of others, a
    connection from the same port would get lost in one of them, if its chain went by that backend first."""
    lab = Lab(lab_name("flows"))
    lab.down()  # of a run that was killed
    lab.up(directors=DIRECTORS)
    yield lab
    lab.down()


def apply(lab: Lab, remembered: str, weights: tuple[int, ...] = (1, 1, 1), **fields: Any) -> None:
    """Make services of these fields, the one at `remembered` with a flow cache; wait until it is in force."""
    whole = document(lab.backends())
    for backend, weight in zip(whole["pools"][0]["backends"], weights, strict=True):
        backend["weight"] = weight
    (www,) = whole["services"]
    whole["services"] = [
        www | fields | {"name": name, "vips": [vip], "flow_cache": "on" if vip == remembered else "off"}
        for name, vip in (("www", VIP4), ("www6", VIP6))
    ]
    with lab.api() as api:
        lab.wait_in_force(api, api.post(path_of("apply"), whole, prune="true")["revision"])


def flows(lab: Lab) -> dict[str, int]:
    """Counters of the flow caches of all workers of all directors."""
    workers = [worker for forwarder in lab.forwarders() for worker in forwarder.status().workers]
    caches = [each.flows.model_dump() for each in workers if each.flows is not None]
    return {name: sum(cache[name] for cache in caches) for name in caches[0]}


@pytest.fixture
def bare_gre(lab: Lab) -> Iterator[Lab]:
    """The lab, with backends that take GRE, too; without the second service in the end."""
    for each in lab.backends():
        redirect.detach(each, lab.path)
        allowed = [one.address4 for one in lab.directors()]
        redirect.tool(each, lab.path, "attach", "eth0", "--allow", *allowed, "--decap", "gre")
    yield lab
    for each in lab.backends():
        redirect.detach(each, lab.path)
        redirect.attach(each, lab.path, lab.backends(), lab.directors())
    with lab.api() as api:
        lab.wait_in_force(api, api.post(path_of("apply"), document(lab.backends()), prune="true")["revision"])


def use(stayers: list[Stayer]) -> None:
    """Return when each that is not idle has been answered once more, or has broken."""
    before = [each.steps for each in stayers]
    netns.wait_until(
        lambda: all(
            each.error or each.kind == "idle" or each.steps >= steps + 2
            for each, steps in zip(stayers, before, strict=True)
        ),
        "every connection to be used",
        20,
    )


@pytest.mark.parametrize(("kind", "remembered"), [("gue", VIP4), ("gre", VIP6)])
def test_connections_without_second_chance_stay(
    bare_gre: Lab, client: Client, kind: str, remembered: str
) -> None:
    lab, fields = bare_gre, FORGETFUL[kind]
    one, two, _ = lab.state().backends
    apply(lab, remembered, **fields)
    before = flows(lab)
    with Stayers(client) as stayers:
        kept = [each for each in stayers.all if each.vip == remembered]
        others = [each for each in stayers.all if each.vip != remembered and each.kind != "idle"]

        def stay() -> None:
            use(stayers.all)
            assert [str(each) for each in kept if each.error] == []

        assert all(sum(each.backend == name for each in kept) > 10 for name in lab.state().backends)
        lab.drain(one)
        stay()
        assert {each.backend for each in others if each.error} == {one}
        assert not [str(each) for each in others if each.backend == one and not each.error]
        lab.drain(one, undrain=True)
        stay()
        apply(lab, remembered, (1, 0, 5), **fields)
        stay()
        assert not [str(each) for each in others if each.backend == two and not each.error]
        apply(lab, remembered, **fields | {"hash_fields": ["src_addr", "src_port"], "table_size": 1024})
        stay()
        stayers.stop.set()
        for running in stayers.running:
            running.result(30)
        assert [str(each) for each in kept if each.error] == []
        after = flows(lab)
    assert after["established"] - before["established"] >= len(kept)
    assert after["hits"] - before["hits"] > 10 * len(kept)
    assert after["gone"] == before["gone"]


def test_connections_of_a_removed_backend_stay_while_they_settle(lab: Lab, client: Client) -> None:
    one, *others = lab.state().backends
    whole = document(lab.backends())
    whole["services"][0]["flow_cache"] = "on"
    with lab.api() as api:
        lab.wait_in_force(api, api.post(path_of("apply"), whole)["revision"])
        with Stayers(client) as stayers:
            assert stayers.on(one) > 20
            lab.drain(one)
            api.delete(path_of("pools", POOL, "backends", one))
            lab.wait_in_force(api)
            stayers.exercise()
            assert {each["name"] for each in api.items(path_of("pools", POOL, "backends"))} == set(others)
            stayers.finish()
