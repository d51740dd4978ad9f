"""Guard rails: drains that certainly cost clients something are refused, and done with force."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from glbpy.cli.main import build
from tests.api.harness import SERVICE, Api

DRAIN = "/v1/pools/web/backends/web{}/drain"
ANY = {"If-Match": "*"}
EVERY = (1, 2, 3)


def document(count: int = 3, pool: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    backends = [{"name": f"web{n}", "address": f"10.0.0.1{n}"} for n in range(1, count + 1)]
    services = [{"name": "www", **SERVICE, **fields}]
    return {"pools": [{"name": "web", "backends": backends, **(pool or {})}], "services": services}


def rails(api: Api, method: str, path: str, body: Any = None, **more: Any) -> list[dict[str, str]]:
    """Return why a request is refused, and check that it changed nothing, and is done with force."""
    before = api.get("/v1/revisions")["items"][0]["number"]
    problem = api(method, path, body, status=409, **more).json()
    assert problem["type"] == "urn:glbpy:problem:guard-rail"
    assert api.get("/v1/revisions")["items"][0]["number"] == before
    found: list[dict[str, str]] = problem["guard_rails"]
    for rail in found:
        assert f"{rail['detail']}; {rail['fix']}" in problem["detail"]
    forced = f"{path}{'&' if '?' in path else '?'}force=true"
    assert api(method, forced, body, **more).status_code == 200
    return found


# ---- the last backend ----


def test_the_last_one_does_not_drain(api: Api) -> None:
    api.apply(document(hops=3))
    for n in (1, 3):
        assert api("POST", DRAIN.format(n), status=200).json()["changed"] is True
    assert api("POST", DRAIN.format(1), status=200).json()["changed"] is False
    [rail] = rails(api, "POST", DRAIN.format(2))
    assert (rail["rule"], rail["path"]) == ("last-backend", "pools/web")
    assert "(web1 is draining, web2 is draining, web3 is draining)" in rail["detail"]
    assert api("POST", DRAIN.format(2), status=200).json()["changed"] is False
    for n in EVERY:
        assert api("POST", f"/v1/pools/web/backends/web{n}/undrain", status=200).json()["changed"] is True


WAYS: list[tuple[str, str, Any]] = [
    ("PUT", "/v1/pools/web/backends/web2", {"address": "10.0.0.12", "weight": 0}),
    ("PUT", "/v1/pools/web/backends/web2", {"address": "10.0.0.12", "state": "draining"}),
    ("POST", "/v1/apply", document(2, pool={"backends": [
        {"name": f"web{n}", "address": f"10.0.0.1{n}", "state": "draining"} for n in (1, 2)]})),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body"), WAYS)
def test_nor_is_it_drained_otherwise(api: Api, method: str, path: str, body: Any) -> None:
    api.apply(document(2))
    api("POST", DRAIN.format(1), status=200)
    [rail] = rails(api, method, path, body, headers={} if method == "POST" else ANY)
    assert rail["rule"] == "last-backend"
    assert "of service www" in rail["detail"]


MEANT: list[tuple[str, str, Any]] = [
    ("POST", DRAIN.format(1), None),
    ("DELETE", "/v1/pools/web/backends/web1", None),
    ("PUT", "/v1/pools/web/backends/web1", {"address": "10.0.0.11", "state": "inactive"}),
    ("PUT", "/v1/pools/web", {"backends": []}),
    ("POST", "/v1/apply", {"pools": [{"name": "web", "backends": []}], "services": []}),
]


@pytest.mark.parametrize(("method", "path", "body"), MEANT)
def test_the_only_one_may_go(api: Api, method: str, path: str, body: Any) -> None:
    """There is no other to choose: it is done, and the answer warns."""
    api.apply(document(1))
    result = api(method, path, body, headers={} if method == "POST" else ANY, status=200).json()
    assert "service www: no backend of pool web is available" in result.get("result", result)["warnings"]


def test_who_is_ill_does_not_count(api: Api) -> None:
    """Two are ill: the third may not go, they may."""
    check = {"type": "tcp", "port": 80, "interval_ms": 50, "timeout_ms": 50, "fall": 1, "rise": 1}
    api.apply(document(3, pool={"health_check": check}))
    names = {s.backend: s.id for s in api.controller.backend_statuses()}
    api.ill = {"10.0.0.11", "10.0.0.12"}
    ill = {"web1", "web2"}
    api.wait(lambda: {s.backend for s in api.controller.backend_statuses() if s.health == "unhealthy"} == ill)
    assert set(names) == {"web1", "web2", "web3"}
    [rail] = rails(api, "POST", DRAIN.format(3))
    assert "web1 is unhealthy, web2 is unhealthy, web3 is draining" in rail["detail"]
    # There is nobody now, and nothing to lose.
    api("POST", DRAIN.format(1), status=200)


def test_without_a_service_nobody_suffers(api: Api) -> None:
    api.apply({**document(1), "services": []})
    api("POST", DRAIN.format(1), status=200)
    api("DELETE", "/v1/pools/web/backends/web1", headers=ANY, status=200)


# ---- drains that break what they promise to keep ----


def settled(api: Api) -> None:
    """The newest revision has been compiled: drains are compared with it."""
    api.wait(lambda: api.controller.director_statuses()[0].in_force)


def test_more_drains_than_chains_have_room_for(api: Api) -> None:
    """Two hops, and nothing remembered: with two drains some rows have no room for both beside a third."""
    api.apply(document(5, settle_seconds=0))
    api("POST", DRAIN.format(1), status=200)
    settled(api)
    before = api.get("/v1/pools/web/backends/web1")["revision"]
    [rail] = rails(api, "POST", DRAIN.format(2))
    assert (rail["rule"], rail["path"]) == ("drain-breaks", "services/www")
    assert "draining web/web2 breaks connections of service www, whose chains have 2 hops" in rail["detail"]
    assert "hops above 2" in rail["fix"]
    assert "settle_seconds above 0" in rail["fix"]
    assert api.get("/v1/pools/web/backends/web1")["revision"] == before


@pytest.mark.parametrize(
    "fields",
    [
        {"settle_seconds": 0, "hops": 3},
        {"settle_seconds": 0, "hops": 1},
        {"settle_seconds": 3600},
        {"settle_seconds": 0, "flow_cache": "on"},
        {"settle_seconds": 0, "protocol": "udp"},
        {"settle_seconds": 0, "encapsulation": "gre"},
    ],
)
def test_what_only_may_break_is_not_refused(api: Api, fields: dict[str, Any]) -> None:
    """Room for both; remembered by the rows, or by directors; or nothing was promised: that is a warning."""
    api.apply(document(5, **fields))
    for n in (1, 2):
        settled(api)
        assert api("POST", DRAIN.format(n), status=200).json()["changed"] is True


def test_weight_0_is_a_drain(api: Api) -> None:
    api.apply(document(5, settle_seconds=0))
    api("POST", DRAIN.format(1), status=200)
    settled(api)
    body = {"address": "10.0.0.12", "weight": 0}
    [rail] = rails(api, "PUT", "/v1/pools/web/backends/web2", body, headers=ANY)
    assert rail["rule"] == "drain-breaks"


def test_drains_and_undrains_in_a_hurry(api: Api) -> None:
    """Of three hops any two may drain, in any order, again and again, while everything settles."""
    api.apply(document(3, hops=3))
    for first, second in ((1, 2), (2, 3), (3, 1)) * 4:
        for n in (first, second, first):
            api("POST", DRAIN.format(n), status=200)
        for n in (second, first):
            api("POST", f"/v1/pools/web/backends/web{n}/undrain", status=200)


# ---- as people see it ----


def test_plans_and_dry_runs_say_so(api: Api) -> None:
    api.apply(document(2))
    less = document(2)
    for backend in less["pools"][0]["backends"]:
        backend["state"] = "draining"
    plan = api("POST", "/v1/plan", less, status=200).json()
    assert [rail["rule"] for rail in plan["refused"]] == ["last-backend"]
    assert api("POST", "/v1/plan", document(3), status=200).json()["refused"] == []
    api("POST", "/v1/apply?dry_run=true", less, status=409)
    assert api("POST", "/v1/apply?dry_run=true&force=true", less, status=200).json()["dry_run"] is True


def test_offline_plans_say_so(tmp_path: Path) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    whole = document(5, settle_seconds=0)
    whole["pools"][0]["backends"][0]["state"] = "draining"
    old.write_text(json.dumps(whole))
    whole["pools"][0]["backends"][1]["state"] = "draining"
    new.write_text(json.dumps(whole))
    words = ["plan", "--against", str(old), "-f", str(new)]
    shown = CliRunner().invoke(build(), words)
    assert shown.exit_code == 0, shown.output
    assert "refused: draining web/web2 breaks connections of service www" in shown.output
    assert "or --force" in shown.output
    assert CliRunner().invoke(build(), [*words, "--check"]).exit_code == 1
