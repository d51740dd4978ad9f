"""What VPP's tests of its lb plugin's API demand, of the REST API (tests/README.md has the table)."""

from typing import Any

import pytest

from glbpy import _native as native
from tests.api.harness import CREATE, Api

NET = {4: "10.0.0.", 6: "2001:db8:a::"}
VIPS = {4: "203.0.113.0/24", 6: "2001:db8:1::/64"}


def pool(family: int, *numbers: int) -> dict[str, Any]:
    return {"backends": [{"name": f"b{n}", "address": f"{NET[family]}{n}"} for n in numbers]}


def service(vip: str, pool: str = "p", **fields: Any) -> dict[str, Any]:
    return {"vips": [vip], "protocol": "tcp", "ports": [8298], "pool": pool, "table_size": 256, **fields}


def loaded(api: Api) -> native.Snapshot:
    """What the forwarder was last given, once it is what the API has."""
    revision = api.get("/v1/revisions")["items"][0]["number"]
    api.wait(lambda: api.forwarder.loaded is not None and api.forwarder.loaded.revision == revision)
    return native.Snapshot(api.forwarder.loaded.data)


@pytest.mark.parametrize("backends", [4, 6], ids=["gre4", "gre6"])
@pytest.mark.parametrize("family", [4, 6], ids=["ip4", "ip6"])
def test_a_vip_is_added_and_deleted(api: Api, family: int, backends: int) -> None:
    """It reads back as it was written, and is gone from API and snapshot when it was deleted."""
    api("PUT", "/v1/pools/p", pool(backends, 1), CREATE, status=201)
    written = service(VIPS[family], encapsulation="gre")
    made = api("PUT", "/v1/services/s", written, CREATE, status=201)
    (found,) = api.get("/v1/services")["items"]
    assert {key: found["spec"][key] for key in written} == written
    assert [each.encapsulation for each in loaded(api).services] == ["gre"]
    api("DELETE", "/v1/services/s", headers={"If-Match": made.headers["ETag"]}, status=200)
    assert api.get("/v1/services")["items"] == []
    assert loaded(api).services == ()


@pytest.mark.parametrize("family", [4, 6], ids=["ip4", "ip6"])
def test_a_backend_is_deleted(api: Api, family: int) -> None:
    api("PUT", "/v1/pools/p", pool(4, 1, 2, 3), CREATE, status=201)
    api("PUT", "/v1/services/s", service(VIPS[family], encapsulation="gre"), CREATE, status=201)
    api("DELETE", "/v1/pools/p/backends/b1", headers={"If-Match": "*"}, status=200)
    left = api.get("/v1/pools/p/backends")["items"]
    assert [each["spec"]["state"] for each in left] == ["active", "active"]
    snapshot = loaded(api)
    assert [each.name for each in snapshot.backends] == ["b2", "b3"]
    assert {snapshot.backends[hop].name for hop in snapshot.rows(0)} == {"b2", "b3"}


def test_backends_of_one_port(api: Api) -> None:
    """Two services of one VIP, by port; each has its own pool, and one is asked for alone."""
    for n, port in enumerate((80, 443), 1):
        api("PUT", f"/v1/pools/p{port}", pool(4, n), CREATE, status=201)
        made = service(VIPS[6], f"p{port}", ports=[port], encapsulation="gre")
        api("PUT", f"/v1/services/s{port}", made, CREATE, status=201)
    assert [each["name"] for each in api.get("/v1/services")["items"]] == ["s443", "s80"]
    for n, port in enumerate((80, 443), 1):
        spec = api.get(f"/v1/services/s{port}")["spec"]
        (backend,) = api.get(f"/v1/pools/{spec['pool']}/backends")["items"]
        assert (spec["ports"], backend["spec"]["address"]) == ([port], f"10.0.0.{n}")


def test_nothing_there(api: Api) -> None:
    for path in ("/v1/services", "/v1/pools"):
        assert api.get(path) == {"items": [], "next": None}
    api("GET", "/v1/pools/p/backends", status=404)
