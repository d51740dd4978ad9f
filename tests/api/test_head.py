"""HEAD answers what GET would, without a body: in the application, and by the real server."""

from pathlib import Path

import httpx
import pytest

from tests.api.harness import Api
from tests.api.live import Serve

NAMES = {
    "service": "www", "pool": "web", "backend": "web1", "name": "director1", "revision": "1", "list": "bots"
}  # fmt: skip


def test_every_path_that_takes_get(api: Api) -> None:
    api.apply()
    text = {"Content-Type": "text/plain", "If-None-Match": "*"}
    api("PUT", "/v1/lists/bots", headers=text, content=b"192.0.2.0/24\n", status=201)
    api.wait(lambda: api.controller.director_status("director1").in_force)
    paths = [path for path, operations in api.app.openapi()["paths"].items() if "get" in operations]
    assert len(paths) >= 14
    for template in paths:
        path = template.format(**NAMES)
        answers = [api.runner.run(api.client.request(method, path)) for method in ("GET", "HEAD")]
        assert [each.status_code for each in answers] == [200, 200], path
        assert answers[1].content == b""
        for name in ("content-type", "etag"):
            assert answers[0].headers.get(name) == answers[1].headers.get(name), path
        if path != "/metrics":  # counts what is done meanwhile
            assert answers[0].headers["content-length"] == answers[1].headers["content-length"], path


@pytest.mark.parametrize(
    ("path", "status"), [("/v1/pools/none", 404), ("/nowhere", 404), ("/v1/pools?limit=0", 422)]
)
def test_errors(api: Api, path: str, status: int) -> None:
    answer = api.runner.run(api.client.head(path))
    assert (answer.status_code, answer.content) == (status, b"")
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_server_keeps_the_connection_in_step(tmp_path: Path) -> None:
    server = Serve(tmp_path, "--no-forwarder")
    try:
        with httpx.Client(base_url=server.url, trust_env=False) as client:
            for _ in range(3):
                head, get = client.head("/v1/pools"), client.get("/v1/pools")
                assert (head.status_code, head.content) == (200, b"")
                assert int(head.headers["content-length"]) == len(get.content) > 0
                assert get.json() == {"items": [], "next": None}
    finally:
        assert server.stop() == 0
