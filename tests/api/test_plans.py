"""`POST /v1/plan`: what a document would do, of which nothing is done; and `glb plan` against a server."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from glbpy.cli.main import build
from glbpy.models import Document
from glbpy.plan import offline_plan
from tests.api.harness import DOCUMENT, POOL, SERVICE, Api
from tests.api.live import Serve

THIRD = {"name": "web3", "address": "10.0.0.13"}
MORE = {"pools": [{"name": "web", "backends": [*POOL["backends"], THIRD]}], "services": []}
FORGETFUL = {**DOCUMENT, "services": [{**service, "settle_seconds": 0} for service in DOCUMENT["services"]]}
LESS = {"pools": [{"name": "web", "backends": POOL["backends"][:1]}], "services": []}


def test_a_plan_is_what_the_write_reports_then(api: Api) -> None:
    api.apply(FORGETFUL)
    plan = api("POST", "/v1/plan", MORE, status=200).json()
    assert (plan["revision"], plan["changed"], plan["breaks"]) == (1, True, True)
    [service] = plan["services"]
    assert (service["service"], service["rows"], service["share_moved_between"]) == ("www", 256, 0)
    assert api.get("/v1/revisions")["items"][0]["number"] == 1
    written = api.apply(MORE)
    assert written["revision"] == 2
    assert plan["changes"] == written["changes"]
    assert [{**x, "service": "www"} for x in written["leavers"]] == [
        {"service": "www", "backend": x["backend"], "rows": x["rows"], "first": x["first"]}
        for x in service["breaks"]
    ]
    again = api("POST", "/v1/plan", MORE, status=200).json()
    assert (again["revision"], again["changed"], again["services"]) == (2, False, [])


def test_plans_go_by_the_health_that_is_known(api: Api) -> None:
    """Rows of a dead backend are elsewhere already, so its removal moves no flow."""
    check = {"type": "tcp", "port": 80, "interval_ms": 50, "timeout_ms": 50, "fall": 1, "rise": 1}
    api.health = "refused"
    api.apply({**DOCUMENT, "pools": [{"name": "web", **POOL, "health_check": check}]})
    api.wait(lambda: all(s.health == "unhealthy" for s in api.controller.backend_statuses()))
    api.wait(lambda: api.controller.director_statuses()[0].in_force)
    given = {"pools": [{"name": "web", **POOL, "health_check": None, "backends": [*POOL["backends"], THIRD]}]}
    [service] = api("POST", "/v1/plan", given, status=200).json()["services"]
    assert service["share_moved"] == 1  # the new one is the only one that serves


def test_a_first_plan_and_a_prune(api: Api) -> None:
    plan = api("POST", "/v1/plan", {**DOCUMENT, "secret": "ab" * 16}, status=200).json()
    assert [(s["change"], s["breaks"]) for s in plan["services"]] == [("added", [])]
    api.apply()
    plan = api("POST", "/v1/plan?prune=true", {"pools": DOCUMENT["pools"]}, status=200).json()
    assert [(s["change"], s["share_breaking"]) for s in plan["services"]] == [("removed", 1.0)]
    refused = api("POST", "/v1/plan", {**DOCUMENT, "secret": "ab" * 16}, status=409).json()
    assert "secret" in refused["detail"]


def test_what_apply_refuses_is_refused(api: Api) -> None:
    body = {"services": [{"name": "www", **SERVICE}]}
    assert api("POST", "/v1/plan", body, status=422).json()["errors"][0]["pointer"] == "/services/0/pool"
    api("POST", "/v1/plan?dry_run=true", DOCUMENT, status=422)


def test_the_command_asks_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Serve(tmp_path, "--no-forwarder")
    try:
        monkeypatch.setenv("GLB_URL", server.url)
        for name, given in (("all", {**FORGETFUL, "secret": "ab" * 16}), ("more", MORE), ("less", LESS)):
            (tmp_path / f"{name}.json").write_text(json.dumps(given))
        run = CliRunner().invoke
        assert run(build(), ["apply", "-f", str(tmp_path / "all.json")]).exit_code == 0
        result = run(build(), ["plan", "-f", str(tmp_path / "less.json"), "--json", "--check"])
        assert result.exit_code == 1
        found = json.loads(result.stdout)
        # The same without the server, which knows the secret and the ids.
        old = Document.model_validate({**FORGETFUL, "secret": "ab" * 16})
        offline = offline_plan(old, Document.model_validate(LESS), False, ()).model_dump(mode="json")
        assert {**found, "revision": 0} == offline
        text = run(build(), ["plan", "-f", str(tmp_path / "more.json")])
        assert text.exit_code == 0
        assert "+ pools/web/backends/web3" in text.stdout
        assert text.stdout.endswith("connections can break: www\n")
    finally:
        assert server.stop() == 0
