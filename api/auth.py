"""Who may talk to the API: bearer tokens, and no web page of another origin.

Without tokens the API serves this machine only, so a browser on it is the one way in from outside:
a page may post to 127.0.0.1, or have its own name resolve there. Host and Origin are checked against both.
"""

import ipaddress
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api.problems import Problem
from glbpy.tokens import Tokens

OPEN_PATHS = frozenset({"/healthz"})


def is_local_name(host: str) -> bool:
    """Tell whether a Host is an address or localhost: names can be made to resolve to this machine."""
    name = urlsplit("//" + host).hostname or ""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Guard:
    """ASGI middleware around all routes, so that without a token not even paths can be told apart."""

    def __init__(self, app: ASGIApp, tokens: Tokens | None) -> None:
        self.app = app
        self.tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope.setdefault("state", {})["actor"] = "api"
            problem = self.refusal(Request(scope))
            if problem is not None:
                await problem.response()(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def refusal(self, request: Request) -> Problem | None:
        if request.scope["path"] in OPEN_PATHS:
            return None
        if self.tokens is None:
            return self.foreign(request)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        owner = self.tokens.owner(token.strip()) if scheme.lower() == "bearer" else None
        if owner is not None:
            request.state.actor = owner
            return None
        detail = "send Authorization: Bearer <token>"
        return Problem("unauthorized", detail, headers={"WWW-Authenticate": 'Bearer realm="glbpy"'})

    def foreign(self, request: Request) -> Problem | None:
        host = request.headers.get("host", "")
        try:
            local = is_local_name(host)
            origin = urlsplit(request.headers.get("origin", "")).netloc
        except ValueError:
            local, origin = False, ""
        if not local:
            return Problem("forbidden", f"without tokens, Host must be an address or localhost, not {host!r}")
        if "origin" in request.headers and origin != host:
            return Problem("forbidden", "without tokens, pages of another origin may not call this API")
        return None
