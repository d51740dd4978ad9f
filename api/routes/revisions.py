"""Revisions: every state that the configuration has had. They are never changed or deleted."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from api.deps import Actor, Controlled, Forced, Page
from api.preconditions import etag
from api.resources import Difference, RevisionResource
from glbpy.status import WriteResult

router = APIRouter(prefix="/v1/revisions", tags=["revisions"])

Largest = (1 << 62) - 1
Number = Annotated[int, Path(ge=1, le=Largest, description="A revision's number.")]


@router.get("")
async def list_revisions(
    request: Request,
    controller: Controlled,
    limit: Annotated[int, Query(ge=1, le=1000, description="Items in a page, at most.")] = 100,
    before: Annotated[
        int | None, Query(ge=1, le=Largest, description="Only older ones; `next` has it filled in.")
    ] = None,
) -> Page[RevisionResource]:
    """List revisions, newest first, without their documents."""
    found = await asyncio.to_thread(controller.store.revisions, limit + 1, before)
    items = tuple(RevisionResource(**dict(revision)) for revision in found[:limit])
    more = f"{request.url.path}?limit={limit}&before={items[-1].number}" if len(found) > limit else None
    return Page(items=items, next=more)


@router.get("/{revision}")
async def get_revision(revision: Number, controller: Controlled, response: Response) -> RevisionResource:
    """Show one revision with its document, which `/v1/apply` takes."""
    found = await asyncio.to_thread(controller.store.revision, revision)
    response.headers["ETag"] = etag(found.number)
    return RevisionResource(**dict(found))


@router.get("/{revision}/diff")
async def diff_revision(
    revision: Number,
    controller: Controlled,
    since: Annotated[
        int | None, Query(ge=0, le=Largest, description="Compare with this; by default the one before.")
    ] = None,
) -> Difference:
    """Show what changed from one revision to another."""
    start = revision - 1 if since is None else since
    changes = await asyncio.to_thread(controller.store.diff, start, revision)
    return Difference(since=start, revision=revision, changes=tuple(changes))


@router.post("/{revision}/rollback")
async def rollback(
    revision: Number,
    controller: Controlled,
    actor: Actor,
    dry_run: Annotated[bool, Query(description="Say what would change, change nothing.")] = False,
    force: Forced = False,
) -> WriteResult:
    """Make the configuration what it was at this revision, as a new revision."""
    return await controller.rollback(revision, dry_run=dry_run, force=force, actor=actor)
