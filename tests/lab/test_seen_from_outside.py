"""Health checks through the tunnel find a glb-redirect that does not work in front of a healthy nginx."""

from collections.abc import Iterator

import httpx
import pytest

from glbpy.client import path_of
from glbpy.lab import netns, redirect
from glbpy.lab.lab import DETECTION_S, POOL, Lab, document
from glbpy.lab.topology import PORT, VIP4, VIP6, Backend
from glbpy.lab.traffic import Client
from tests.lab.conftest import wait_healthy
from tests.lab.test_changes import new_connections


@pytest.fixture
def backend(lab: Lab) -> Iterator[Backend]:
    """One of three that are checked through the tunnel."""
    whole = document(lab.backends())
    whole["pools"][0]["health_check"]["via"] = "tunnel"
    with lab.api() as api:
        lab.wait_in_force(api, api.post(path_of("apply"), whole)["revision"])
    before = {each.name: handshakes(lab, each) for each in lab.backends()}
    netns.wait_until(
        lambda: all(handshakes(lab, each) >= before[each.name] + 4 for each in lab.backends()),
        "two checks of two VIPs each",
    )
    wait_healthy(lab)
    yield lab.backend("backend2")
    with lab.api() as api:
        api.post(path_of("apply"), document(lab.backends()))


def handshakes(lab: Lab, backend: Backend) -> int:
    return redirect.counters(backend, lab.path)["local_syn"]


def names(lab: Lab) -> list[str]:
    return lab.state().backends


def detail(lab: Lab, name: str) -> str:
    with lab.api() as api:
        status = api.get(path_of("pools", POOL, "backends", name))["status"]
    return f"{status['health']}: {status['detail']}"


def wait_found(lab: Lab, name: str, *words: str) -> None:
    """Return when `name`, and no other, is unhealthy for a reason with these words."""
    netns.wait_until(
        lambda: detail(lab, name).startswith("unhealthy"), f"{name} to be found", DETECTION_S + 5
    )
    said = detail(lab, name)
    assert all(word in said for word in ("status 200, but through the tunnel", *words)), said
    with lab.api() as api:
        assert [each for each, health in lab.health(api).items() if health != "healthy"] == [name]
        lab.wait_in_force(api)


def test_a_detached_redirect_is_found(lab: Lab, client: Client, backend: Backend) -> None:
    netns.sysctl(backend.ns, {"ipv4/icmp_ratelimit": 0})  # or whatever came before may have used it up
    redirect.detach(backend, lab.path)
    try:
        wait_found(lab, backend.name, "nothing takes GUE there; is glb-redirect attached?")
        with netns.entered(lab.state().namespaces.router):
            answer = httpx.get(f"http://{backend.address4}:{PORT}/healthz", trust_env=False)
        assert answer.text == "ok\n"
        assert new_connections(client) == set(names(lab)) - {backend.name}
    finally:
        redirect.attach(backend, lab.path, lab.backends(), lab.directors())
        netns.sysctl(backend.ns, {"ipv4/icmp_ratelimit": 1000})
    wait_healthy(lab)
    assert new_connections(client) == set(names(lab))


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_a_vip_that_is_not_there_is_found(lab: Lab, client: Client, backend: Backend, vip: str) -> None:
    netns.ip(backend.ns, [f"addr del {vip} dev lo"])
    try:
        wait_found(lab, backend.name, f"[{vip}]:80" if ":" in vip else f"{vip}:80", "did not answer")
        assert new_connections(client) == set(names(lab)) - {backend.name}
    finally:
        netns.ip(backend.ns, [f"addr add {vip} dev lo{' nodad' if ':' in vip else ''}"])
    wait_healthy(lab)


def test_an_allow_list_without_this_director_is_found(lab: Lab, client: Client, backend: Backend) -> None:
    first = lab.directors()[0]
    redirect.tool(backend, lab.path, "allow", "remove", first.address4)
    try:
        wait_found(lab, backend.name, "did not answer")
    finally:
        redirect.tool(backend, lab.path, "allow", "add", first.address4)
    wait_healthy(lab)


def test_handshakes_leave_nothing_on_backends(lab: Lab, backend: Backend) -> None:
    before = handshakes(lab, backend)
    netns.wait_until(lambda: handshakes(lab, backend) >= before + 10, "five checks of two VIPs")
    half = netns.run_in(backend.ns, ["ss", "-Htn", "state", "syn-recv", f"sport = :{PORT}"]).splitlines()
    assert len(half) <= 2, half  # those of a check that is under way
    after = redirect.counters(backend, lab.path)
    assert after["local_request"] >= 10  # the resets that ended them
