"""Services, pools and backends: create, read, replace, delete, list; what their ETags do."""

import asyncio

import pytest

from tests.api.harness import CREATE, DOCUMENT, POOL, SERVICE, Api

PATHS = ["/v1/services/www", "/v1/pools/web", "/v1/pools/web/backends/web1"]


def tag(api: Api, path: str) -> str:
    return api("GET", path, status=200).headers["ETag"]


def test_life_of_a_service_and_its_pool(api: Api) -> None:
    created = api("PUT", "/v1/pools/web", POOL, CREATE, status=201)
    assert created.headers["ETag"] == '"1"'
    body = created.json()
    assert body["spec"]["name"] == "web"
    assert [backend["state"] for backend in body["spec"]["backends"]] == ["active", "active"]
    assert body["status"]["available"] == 2
    assert body["result"]["created"] is True

    created = api("PUT", "/v1/services/www", SERVICE, CREATE, status=201)
    assert created.headers["ETag"] == '"2"'
    assert api.get("/v1/services/www")["spec"]["hops"] == 2
    assert api.get("/v1/services")["items"][0]["name"] == "www"

    changed = {**SERVICE, "ports": [80, "8000-8099"]}
    replaced = api("PUT", "/v1/services/www", changed, {"If-Match": '"2"'}, status=200)
    assert replaced.headers["ETag"] == '"3"'
    assert replaced.json()["result"]["created"] is False
    assert api.get("/v1/services/www")["spec"]["ports"] == [80, "8000-8099"]
    assert tag(api, "/v1/pools/web") == '"1"'

    api("DELETE", "/v1/services/www", headers={"If-Match": '"3"'}, status=200)
    api("GET", "/v1/services/www", status=404)
    api("DELETE", "/v1/pools/web", headers={"If-Match": "*"}, status=200)
    assert api.get("/v1/pools") == {"items": [], "next": None}


def test_a_repeated_put_changes_nothing(api: Api) -> None:
    api.apply()
    for path, body in zip(PATHS, [SERVICE, POOL, POOL["backends"][0]], strict=True):
        before = tag(api, path)
        answer = api("PUT", path, body, {"If-Match": before}, status=200)
        assert answer.headers["ETag"] == before
        assert answer.json()["result"]["changed"] is False


def test_what_was_read_can_be_put(api: Api) -> None:
    api.apply()
    for path in PATHS:
        answer = api("GET", path)
        api("PUT", path, answer.json(), {"If-Match": answer.headers["ETag"]}, status=200)
    body = {**api.get("/v1/pools/web"), "colour": "red"}
    errors = api("PUT", "/v1/pools/web", body, {"If-Match": "*"}, status=422).json()["errors"]
    assert errors[0]["pointer"] == "/colour"


@pytest.mark.parametrize("path", PATHS)
def test_preconditions(api: Api, path: str) -> None:
    api.apply()
    spec = api.get(path)["spec"]
    missing = api("PUT", path, spec, status=428)
    assert "If-Match" in missing.json()["detail"]
    api("DELETE", path, status=428)
    stale = api("PUT", path, spec, {"If-Match": '"99"'}, status=412)
    assert stale.headers["ETag"] == '"1"'
    api("DELETE", path, headers={"If-Match": '"99"'}, status=412)
    api("PUT", path, spec, {"If-Match": 'W/"1"'}, status=412)
    api("PUT", path, spec, CREATE, status=412)
    api("PUT", path, spec, {"If-Match": "1"}, status=400)
    api("PUT", path, spec, {"If-Match": '"99", "1"'}, status=200)
    assert api.get("/v1/revisions")["items"][0]["number"] == 1


