"""Backends leave rows, or flows get other rows, under real connections that must not notice."""

from typing import Any

import pytest

from glbpy.client import path_of
from glbpy.lab.lab import POOL, Lab, document
from glbpy.lab.traffic import Client
from tests.lab.stayers import Stayers
from tests.lab.test_changes import new_connections


def apply(lab: Lab, **fields: Any) -> list[Any]:
    """Give the lab's service these fields instead of its own; return the report, once that is in force."""
    whole = document(lab.backends())
    whole["services"][0] |= fields
    with lab.api() as api:
        written = api.post(path_of("apply"), whole)
        lab.wait_in_force(api, written["revision"])
    return list(written["leavers"])


def test_a_backend_is_removed_at_once_and_added_again(lab: Lab, client: Client) -> None:
    apply(lab)
    one, *others = lab.state().backends
    path = path_of("pools", POOL, "backends", one)
    with Stayers(client) as stayers, lab.api() as api:
        assert stayers.on(one) > 20
        before = sum(lab.second_chances().values())
        assert api.delete(path)["leavers"] == []
        lab.wait_in_force(api)
        stayers.exercise()
        assert new_connections(client) == set(others)
        assert sum(lab.second_chances().values()) > before + stayers.on(one)
        with Stayers(client) as later:  # on the others, in rows that will be its own again
            assert later.on(one) == 0
            again = {"name": one, "address": lab.backend(one).address4}
            api.request("PUT", path, again, {"If-None-Match": "*"})
            lab.wait_filled(api)
            assert new_connections(client) == {one, *others}
            later.exercise()
            later.finish()
        stayers.exercise()
        stayers.finish()


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"hash_fields": ["src_addr", "src_port"]}, id="hash fields"),
        pytest.param({"hash_key": "5a" * 16, "table_size": 1024}, id="hash key and table size"),
        pytest.param({"algorithm": "maglev", "hops": 2}, id="algorithm"),
    ],
)
def test_flows_get_other_rows(lab: Lab, client: Client, fields: dict[str, Any]) -> None:
    apply(lab, settle_seconds=0)  # forget what the test before has left: directors look up one former row
    apply(lab)
    with Stayers(client) as stayers:
        before = sum(lab.second_chances().values())
        assert apply(lab, **fields) == []
        stayers.exercise()
        assert sum(lab.second_chances().values()) > before  # they are found by their former rows
        with Stayers(client) as later:
            assert apply(lab) == []
            later.exercise()
            later.finish()
        stayers.exercise()
        stayers.finish()
