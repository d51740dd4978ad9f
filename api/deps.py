"""What routes ask for: the controller, who is asking, the page of a list, and a checked body."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Any, Generic, TypeVar
from urllib.parse import urlencode

from fastapi import Depends, Query, Request

from api import bodies
from api.preconditions import Precondition, precondition
from api.problems import Fault, Problem
from glbpy.controller import Controller
from glbpy.errors import DocumentError, FieldError
from glbpy.models import Document, Model, parse, pointer

T = TypeVar("T")
M = TypeVar("M", bound=Model)

ENVELOPE = frozenset({"name", "pool", "revision", "spec", "status"})  # what a GET answers with


def controller(request: Request) -> Controller:
    found = request.app.state.controller
    assert isinstance(found, Controller)
    return found


def actor(request: Request) -> str:
    """Who makes a change, for the list of revisions: the token's owner, or just "api"."""
    return str(request.state.actor)


def known_parameters(request: Request) -> None:
    """Refuse query parameters that the route does not have, and any that is given twice."""
    route = request.scope["route"]
    operation = request.app.openapi()["paths"].get(route.path, {}).get(request.method.lower(), {})
    known = {item["name"] for item in operation.get("parameters", []) if item["in"] == "query"}
    faults = []
    for name in request.query_params:
        if name not in known:
            offer = f"this takes {', '.join(sorted(known))}" if known else "this takes none"
            faults.append(Fault(f"/{name}", f"there is no such parameter; {offer}", "query"))
        elif len(request.query_params.getlist(name)) > 1:
            faults.append(Fault(f"/{name}", "give it once", "query"))
    if faults:
        text = "; ".join(f"{fault.pointer[1:]}: {fault.detail}" for fault in faults)
        raise Problem("invalid-parameter", text, faults)


class Page(Model, Generic[T]):
    """A part of a list. ``next`` is the path of the next part, null at the end."""

    items: tuple[T, ...]
    next: str | None


class Paging:
    """Query parameters of a list that is sorted by a key."""

    def __init__(
        self,
        request: Request,
        limit: Annotated[int, Query(ge=1, le=1000, description="Items in a page, at most.")] = 100,
        after: Annotated[
            str, Query(max_length=100, description="Start behind this; `next` has it filled in.")
        ] = "",
    ) -> None:
        self.path = request.url.path
        self.limit = limit
        self.after = after

    def page(self, names: Sequence[str], make: Callable[[str], T]) -> Page[T]:
        """Return the page of the things called ``names``; only those in it are made."""
        behind = sorted(name for name in names if name > self.after)
        part = behind[: self.limit]
        more = self.link(part[-1]) if len(behind) > len(part) else None
        return Page(items=tuple(make(name) for name in part), next=more)

    def link(self, after: str) -> str:
        return f"{self.path}?{urlencode({'limit': self.limit, 'after': after})}"


def spec_body(model: type[M]) -> Callable[[Request], Coroutine[Any, Any, M]]:
    """Return a dependency that reads a PUT's body: the spec, or a whole GET answer with the spec in it.

    The name may be left out, since the path has it.
    """

    async def read(request: Request) -> M:
        value = await bodies.read_json(request)
        prefix = ""
        if isinstance(value, dict) and "spec" in value:
            for key in value.keys() - ENVELOPE:
                raise invalid([FieldError(pointer([key]), "there is no such field beside spec")])
            value, prefix = value["spec"], "/spec"
        name = list(request.path_params.values())[-1]
        if isinstance(value, dict):
            value = {"name": name, **value}
        try:
            found = parse(model, value)
        except DocumentError as error:
            raise invalid(error.errors, prefix) from None
        if getattr(found, "name", None) != name:
            raise invalid([FieldError("/name", f"the path says {name}")], prefix)
        return found

    return read


async def document_body(request: Request) -> Document:
    value = await bodies.read_json(request)
    try:
        return parse(Document, value)
    except DocumentError as error:
        raise invalid(error.errors) from None


def invalid(errors: Sequence[FieldError], prefix: str = "") -> Problem:
    """Return the problem for wrong fields of the body."""
    faults = [Fault(prefix + error.pointer, error.detail) for error in errors]
    text = "; ".join(f"{fault.pointer or 'body'}: {fault.detail}" for fault in faults)
    return Problem("invalid", text, faults)


Controlled = Annotated[Controller, Depends(controller)]
Actor = Annotated[str, Depends(actor)]
Expected = Annotated[Precondition, Depends(precondition)]
Paged = Annotated[Paging, Depends()]
Forced = Annotated[bool, Query(alias="force", description="Also where a guard rail refuses it.")]
