"""The API as a whole: apply, revisions, directors, health, metrics, access, and its own description."""

import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute

from api import examples
from api.app import Settings
from glbpy import _native
from glbpy.client import forwards_by
from glbpy.tokens import Tokens, new_token
from tests.api.harness import CREATE, DOCUMENT, POOL, SERVICE, Api

# ---- apply ----


def test_apply_says_what_it_does(api: Api) -> None:
    planned = api.apply(query="?dry_run=true")
    assert (planned["dry_run"], planned["changed"], planned["revision"]) == (True, True, 0)
    assert api.get("/v1/pools")["items"] == []
    done = api.apply()
    assert (done["dry_run"], done["changed"], done["revision"]) == (False, True, 1)
    assert done["changes"] == planned["changes"]
    assert [change["path"] for change in done["changes"]] == [
        "pools/web",
        "pools/web/backends/web1",
        "pools/web/backends/web2",
        "services/www",
    ]
    again = api.apply()
    assert (again["changed"], again["revision"], again["changes"]) == (False, 1, [])


def test_apply_is_all_or_nothing(api: Api) -> None:
    api.apply()
    api.wait(lambda: api.controller.director_status("director1").confirmed_revision == 1)
    before = {path: api.get(path) for path in ("/v1/pools", "/v1/services", "/v1/revisions")}
    good = {"name": "more", "backends": [{"name": "m1", "address": "10.9.0.1"}]}
    for bad, pointer in (
        (
            {"pools": [good, {"name": "x", "backends": [{"name": "y", "address": "z"}]}]},
            "/pools/1/backends/0/address",
        ),
        ({"pools": [good], "services": [{"name": "s", **SERVICE, "pool": "gone"}]}, "/services/0/pool"),
        ({"pools": [good], "services": [{"name": "s", **SERVICE}]}, "/services/0/vips/0"),
        ({"pools": [good, good]}, "/pools/1/name"),
        ({"pools": [good], "colour": "red"}, "/colour"),
        ({"pools": [good], "secret": "xyz"}, "/secret"),
    ):
        errors = api("POST", "/v1/apply", bad, status=422).json()["errors"]
        assert pointer in [error["pointer"] for error in errors]
    secret = {"pools": [good], "secret": "11" * 16}
    assert api("POST", "/v1/apply", secret, status=409).json()["type"].endswith(":conflict")
    assert {path: api.get(path) for path in before} == before


def test_apply_names_every_wrong_field(api: Api) -> None:
    backends = [{"name": "a", "address": "1"}, {"name": "B", "address": "10.0.0.1", "weight": "heavy"}]
    errors = api("POST", "/v1/apply", {"pools": [{"name": "p", "backends": backends}]}, status=422).json()
    assert {error["pointer"] for error in errors["errors"]} == {
        "/pools/0/backends/0/address",
        "/pools/0/backends/1/name",
        "/pools/0/backends/1/weight",
    }


def test_prune_removes_what_is_not_there(api: Api) -> None:
    api.apply()
    api.apply({"pools": [{"name": "other", **POOL}]})
    assert [pool["name"] for pool in api.get("/v1/pools")["items"]] == ["other", "web"]
    result = api.apply({"pools": [{"name": "other", **POOL}]}, "?prune=true")
    assert next(c["path"] for c in result["changes"] if c["change"] == "removed") == "pools/web"
    assert [pool["name"] for pool in api.get("/v1/pools")["items"]] == ["other"]
    assert api.get("/v1/services")["items"] == []


# ---- revisions ----