@pytest.mark.parametrize("path", ["/v1/services/new", "/v1/pools/new", "/v1/pools/web/backends/new"])
def test_creation_says_so(api: Api, path: str) -> None:
    api.apply()
    bodies = {"services": {**SERVICE, "ports": [81]}, "pools": {}, "backends": {"address": "10.0.0.99"}}
    body = bodies[path.split("/")[-2]]
    api("PUT", path, body, status=428)
    api("PUT", path, body, {"If-Match": "*"}, status=412)
    api("PUT", path, body, {"If-Match": '"1"'}, status=412)
    api("DELETE", path, headers={"If-Match": "*"}, status=404)
    api("GET", path, status=404)
    assert api("PUT", path, body, CREATE, status=201).headers["ETag"] == '"2"'
    assert api("GET", path, status=200).headers["ETag"] == '"2"'


def test_of_two_writers_with_one_tag_one_wins(api: Api) -> None:
    api.apply()

    async def race() -> list[int]:
        answers = await asyncio.gather(
            *(
                api.client.put(
                    "/v1/services/www", json={**SERVICE, "ports": [port]}, headers={"If-Match": '"1"'}
                )
                for port in range(81, 89)
            )
        )
        return sorted(answer.status_code for answer in answers)

    assert api.runner.run(race()) == [200] + [412] * 7
    assert len(api.get("/v1/revisions")["items"]) == 2


def test_etags_follow_their_own_resource(api: Api) -> None:
    api.apply()
    first = {path: tag(api, path) for path in PATHS}
    other = tag(api, "/v1/pools/web/backends/web2")
    api("POST", "/v1/pools/web/backends/web1/drain", status=200)
    assert tag(api, "/v1/services/www") == first["/v1/services/www"]
    assert tag(api, "/v1/pools/web/backends/web2") == other
    assert tag(api, "/v1/pools/web") == '"2"'
    assert tag(api, "/v1/pools/web/backends/web1") == '"2"'


def test_a_recreated_resource_has_another_etag(api: Api) -> None:
    api("PUT", "/v1/pools/web", POOL, CREATE, status=201)
    api("DELETE", "/v1/pools/web", headers={"If-Match": '"1"'}, status=200)
    api("PUT", "/v1/pools/web", POOL, CREATE, status=201)
    api("DELETE", "/v1/pools/web", headers={"If-Match": '"1"'}, status=412)


def test_health_changes_neither_revisions_nor_etags(api: Api) -> None:
    check = {"type": "tcp", "port": 80, "interval_ms": 50, "timeout_ms": 50, "rise": 1, "fall": 1}
    api.health = "connection refused"
    api.apply({**DOCUMENT, "pools": [{"name": "web", **POOL, "health_check": check}]})
    before = {path: tag(api, path) for path in PATHS}
    api.wait(lambda: all(not s.available for s in api.controller.backend_statuses("web")))
    seen = api.get("/v1/pools/web/backends/web1")["status"]
    assert seen["health"] == "unhealthy"
    assert seen["since"].endswith("Z")
    assert seen["detail"] == "connection refused"
    assert api.get("/v1/pools/web")["status"]["available"] == 0
    assert {path: tag(api, path) for path in PATHS} == before
    assert len(api.get("/v1/revisions")["items"]) == 1
    assert any("no backend" in alarm for alarm in api.get("/v1/status")["alarms"])


def test_drain_and_undrain(api: Api) -> None:
    api.apply()
    path = "/v1/pools/web/backends/web1"
    drained = api("POST", f"{path}/drain", status=200)
    assert drained.json()["revision"] == 2
    assert drained.headers["ETag"] == '"2"'
    again = api("POST", f"{path}/drain", status=200).json()
    assert (again["changed"], again["revision"]) == (False, 2)
    assert api.get(path)["spec"]["state"] == "draining"
    assert api.get(path)["status"]["available"] is False
    # Replaced without a state, it keeps draining; with one, its end is said.
    kept = api("PUT", "/v1/pools/web", POOL, {"If-Match": "*"}, status=200).json()
    assert kept["spec"]["backends"][0]["state"] == "draining"
    active = {"address": "10.0.0.11", "state": "active"}
    ended = api("PUT", path, active, {"If-Match": "*"}, status=200).json()
    assert "drain has ended" in ended["result"]["notes"][0]
    api("POST", f"{path}/drain", status=200)
    assert api("POST", f"{path}/undrain", status=200).json()["changed"] is True
    assert api("POST", f"{path}/undrain", status=200).json()["changed"] is False
    api("POST", "/v1/pools/web/backends/none/drain", status=404)
    api("POST", "/v1/pools/none/backends/web1/undrain", status=404)


