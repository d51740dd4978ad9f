"""`/v1/pools/{pool}/allow-list` and `glb get allow-list`: what a backend of the pool reads."""

import json
from collections.abc import Iterator

import httpx
import pytest
from typer.testing import CliRunner

from glbpy.cli.main import build
from glbpy.errors import InvalidInputError
from tests.api.harness import DOCUMENT, Api
from tests.api.live import Serve

LINES = ["10.0.0.2/32", "10.0.0.11/32 peer", "10.0.0.12/32 peer"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """`glb serve` of a director whose outer_source_v4 is 10.0.0.2."""
    found = Serve(tmp_path_factory.mktemp("serve"), "--no-forwarder")
    httpx.post(f"{found.url}/v1/apply", json=DOCUMENT, trust_env=False).raise_for_status()
    yield found
    found.stop()


def test_it_is_text_that_backends_can_fetch(server: Serve) -> None:
    answer = httpx.get(f"{server.url}/v1/pools/web/allow-list", trust_env=False)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text.splitlines() == ["# glbpy: pool web, revision 1", *LINES]


def test_the_command_prints_it(server: Serve) -> None:
    words = ["get", "allow-list", "web", "--url", server.url]
    assert CliRunner().invoke(build(), words).output.splitlines()[1:] == LINES
    found = json.loads(CliRunner().invoke(build(), [*words, "-o", "json"]).output)
    assert [item["role"] for item in found] == ["source", "peer", "peer"]
    assert found[1]["prefix"] == "10.0.0.11/32"
    refused = CliRunner().invoke(build(), ["get", "allow-list", "--url", server.url]).exception
    assert isinstance(refused, InvalidInputError)


def test_a_pool_that_is_not_there(api: Api) -> None:
    problem = api("GET", "/v1/pools/none/allow-list", status=404).json()
    assert problem["detail"] == "there is no pools/none"


def test_health_checks_through_the_tunnel_are_let_in(api: Api) -> None:
    """This machine asks from its own address, whatever that is towards a backend: here loopback."""
    check = {"type": "tcp", "port": 80, "interval_ms": 60000, "via": "tunnel"}
    pool = {"name": "web", "backends": [{"name": "a", "address": "127.0.0.9"}], "health_check": check}
    api.apply({"pools": [pool], "services": []})
    text = api("GET", "/v1/pools/web/allow-list", status=200).text
    assert text.splitlines()[1:] == ["127.0.0.1/32", "127.0.0.9/32 peer"]