def test_revisions_are_listed_compared_and_brought_back(api: Api) -> None:
    api.apply()
    api("POST", "/v1/pools/web/backends/web1/drain", status=200)
    api("PUT", "/v1/pools/more", {}, CREATE, status=201)
    listed = api.get("/v1/revisions")["items"]
    assert [item["number"] for item in listed] == [3, 2, 1]
    assert listed[1]["action"] == "drain pools/web/backends/web1"
    assert listed[1]["actor"] == "api"
    assert listed[1]["document"] is None
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", listed[1]["created_at"])

    found, at = [], "/v1/revisions?limit=2"
    while at:
        page = api.get(at)
        found += [item["number"] for item in page["items"]]
        at = page["next"]
    assert found == [3, 2, 1]

    first = api("GET", "/v1/revisions/1", status=200)
    assert first.headers["ETag"] == '"1"'
    assert first.json()["document"]["pools"][0]["name"] == "web"
    drained = {"path": "pools/web/backends/web1", "change": "changed"}
    fields = [{"field": "state", "before": "active", "after": "draining"}]
    assert api.get("/v1/revisions/2/diff") == {
        "since": 1,
        "revision": 2,
        "changes": [{**drained, "fields": fields}],
    }
    assert len(api.get("/v1/revisions/3/diff?since=1")["changes"]) == 2
    assert len(api.get("/v1/revisions/1/diff")["changes"]) == 4
    api("GET", "/v1/revisions/3/diff?since=9", status=404)

    planned = api("POST", "/v1/revisions/1/rollback?dry_run=true", status=200).json()
    assert (planned["revision"], planned["changed"]) == (3, True)
    done = api("POST", "/v1/revisions/1/rollback", status=200).json()
    assert (done["revision"], done["changes"]) == (4, planned["changes"])
    assert api.get("/v1/pools/web/backends/web1")["spec"]["state"] == "active"
    api("GET", "/v1/pools/more", status=404)
    api("POST", "/v1/revisions/9/rollback", status=404)


def test_what_a_revision_has_can_be_applied(api: Api) -> None:
    api.apply()
    document = api.get("/v1/revisions/1")["document"]
    assert api.apply(document)["changed"] is False


# ---- directors and health ----


def test_directors_confirm(api: Api) -> None:
    api.apply()
    api.wait(lambda: api.controller.director_status("director1").confirmed_revision == 1)
    seen = api.get("/v1/directors")["items"]
    assert seen == [api.get("/v1/directors/director1")]
    status = seen[0]["status"]
    assert (status["reachable"], status["in_force"], status["trouble"]) == (True, True, None)
    assert status["generation"] == api.forwarder.generation
    assert status["counters"] == {"forwarded": 3}
    assert api.get("/v1/services/www")["status"]["revision"] == 1
    assert api.get("/readyz") == {"status": "ready"}


def test_a_director_that_is_away(api: Api) -> None:
    api.apply()
    api.wait(lambda: api.controller.director_status("director1").confirmed_revision == 1)
    api.forwarder.away = True
    api.wait(lambda: not api.controller.director_status("director1").reachable)
    assert "no forwarder here" in api("GET", "/readyz", status=503).json()["detail"]
    assert api.get("/healthz") == {"status": "ok"}
    assert api.get("/v1/pools/web")["status"]["revision"] is None
    assert any("director1" in alarm for alarm in api.get("/v1/status")["alarms"])
    # Writes go on, and reach the director when it is back.
    assert api("POST", "/v1/pools/web/backends/web1/drain", status=200).json()["revision"] == 2
    api.forwarder.away = False
    api.wait(lambda: api.controller.director_status("director1").confirmed_revision == 2)


def test_a_forwarder_of_another_store_confirms_nothing(api: Api) -> None:
    """It was adopted, and forwards by a revision whose number is larger than any here."""
    api.apply()
    api.wait(lambda: forwards_by(api.controller.director_status("director1").model_dump(), 1))
    director = api.controller.director_status("director1")
    foreign = director.model_copy(update={"confirmed_revision": 50, "in_force": False})
    api.controller.director_statuses = lambda: [foreign]  # type: ignore[method-assign]
    assert api.get("/v1/pools/web")["status"]["revision"] is None
    assert not forwards_by(api.get("/v1/directors")["items"][0]["status"], 1)
    assert not forwards_by(director.model_dump(), 2)


# ---- metrics ----


