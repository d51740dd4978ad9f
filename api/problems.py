"""Every error as application/problem+json (RFC 9457), with the stable types that docs/api.md lists.

Does not decide what is an error: the controller raises, this module says it in HTTP.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from glbpy.errors import (
    ConflictError,
    DocumentError,
    ForwarderError,
    GlbError,
    InvalidInputError,
    NotFoundError,
    StaleError,
    StoreError,
)
from glbpy.guard import GuardError
from glbpy.models import pointer

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
PREFIX = "urn:glbpy:problem:"


@dataclass(frozen=True)
class Kind:
    """What a problem type means. ``title`` never changes for a type; ``detail`` of an answer does."""

    status: int
    title: str


KINDS: dict[str, Kind] = {
    "malformed-json": Kind(400, "The body is not JSON"),
    "bad-header": Kind(400, "A request header cannot be understood"),
    "bad-request": Kind(400, "The request cannot be understood"),
    "unauthorized": Kind(401, "A valid bearer token is needed"),
    "forbidden": Kind(403, "The request comes from a web page of another origin"),
    "not-found": Kind(404, "There is no such resource"),
    "method-not-allowed": Kind(405, "The resource does not take this method"),
    "conflict": Kind(409, "The change contradicts what is there"),
    "guard-rail": Kind(409, "The change would certainly cost clients something"),
    "precondition-failed": Kind(412, "The resource is not in the state that the request expects"),
    "content-too-large": Kind(413, "The body is larger than the server takes"),
    "unsupported-media-type": Kind(415, "The body must be application/json, of a source list text/plain"),
    "invalid": Kind(422, "A field of the body is wrong"),
    "invalid-parameter": Kind(422, "A parameter of the URL is wrong"),
    "precondition-required": Kind(428, "The write must say which state it expects"),
    "internal-error": Kind(500, "The server failed"),
    "unavailable": Kind(503, "A part that the answer depends on is away"),
}


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong. ``pointer`` is a JSON Pointer (RFC 6901) into what ``where`` names."""

    pointer: str
    detail: str
    where: str = "body"  # body | query | path | header

    def as_json(self) -> dict[str, str]:
        return {"pointer": self.pointer, "detail": self.detail, "in": self.where}


class Problem(Exception):
    """Raised by api/ itself; becomes the answer."""

    def __init__(
        self,
        kind: str,
        detail: str,
        errors: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
        status: int | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.more = more or {}
        self.kind = kind
        self.detail = detail
        self.errors = errors
        self.headers = headers
        self.status = status or KINDS[kind].status

    def response(self) -> Response:
        body: dict[str, Any] = {
            "type": PREFIX + self.kind,
            "title": KINDS[self.kind].title,
            "status": self.status,
            "detail": self.detail,
            **self.more,
        }
        if self.errors:
            body["errors"] = [error.as_json() for error in self.errors]
        # ASCII only: a lone surrogate in the request's own words must not break the answer.
        content = json.dumps(body, ensure_ascii=True).encode("ascii")
        headers = {"Cache-Control": "no-store", **(self.headers or {})}
        return Response(content, self.status, headers, media_type=MEDIA_TYPE)


BY_STATUS = {kind.status: name for name, kind in reversed(KINDS.items())}


def from_http_exception(request: Request, error: HTTPException) -> Problem:
    """FastAPI's own errors: no route, wrong method, and whatever else it refuses."""
    kind = BY_STATUS.get(error.status_code)
    if kind is None:
        kind = "bad-request" if error.status_code < 500 else "internal-error"
    path = request.scope["path"]
    detail = str(error.detail)
    if error.status_code == 404:
        detail = f"no resource has the path {path}"
    headers = dict(error.headers or {})
    if error.status_code == 405:
        allowed = ", ".join(methods(request)) or headers.get("Allow", "other methods")
        headers["Allow"] = allowed
        detail = f"{path} takes {allowed}, not {request.method}"
    return Problem(kind, detail, headers=headers, status=error.status_code)


def methods(request: Request) -> list[str]:
    """Return what the path takes, by the OpenAPI document: FastAPI tells of the first route alone."""
    found: set[str] = set()
    for template, operations in request.app.openapi()["paths"].items():
        if compile_path(template)[0].match(request.scope["path"]):
            found |= {method.upper() for method in operations}
    return sorted(found | {"HEAD"} if "GET" in found else found)


def from_validation(error: RequestValidationError) -> Problem:
    """Parameters that FastAPI checked. Bodies are checked in bodies.py."""
    found = error.errors()
    errors = [Fault(pointer(item["loc"][1:]), item["msg"], str(item["loc"][0])) for item in found]
    listing = "; ".join(f"{item.pointer[1:]}: {item.detail}" for item in errors)
    return Problem("invalid-parameter", listing, errors)


def from_glb_error(error: GlbError, method: str) -> Problem:
    """What the controller raises on purpose."""
    match error:
        case DocumentError():
            return Problem("invalid", str(error), [Fault(item.pointer, item.detail) for item in error.errors])
        case InvalidInputError():
            return Problem("invalid", error.detail, [Fault(error.pointer, error.detail)])
        case NotFoundError():
            return Problem("not-found", str(error))
        case StaleError() if error.current is None and method == "DELETE":
            return Problem("not-found", f"there is no {error.path}")  # RFC 9110 13.2.1: before any condition
        case StaleError():
            headers = {} if error.current is None else {"ETag": f'"{error.current}"'}
            return Problem("precondition-failed", str(error), headers=headers)
        case GuardError():
            rails = [rail.model_dump(mode="json") for rail in error.refused]
            text = f"{error}. With force=true it is done all the same"
            return Problem("guard-rail", text, more={"guard_rails": rails})
        case ConflictError():
            return Problem("conflict", str(error))
        case StoreError() | ForwarderError():
            return Problem("unavailable", str(error))
    log.error("no problem type for %s", type(error).__name__, exc_info=error)
    return Problem("internal-error", str(error))


def install(app: FastAPI) -> None:
    """Make every error of ``app`` a problem."""

    async def problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return error.response()

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return from_http_exception(request, error).response()

    async def validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return from_validation(error).response()

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, GlbError)
        return from_glb_error(error, request.method).response()

    async def unexpected(request: Request, error: Exception) -> Response:
        # Starlette raises it again after answering, so that the server logs the traceback.
        return Problem("internal-error", "this is a fault of the server; its log has the details").response()

    app.add_exception_handler(Problem, problem)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, validation)
    app.add_exception_handler(GlbError, refused)
    app.add_exception_handler(Exception, unexpected)
