"""Two directors of one controller: what is new fills until both have it; then either may get the packets."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from glbpy.client import Client as Api
from glbpy.client import path_of
from glbpy.lab import netns
from glbpy.lab.lab import POOL, Lab
from glbpy.lab.traffic import Client
from tests.lab.stayers import Stayers
from tests.lab.test_changes import new_connections


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def state(api: Api, name: str) -> str:
    return str(api.get(path_of("pools", POOL, "backends", name))["spec"]["state"])


def in_force(api: Api, instance: str) -> bool:
    return bool(api.get(path_of("directors", instance))["status"]["in_force"])


def test_a_backend_fills_until_both_directors_have_it(lab: Lab, client: Client) -> None:
    one, two, new = lab.backends()
    first, second = lab.directors()
    lab.route([first.name])
    path = path_of("pools", POOL, "backends", new.name)
    with lab.api() as api:
        written = api.delete(path)
        lab.wait_in_force(api, written["revision"])
        assert new_connections(client) == {one.name, two.name}
        with Stayers(client) as stayers:
            with stopped(lab.forwarder(second.name).status().pid):
                body = {"name": new.name, "address": new.address4}
                api.request("PUT", path, body, {"If-None-Match": "*"})
                netns.wait_until(lambda: in_force(api, first.instance), "the first director to follow")
                stayers.exercise()
                assert new_connections(client) == {one.name, two.name}
                assert state(api, new.name) == "filling"
                assert not in_force(api, second.instance)
            lab.wait_filled(api, 20)
            assert state(api, new.name) == "active"
            assert new_connections(client) == {one.name, two.name, new.name}
            with Stayers(client) as later:
                assert later.on(new.name) > 20
                lab.route([second.name])
                later.exercise()
                stayers.exercise()
                assert new_connections(client) == {one.name, two.name, new.name}
                later.finish()
            stayers.finish()
    assert lab.forwarder(second.name).status().counters["forwarded"] > 100


def test_the_router_spreads_flows_over_both(lab: Lab, client: Client) -> None:
    before = [each.status().counters["forwarded"] for each in lab.forwarders()]
    with Stayers(client) as stayers:
        stayers.exercise()
        stayers.finish()
    after = [each.status().counters["forwarded"] for each in lab.forwarders()]
    assert all(now - then > 200 for now, then in zip(after, before, strict=True))
    with lab.api() as api:
        statuses = [each["status"] for each in api.items(path_of("directors"))]
    assert [each["name"] for each in statuses] == [each.instance for each in lab.directors()]
    assert len({each["digest"] for each in statuses}) == 1