def counter_file(path: Path, service: int, backend: int) -> None:
    """Write a counter file of two workers as a forwarder would."""
    ffi, lib = _native.ffi, _native.lib
    header = ffi.new("struct glb_stats_header *")
    lib.glb_stats_layout(header, 2, 8, 8)
    data = bytearray(header.file_bytes)
    memory = ffi.from_buffer(data)
    ffi.memmove(memory, header, ffi.sizeof("struct glb_stats_header"))
    data[:8] = b"GLBSTAT\n"
    ffi.cast("struct glb_stats_header *", memory).tsc_hz = 2_000_000_000
    ffi.cast("uint32_t *", memory + header.service_ids)[3] = service
    ffi.cast("uint32_t *", memory + header.backend_ids)[5] = backend
    for worker in range(2):
        block = memory + header.workers + worker * header.worker_bytes
        stats = ffi.cast("struct glb_worker_stats *", block)
        stats.rx_packets, stats.rx_bytes = 100, 6400
        stats.bursts, stats.busy_cycles, stats.latency[9] = 10, 4_000_000, 2
        stats.stalls, stats.stuck = 3, 2 * worker
        stats.reasons[_native.REASONS.index("forwarded")] = 90
        stats.reasons[_native.REASONS.index("not_vip")] = 10
        traffic = ffi.cast("struct glb_traffic *", block + ffi.sizeof("struct glb_worker_stats"))
        traffic[3].packets, traffic[3].bytes = 90, 4500
        traffic[8 + 5].packets, traffic[8 + 5].bytes = 40, 2000
    path.write_bytes(data)


def scrape(api: Api) -> dict[str, float]:
    response = api("GET", "/metrics", status=200)
    assert response.headers["content-type"].startswith("text/plain")
    lines = [line for line in response.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_metrics_have_names_and_sums(api: Api, tmp_path: Path) -> None:
    api.apply()
    ids = api.controller.desired.ids
    counter_file(tmp_path / "stats", ids["services/www"], ids["pools/web/backends/web2"])
    api.forwarder.stats_path = str(tmp_path / "stats")
    api("POST", "/v1/pools/web/backends/web1/drain", status=200)
    api.wait(lambda: api.controller.director_status("director1").confirmed_revision == 2)
    found = scrape(api)
    for name, value in {
        'glb_service_packets_total{director="director1",service="www"}': 180,
        'glb_service_bytes_total{director="director1",service="www"}': 9000,
        'glb_backend_packets_total{backend="web2",director="director1",pool="web"}': 80,
        'glb_backend_bytes_total{backend="web2",director="director1",pool="web"}': 4000,
        'glb_packets_total{director="director1",reason="forwarded",verdict="forward"}': 180,
        'glb_packets_total{director="director1",reason="not_vip",verdict="punt"}': 20,
        'glb_packets_total{director="director1",reason="no_backend",verdict="drop"}': 0,
        'glb_director_rx_packets_total{director="director1"}': 200,
        'glb_director_stalls_total{director="director1"}': 6,
        'glb_director_stuck_workers{director="director1"}': 1,
        'glb_director_bursts_total{director="director1"}': 20,
        'glb_director_busy_seconds_total{director="director1"}': 0.004,
        'glb_director_burst_seconds_bucket{director="director1",le="5.12e-07"}': 0,
        'glb_director_burst_seconds_bucket{director="director1",le="1.024e-06"}': 4,
        'glb_director_burst_seconds_bucket{director="director1",le="+Inf"}': 4,
        'glb_director_generation{director="director1"}': api.forwarder.generation,
        'glb_director_reachable{director="director1"}': 1,
        'glb_backend_available{backend="web1",pool="web"}': 0,
        'glb_backend_available{backend="web2",pool="web"}': 1,
        'glb_backend_health{backend="web1",health="unknown",pool="web"}': 1,
        'glb_backend_state{backend="web1",pool="web",state="draining"}': 1,
        "glb_revision": 2,
        "glb_compiles": 1,
    }.items():
        assert found[name] == value, name


def test_metrics_without_counters(api: Api, tmp_path: Path) -> None:
    assert scrape(api)["glb_revision"] == 0
    api.forwarder.stats_path = str(tmp_path / "half")
    (tmp_path / "half").write_bytes(b"GLBSTAT\n")
    api.apply()
    api.wait(lambda: api.controller.director_status("director1").confirmed_revision == 1)
    assert not any(name.startswith("glb_packets_total") for name in scrape(api))


# ---- access ----


@pytest.fixture
def secret(tmp_path: Path) -> str:
    token, line = new_token("alice")
    (tmp_path / "tokens").write_text(line)
    return token


@pytest.fixture
def guarded(tmp_path: Path, secret: str) -> Any:
    found = Api(tmp_path, Settings(tokens=Tokens.load(tmp_path / "tokens")))
    yield found
    found.close()


def test_every_path_but_one_needs_the_token(guarded: Api, secret: str) -> None:
    paths = list(guarded.app.openapi()["paths"])
    assert len(paths) >= 18
    for path in [*paths, "/openapi.json", "/nowhere"]:
        if path == "/healthz":
            guarded("GET", path, status=200)
            continue
        refused = guarded("GET", path, status=401)
        assert refused.headers["WWW-Authenticate"].startswith("Bearer")
        guarded("GET", path, headers={"Authorization": "Bearer wrong"}, status=401)
    token = {"Authorization": f"Bearer {secret}"}
    guarded("POST", "/v1/apply", DOCUMENT, status=401)
    guarded("POST", "/v1/apply", DOCUMENT, token, status=200)
    listed = guarded("GET", "/v1/revisions", headers=token, status=200).json()["items"]
    assert [item["actor"] for item in listed] == ["alice"]
    assert "securitySchemes" in guarded("GET", "/openapi.json", headers=token).json()["components"]


def test_web_pages_may_not_post(api: Api) -> None:
    api.apply()
    path = "/v1/pools/web/backends/web1/drain"
    api("POST", path, headers={"Origin": "http://evil.example"}, status=403)
    api("POST", path, headers={"Host": "evil.example"}, status=403)
    assert api.get("/v1/pools/web/backends/web1")["spec"]["state"] == "active"
    api("POST", path, headers={"Origin": "http://127.0.0.1:8420"}, status=200)


# ---- OpenAPI ----


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for inner in value.values() for found in references(inner)]
    if isinstance(value, list):
        return [found for inner in value for found in references(inner)]
    return []


