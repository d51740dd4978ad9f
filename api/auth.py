"""Who may talk to the API: bearer tokens, and no web page of another origin.

Without tokens the API serves this machine only, so a browser on it is the one way in from outside:
a page may post to 127.0.0.1, or have its own name resolve there. Host and Origin are checked against both.
"""

import hashlib
import hmac
import ipaddress
import secrets
from pathlib import Path
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api.problems import Problem
from glbpy.errors import InvalidInputError

OPEN_PATHS = frozenset({"/healthz"})


class Tokens:
    """The SHA-256 hashes of the tokens that are accepted. Tokens are random, so a plain hash is enough."""

    def __init__(self, hashes: frozenset[bytes]) -> None:
        self.hashes = hashes

    @classmethod
    def load(cls, path: Path) -> "Tokens":
        """Read a file of lines ``sha256:<64 hex digits> [who]``; empty lines and # comments are skipped."""
        hashes = set()
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInputError(f"cannot read the token file {path}: {error}") from None
        for number, line in enumerate(lines, 1):
            text = line.split("#")[0].strip()
            if not text:
                continue
            kind, _, digest = text.split()[0].partition(":")
            try:
                value = bytes.fromhex(digest)
            except ValueError:
                value = b""
            if kind != "sha256" or len(value) != 32:
                raise InvalidInputError(
                    f"{path}:{number}: not 'sha256:<64 hex digits>'; `glb token` prints such a line"
                )
            hashes.add(value)
        if not hashes:
            raise InvalidInputError(f"{path} holds no token; `glb token` makes one")
        return cls(frozenset(hashes))

    def accepts(self, token: str) -> bool:
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        # Compares with every hash, so that time tells nothing about which one is near.
        return sum([hmac.compare_digest(digest, known) for known in self.hashes]) > 0


def new_token(who: str) -> tuple[str, str]:
    """Return a fresh token and its line for the token file."""
    token = secrets.token_urlsafe(32)
    return token, f"sha256:{hashlib.sha256(token.encode()).hexdigest()} {who}".rstrip()


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
        if scheme.lower() == "bearer" and self.tokens.accepts(token.strip()):
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