def test_an_inactive_backend_is_not_drained(api: Api) -> None:
    api.apply()
    path = "/v1/pools/web/backends/web1"
    api("PUT", path, {"address": "10.0.0.11", "state": "inactive"}, {"If-Match": "*"}, status=200)
    assert api("POST", f"{path}/drain", status=409).json()["type"].endswith(":conflict")


def test_a_pool_in_use_stays(api: Api) -> None:
    api.apply()
    problem = api("DELETE", "/v1/pools/web", headers={"If-Match": "*"}, status=409).json()
    assert "service www" in problem["detail"]
    api("GET", "/v1/pools/web", status=200)


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("/v1/pools/web", {"backends": [{"name": "a", "address": "10.0.0"}]}, "/backends/0/address"),
        ("/v1/pools/web", {"backends": {}}, "/backends"),
        ("/v1/pools/web", {"name": "other", "backends": []}, "/name"),
        ("/v1/pools/web", {"colour": "red"}, "/colour"),
        ("/v1/pools/web", {"a/b~": 1}, "/a~1b~0"),
        ("/v1/pools/web", {"spec": {"colour": "red"}}, "/spec/colour"),
        ("/v1/pools/web", {"spec": []}, "/spec"),
        ("/v1/pools/web", [], ""),
        ("/v1/pools/web", None, ""),
        ("/v1/pools/WEB", {}, "/name"),
        ("/v1/pools/web/backends/web1", {"address": "10.0.0.12"}, "/address"),
        ("/v1/pools/web/backends/web1", {"address": "10.0.0.1", "state": "asleep"}, "/state"),
        ("/v1/services/www", {**SERVICE, "ports": [0]}, "/ports/0"),
        ("/v1/services/www", {**SERVICE, "pool": "none"}, "/pool"),
        ("/v1/services/two", SERVICE, "/vips/0"),
    ],
)
def test_wrong_fields_are_named(api: Api, path: str, body: object, pointer: str) -> None:
    api.apply()
    before = api.get("/v1/revisions")
    headers = {"If-None-Match": "*"} if path.endswith("/two") else {"If-Match": "*"}
    content = None if body is not None else b"null"
    headers |= {"Content-Type": "application/json"}
    answer = api("PUT", path, body, headers, content=content, status=422).json()
    assert answer["type"] == "urn:glbpy:problem:invalid"
    assert pointer in [error["pointer"] for error in answer["errors"]]
    assert api.get("/v1/revisions") == before


def test_lists_are_paged(api: Api) -> None:
    names = sorted(f"b{number}" for number in range(25))
    backends = [{"name": name, "address": f"10.1.0.{i + 1}"} for i, name in enumerate(names)]
    pools = [{"name": f"p{number}", "backends": backends} for number in range(5)]
    api.apply({"pools": pools})
    for path, wanted in (
        ("/v1/pools", [pool["name"] for pool in pools]),
        ("/v1/pools/p1/backends", names),
    ):
        for limit in (1, 4, 5, 25, 1000):
            found, at = [], f"{path}?limit={limit}"
            while at:
                page = api.get(at)
                assert len(page["items"]) <= limit
                found += [item["name"] for item in page["items"]]
                at = page["next"]
            assert found == wanted
    api("GET", "/v1/pools/none/backends", status=404)
    for query in ("limit=0", "limit=1001", "limit=x", "offset=3", "limit=1&limit=2", "Limit=3"):
        problem = api("GET", f"/v1/pools?{query}", status=422).json()
        assert problem["type"] == "urn:glbpy:problem:invalid-parameter"
        assert problem["errors"][0]["in"] == "query"
        assert problem["errors"][0]["pointer"] == "/" + query.split("=")[0]
