"""A client of the REST API: what the command line uses, and small enough to read as an example.

Keeps no state but the connection. Raises ApiError for every problem, with the fields that it names.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from glbpy.errors import ApiError, InvalidInputError

DEFAULT_URL = "http://127.0.0.1:8420"
LABS = Path("/run/glb/lab")
TYPE_PREFIX = "urn:glbpy:problem:"

Json = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """Where the API is, and how that was decided (for messages)."""

    url: str
    token: str | None
    origin: str


def find_target(url: str | None = None, token: str | None = None) -> Target:
    """Return the API to talk to: ``url``, else $GLB_URL, else a running lab's, else the default address.

    The token is ``token``, else $GLB_TOKEN, else the lab's own.
    """
    token = token or os.environ.get("GLB_TOKEN") or None
    if url:
        return Target(url, token, "--url")
    if given := os.environ.get("GLB_URL"):
        return Target(given, token, "$GLB_URL")
    labs = running_labs()
    if len(labs) > 1:
        labs = [lab for lab in labs if lab["name"] == "lab"] or labs
    if len(labs) > 1:
        choices = ", ".join(f"{lab['name']} ({lab['api_url']})" for lab in labs)
        raise InvalidInputError(f"several labs are running: {choices}; say which with --url")
    if labs:
        lab = labs[0]
        return Target(lab["api_url"], token or lab.get("token"), f"lab {lab['name']}")
    return Target(DEFAULT_URL, token, "the default address")


def running_labs() -> list[Json]:
    """Return the states of labs whose `glb serve` is alive, each with its ``name``."""
    found = []
    for path in sorted(LABS.glob("*/state.json")):
        try:
            state = json.loads(path.read_text())
            alive = bool(state["api_url"]) and is_running(int(state["pids"]["serve"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # half-written or left over: not a lab to talk to
        if alive:
            found.append({**state, "name": path.parent.name})
    return found


def is_running(pid: int) -> bool:
    """Tell whether ``pid`` is a living `glb serve`: a pid alone may have been given to somebody else."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"serve" in words


class Client:
    """One connection to an API. Methods return decoded JSON."""

    def __init__(
        self, target: Target, timeout_s: float = 15.0, transport: httpx.BaseTransport | None = None
    ) -> None:
        headers = {"Authorization": f"Bearer {target.token}"} if target.token else {}
        self.target = target
        try:
            self.http = httpx.Client(
                base_url=target.url, headers=headers, timeout=timeout_s, transport=transport, trust_env=False
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise InvalidInputError(f"{target.url!r} ({target.origin}) is not a URL: {error}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        text: bytes | None = None,
    ) -> httpx.Response:
        """Send one request, with a body as JSON or as plain text; a problem becomes an ApiError."""
        if text is not None:
            headers = {"Content-Type": "text/plain", **(headers or {})}
        try:
            response = self.http.request(
                method, path, json=body, content=text, headers=headers, params=params
            )
        except (httpx.UnsupportedProtocol, httpx.InvalidURL):
            where = f"{self.target.url!r} ({self.target.origin})"
            raise InvalidInputError(f"{where} is not an http URL") from None
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise ApiError(
                f"no API answers at {self.target.url} ({self.target.origin}): {reason}\n"
                "  start one with `glb serve --config director.toml` or `glb lab up`, "
                "or name another with --url or $GLB_URL"
            ) from None
        if response.is_success:
            return response
        raise problem(response, self.target)

    def get(self, path: str, **params: Any) -> Json:
        return as_object(self.request("GET", path, params=params))

    def items(self, path: str, **params: Any) -> Iterator[Json]:
        """Yield every item of a list, page by page."""
        page = self.get(path, **params)
        yield from page["items"]
        while page["next"]:
            page = self.get(page["next"])
            yield from page["items"]

    def post(self, path: str, body: Any = None, **params: Any) -> Json:
        return as_object(self.request("POST", path, body, params=params))

    def wait(self, revision: int, timeout_s: float) -> None:
        """Return once every director forwards by ``revision`` or a later one, or raise ApiError."""
        deadline = time.monotonic() + timeout_s
        while True:
            seen = self.items("/v1/directors")
            late = [d for d in seen if not forwards_by(d["status"], revision)]
            if not late:
                return
            if time.monotonic() > deadline:
                why = [
                    f"{d['name']}: {(d['status']['trouble'] or {}).get('message', 'not yet')}" for d in late
                ]
                text = f"revision {revision} is not everywhere after {timeout_s:g} s: {'; '.join(why)}"
                raise ApiError(text, "late")
            time.sleep(0.05)

    def get_text(self, path: str) -> str:
        return self.request("GET", path).text

    def put_text(self, path: str, text: bytes) -> Json:
        """Create or replace, whichever it is."""
        try:
            return as_object(self.request("PUT", path, headers={"If-Match": "*"}, text=text))
        except ApiError as error:
            if error.kind != "precondition-failed":
                raise
        return as_object(self.request("PUT", path, headers={"If-None-Match": "*"}, text=text))

    def post_text(self, path: str, text: bytes) -> Json:
        return as_object(self.request("POST", path, text=text))

    def delete(self, path: str, etag: str = "*", **params: Any) -> Json:
        return as_object(self.request("DELETE", path, headers={"If-Match": etag}, params=params))


def forwards_by(status: Json, revision: int) -> bool:
    """Tell whether a director forwards by the newest snapshot, and that has ``revision``."""
    return bool(status["in_force"]) and (status["confirmed_revision"] or 0) >= revision


def as_object(response: httpx.Response) -> Json:
    try:
        value = response.json()
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ApiError(f"{response.url} did not answer with JSON: is it glbpy's API?", "not-glbpy")
    return value


def problem(response: httpx.Response, target: Target) -> ApiError:
    """Return the error for a response that is not a success: its detail, then each field that is wrong."""
    try:
        body = response.json()
        kind = str(body["type"]).removeprefix(TYPE_PREFIX)
        lines = [str(body.get("detail") or body["title"])]
        errors = [(str(item.get("pointer", "")), str(item["detail"])) for item in body.get("errors", [])]
    except (ValueError, KeyError, TypeError, AttributeError):
        return ApiError(
            f"{target.url} answered {response.status_code} {response.reason_phrase}: is it glbpy's API?",
            "not-glbpy",
            response.status_code,
        )
    if errors:
        title = str(body.get("title", lines[0]))
        lines = [title, *(f"  {pointer or '(whole body)'}: {detail}" for pointer, detail in errors)]
    if kind == "guard-rail":
        rails = [f"{rail['detail']}\n  instead: {rail['fix']}" for rail in body.get("guard_rails", [])]
        lines = ["refused:", *rails, "  --force does it all the same"]
    if kind == "unauthorized":
        lines.append("  give the token with --token or $GLB_TOKEN")
    return ApiError("\n".join(lines), kind, response.status_code)


def path_of(*parts: str) -> str:
    """Return a /v1 path with every part quoted: path_of("pools", "web") is "/v1/pools/web"."""
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)
