"""Source lists: their prefixes are plain text, one in a line, and no part of a revision."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field

from api import bodies
from api.deps import Actor, Controlled, Expected, Page, Paged
from api.preconditions import etag
from api.problems import Fault, Problem
from glbpy.controller import Controller
from glbpy.errors import InvalidInputError
from glbpy.models import Model, Name
from glbpy.source_lists import Change, ListInfo
from glbpy.store import list_users

router = APIRouter(prefix="/v1/lists", tags=["lists"])

TEXT: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "Prefixes, one in a line; an address alone has all its bits. # begins a comment.",
        "content": {
            "text/plain": {"schema": {"type": "string"}, "example": "192.0.2.0/24\n2001:db8::/32\n"}
        },
    }
}


class ListStatus(Model):
    in_force: bool
    used_by: tuple[str, ...]


class ListResource(ListInfo):
    """A list without its prefixes: those are at ``…/prefixes``."""

    status: ListStatus


class ListChanged(ListResource):
    """The answer to a write."""

    changed: bool
    difference: int = Field(description="How many prefixes more than before.")


class ListDeleted(Model):
    name: str


async def text_body(request: Request) -> bytes:
    return await bodies.read_text(request)


Text = Annotated[bytes, Depends(text_body)]


def describe(controller: Controller, info: ListInfo) -> ListResource:
    users = tuple(list_users(controller.desired.document, info.name))
    return ListResource(**dict(info), status=ListStatus(in_force=controller.lists_in_force(), used_by=users))


async def write(
    controller: Controller, name: str, change: Change, text: bytes, actor: str, expected: Any = None
) -> tuple[ListChanged, bool]:
    """Return the answer, and whether the list is new."""
    try:
        written = await controller.write_list(name, change, text, expect=expected, actor=actor)
    except InvalidInputError as error:
        raise Problem("invalid", error.detail, [Fault("", error.detail)]) from None
    more = written.after.prefixes - (written.before.prefixes if written.before else 0)
    found = describe(controller, written.after)
    return ListChanged(**dict(found), changed=written.changed, difference=more), written.before is None


@router.get("")
async def list_lists(controller: Controlled, paging: Paged) -> Page[ListResource]:
    """List source lists by name, without their prefixes."""
    found = {info.name: info for info in controller.lists()}
    return paging.page(list(found), lambda name: describe(controller, found[name]))


@router.get("/{list}")
async def get_list(list: str, controller: Controlled, response: Response) -> ListResource:
    """Show one list without its prefixes."""
    info, _ = await controller.list_text(list)
    response.headers["ETag"] = etag(info.version)
    return describe(controller, info)


@router.get("/{list}/prefixes", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def get_prefixes(list: str, controller: Controlled) -> Response:
    """Return the prefixes: in order, one in a line."""
    info, text = await controller.list_text(list)
    return Response(text, headers={"ETag": etag(info.version)}, media_type="text/plain")


@router.put("/{list}", openapi_extra=TEXT)
async def put_list(
    list: Name, text: Text, expected: Expected, actor: Actor, controller: Controlled, response: Response
) -> ListChanged:
    """Create a list, or replace its prefixes."""
    found, created = await write(controller, list, "put", text, actor, expected)
    response.headers["ETag"] = etag(found.version)
    response.status_code = 201 if created else 200
    return found


@router.post("/{list}/add", openapi_extra=TEXT)
async def add_prefixes(list: str, text: Text, actor: Actor, controller: Controlled) -> ListChanged:
    """Add prefixes; those that it has already count for nothing."""
    return (await write(controller, list, "add", text, actor))[0]


@router.post("/{list}/remove", openapi_extra=TEXT)
async def remove_prefixes(list: str, text: Text, actor: Actor, controller: Controlled) -> ListChanged:
    """Remove exactly these prefixes; others stay, also those around or inside them."""
    return (await write(controller, list, "remove", text, actor))[0]


@router.delete("/{list}")
async def delete_list(list: str, expected: Expected, actor: Actor, controller: Controlled) -> ListDeleted:
    """Delete a list that no service names."""
    await controller.delete_list(list, expect=expected, actor=actor)
    return ListDeleted(name=list)
