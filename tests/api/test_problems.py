"""Every kind of error is a problem with its documented type; nothing that can be sent makes a 500."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.app import Settings
from api.problems import KINDS, PREFIX
from glbpy.errors import StoreError
from tests.api.harness import CREATE, DOCUMENT, POOL, SERVICE, Api

JSON = {"Content-Type": "application/json"}


def kind(response: Any) -> str:
    return str(response.json()["type"].removeprefix(PREFIX))


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/pools/", "/v2/pools", "/docs", "/v1/pools/a/b"])
def test_unknown_paths(api: Api, path: str) -> None:
    problem = api("GET", path, status=404)
    assert kind(problem) == "not-found"
    assert path in problem.json()["detail"]


@pytest.mark.parametrize(
    "path",
    ["/v1/services/x", "/v1/pools/x", "/v1/directors/x", "/v1/revisions/7"],
)
def test_unknown_resources(api: Api, path: str) -> None:
    problem = api("GET", path, status=404)
    assert kind(problem) == "not-found"
    assert problem.json()["detail"] == f"there is no {path.removeprefix('/v1/')}"


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/pools"), ("PATCH", "/v1/pools/web"), ("GET", "/v1/apply"), ("DELETE", "/healthz")],
)
def test_wrong_methods(api: Api, method: str, path: str) -> None:
    problem = api(method, path, status=405)
    assert kind(problem) == "method-not-allowed"
    assert method not in problem.headers["Allow"].split(", ")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PATCH", "/v1/pools/web", "DELETE, GET, HEAD, PUT"),
        ("PUT", "/v1/pools", "GET, HEAD"),
        ("HEAD", "/v1/apply", "POST"),
    ],
)
def test_allow_has_all_that_a_path_takes(api: Api, method: str, path: str, allowed: str) -> None:
    answer = api.runner.run(api.client.request(method, path))
    assert (answer.status_code, answer.headers["Allow"]) == (405, allowed)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "line 1, column 1"),
        (b"{", "line 1"),
        (b'{"backends": [,]}', "column 15"),
        (b"{'a': 1}", "column 2"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": -Infinity}', "-Infinity"),
        (b'{"a": 1, "a": 2}', 'key "a" is given twice'),
        (b"\xff\xfe", "not UTF-8 at byte 0"),
        (b'"\xc3', "not UTF-8 at byte 1"),
        (b"[" * 50_000, "nested"),
        (b'{"a": ' + b"9" * 5000 + b"}", "digits"),
        (b"{} {}", "column 4"),
    ],
)
def test_malformed_json(api: Api, content: bytes, said: str) -> None:
    for method, path in (("POST", "/v1/apply"), ("PUT", "/v1/pools/web")):
        problem = api(method, path, headers={**CREATE, **JSON}, content=content, status=400)
        assert kind(problem) == "malformed-json"
        assert said in problem.json()["detail"]


def test_lone_surrogates_are_refused(api: Api) -> None:
    api("POST", "/v1/apply", headers=JSON, content=b'{"\\ud800": "\\udfff"}', status=422)
    body = b'{"backends": [{"name": "\\ud800", "address": "10.0.0.1"}]}'
    api("PUT", "/v1/pools/web", headers={**CREATE, **JSON}, content=body, status=422)
    check = b'{"health_check": {"type": "http", "port": 1, "path": "/\\ud800"}}'
    api("PUT", "/v1/pools/web", headers={**CREATE, **JSON}, content=check, status=422)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json-patch+json"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)
def test_wrong_content_types(api: Api, headers: dict[str, str]) -> None:
    problem = api("POST", "/v1/apply", headers=headers, content=b"{}", status=415)
    assert kind(problem) == "unsupported-media-type"
    assert problem.headers["Accept"] == "application/json"


def test_a_charset_is_fine(api: Api) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    api("POST", "/v1/apply", headers=headers, content=b"{}", status=200)


def test_too_large_bodies(api: Api) -> None:
    body = b'{"pools": []' + b" " * 100_000 + b"}"
    assert kind(api("POST", "/v1/apply", headers=JSON, content=body, status=413)) == "content-too-large"
    # Without a length, and with one that lies.
    for headers in ({**JSON, "Transfer-Encoding": "chunked"}, {**JSON, "Content-Length": "5"}):
        problem = api("POST", "/v1/apply", headers=headers, content=body, status=413)
        assert kind(problem) == "content-too-large"
    api("POST", "/v1/apply", headers={**JSON, "Content-Length": "9" * 30}, content=b"{}", status=413)


@pytest.mark.parametrize("path", ["/healthz", "/v1/pools", "/v1/pools/web", "/v1/directors", "/metrics"])
def test_unknown_query_parameters(api: Api, path: str) -> None:
    api.apply()
    problem = api("GET", f"{path}?colour=red&colour=blue", status=422)
    assert kind(problem) == "invalid-parameter"
    assert [(e["pointer"], e["in"]) for e in problem.json()["errors"]] == [("/colour", "query")]
    problem = api("POST", "/v1/pools/web/backends/web1/drain?colour=1", status=422)
    assert api.get("/v1/pools/web/backends/web1")["spec"]["state"] == "active"


@pytest.mark.parametrize("number", ["0", "-1", "x", str(1 << 62), "9" * 400])
def test_impossible_revisions(api: Api, number: str) -> None:
    problem = api("GET", f"/v1/revisions/{number}", status=422).json()
    assert [(e["pointer"], e["in"]) for e in problem["errors"]] == [("/revision", "path")]


def test_a_fault_of_the_server_says_nothing_of_its_inside(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("secret inside")

    monkeypatch.setattr(api.controller, "director_statuses", broken)
    problem = api("GET", "/v1/directors", status=500)
    assert kind(problem) == "internal-error"
    assert "secret" not in problem.text


def test_a_store_that_fails_is_said(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise StoreError("the store failed: disk full")

    monkeypatch.setattr(api.store, "write", full)
    problem = api("POST", "/v1/apply", DOCUMENT, status=503)
    assert kind(problem) == "unavailable"
    assert "disk full" in problem.json()["detail"]


def test_every_type_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs/api.md").read_text()
    for name, what in KINDS.items():
        assert f"| `{name}` | {what.status} |" in text, name


# ---- fuzzing: bodies near valid ones, and anything else ----

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(["web", "10.0.0.1", "::1", "80-79", "1-65535", "active", "::/0", "fe80::1%eth0", "\x00"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    keys: Any = list(value) if isinstance(value, dict) else []
    if isinstance(value, list):
        keys = range(len(value))
    return [at, *(place for key in keys for place in places(value[key], (*at, key)))]


def replaced(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    if not place:
        return new
    copy = value.copy()
    copy[place[0]] = replaced(value[place[0]], place[1:], new)
    return copy


HTTP_CHECK = {
    "type": "http",
    "port": 80,
    "path": "/",
    "interval_ms": 500,
    "expected_status": [200, "300-399"],
}
FULL_POOL = {"name": "web", **POOL, "health_check": HTTP_CHECK}
FULL_SERVICE = {
    "name": "www",
    **SERVICE,
    "seed": "0" * 32,
    "hash_fields": ["src_addr"],
    "hops": 2,
}
WHOLE = {"pools": [FULL_POOL], "services": [FULL_SERVICE]}


@st.composite
def nearly(draw: st.DrawFn, valid: Any) -> Any:
    value = valid
    for _ in range(draw(st.integers(1, 2))):
        value = replaced(value, draw(st.sampled_from(places(value))), draw(VALUES))
    return value


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    found = Api(tmp_path_factory.mktemp("fuzz"), Settings())
    yield found
    found.close()


quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(body=nearly(WHOLE) | VALUES)
def test_no_document_makes_a_500(fuzzed: Api, body: Any) -> None:
    # The health checks of whatever this means are not wanted: nothing is kept.
    content = json.dumps(body).encode()
    response = fuzzed("POST", "/v1/apply?dry_run=true", headers=JSON, content=content)
    assert response.status_code in (200, 422), response.text


@quick
@given(
    case=st.one_of(
        st.tuples(st.just("/v1/pools/web"), nearly(FULL_POOL)),
        st.tuples(st.just("/v1/pools/web/backends/web1"), nearly(POOL["backends"][0])),
        st.tuples(st.just("/v1/services/www"), nearly(FULL_SERVICE)),
    ),
    condition=st.sampled_from([("If-Match", "*"), ("If-None-Match", "*"), ("If-Match", '"1"')]),
)
def test_no_resource_makes_a_500(fuzzed: Api, case: tuple[str, Any], condition: tuple[str, str]) -> None:
    path, body = case
    content = json.dumps(body).encode()
    response = fuzzed("PUT", path, headers={**JSON, **dict([condition])}, content=content)
    assert response.status_code in (200, 201, 404, 412, 422), response.text


@quick
@given(
    parts=st.lists(st.text(max_size=8) | st.sampled_from(["pools", "web", "backends", "drain"]), max_size=5),
    query=st.dictionaries(st.text(max_size=5) | st.just("limit"), st.text(max_size=5), max_size=2),
    method=st.sampled_from(["GET", "PUT", "POST", "DELETE", "PATCH", "HEAD"]),
)
def test_no_path_makes_a_500(fuzzed: Api, parts: list[str], query: dict[str, str], method: str) -> None:
    def safe(text: str) -> str:
        return quote(text.encode("utf-8", "replace"), safe="")

    path = "/v1/" + "/".join(safe(part) for part in parts)
    path += "?" + "&".join(f"{safe(name)}={safe(value)}" for name, value in query.items())
    response = fuzzed.runner.run(fuzzed.client.request(method, path))
    assert response.status_code < 500, response.text