def test_the_description_holds_together(api: Api) -> None:
    document = api.get("/openapi.json")
    assert document["openapi"].startswith("3.1")
    for reference in references(document):
        at: Any = document
        for part in reference.removeprefix("#/").split("/"):
            at = at[part]
    operations = {
        (path, method): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert len({operation["operationId"] for operation in operations.values()}) == len(operations)
    for (path, method), operation in operations.items():
        assert operation["description"], path
        declared = {item["name"] for item in operation.get("parameters", []) if item["in"] == "path"}
        assert declared == set(re.findall(r"{(\w+)}", path))
        assert "422" not in operation["responses"]
        assert "application/problem+json" in operation["responses"]["default"]["content"]
        headers = {item["name"] for item in operation.get("parameters", []) if item["in"] == "header"}
        assert ("If-Match" in headers) == (method in ("put", "delete"))
        if method == "put" or path == "/v1/apply":
            media_type = "text/plain" if path.startswith("/v1/lists/") else "application/json"
            body = operation["requestBody"]["content"][media_type]
            assert body["example"]
            if media_type == "text/plain":
                continue
            assert body["schema"]["$ref"].split("/")[-1] in document["components"]["schemas"]
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_every_route_is_described_and_documented(api: Api) -> None:
    described = set(api.get("/openapi.json")["paths"])
    text = (Path(__file__).parents[2] / "docs/api.md").read_text()
    for route in api.app.routes:
        if isinstance(route, APIRoute):
            assert route.path in described
            assert f"`{route.path}`" in text, route.path


def test_the_examples_work(api: Api) -> None:
    api("PUT", "/v1/pools/web", examples.POOL, CREATE, status=201)
    api("PUT", "/v1/pools/web/backends/web1", examples.BACKEND, {"If-Match": "*"}, status=200)
    api("PUT", "/v1/services/www", examples.SERVICE, CREATE, status=201)
    assert api.apply(examples.DOCUMENT)["changed"] is False
