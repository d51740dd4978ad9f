"""Backends of a pool, and the two things that people do with them every day: drain and undrain."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from api import examples, resources
from api.deps import Actor, Controlled, Expected, Forced, Page, Paged, spec_body
from api.preconditions import etag
from api.resources import BackendResource, BackendWritten
from glbpy.models import Backend
from glbpy.status import WriteResult

router = APIRouter(prefix="/v1/pools/{pool}/backends", tags=["backends"])


@router.get("")
async def list_backends(pool: str, controller: Controlled, paging: Paged) -> Page[BackendResource]:
    """List the backends of a pool by name."""
    state = controller.desired
    names = [backend.name for backend in state.pool(pool).backends]
    seen = {status.backend: status for status in controller.backend_statuses(pool)}
    return paging.page(names, lambda name: resources.backend(controller, state, pool, name, seen.get(name)))


@router.get("/{backend}")
async def get_backend(pool: str, backend: str, controller: Controlled, response: Response) -> BackendResource:
    """Show one backend."""
    found = resources.backend(controller, controller.desired, pool, backend)
    response.headers["ETag"] = etag(found.revision)
    return found


@router.put("/{backend}", openapi_extra=examples.body("Backend", examples.BACKEND))
async def put_backend(
    pool: str,
    backend: str,
    spec: Annotated[Backend, Depends(spec_body(Backend))],
    expected: Expected,
    actor: Actor,
    controller: Controlled,
    response: Response,
    force: Forced = False,
) -> BackendWritten:
    """Create or replace a backend. Without a state it keeps its own; a new one is active."""
    result = await controller.put_backend(pool, spec, expect=expected, force=force, actor=actor)
    found = resources.backend(controller, controller.desired, pool, backend)
    response.headers["ETag"] = etag(found.revision)
    response.status_code = 201 if result.created else 200
    return BackendWritten(**dict(found), result=result)


@router.delete("/{backend}")
async def delete_backend(
    pool: str, backend: str, expected: Expected, actor: Actor, controller: Controlled
) -> WriteResult:
    """Remove a backend. Connections that still live on it may break: drain it first."""
    return await controller.delete_backend(pool, backend, expect=expected, actor=actor)


@router.post("/{backend}/drain")
async def drain(
    pool: str, backend: str, actor: Actor, controller: Controlled, response: Response, force: Forced = False
) -> WriteResult:
    """Send new connections elsewhere; those that it has go on. Draining twice is draining once."""
    return tagged(await controller.drain(pool, backend, force=force, actor=actor), response)


@router.post("/{backend}/undrain")
async def undrain(
    pool: str, backend: str, actor: Actor, controller: Controlled, response: Response
) -> WriteResult:
    """Give a draining backend new connections again."""
    return tagged(await controller.undrain(pool, backend, actor=actor), response)


def tagged(result: WriteResult, response: Response) -> WriteResult:
    if result.version is not None:
        response.headers["ETag"] = etag(result.version)
    return result
