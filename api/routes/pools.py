"""Pools, whole: with their backends."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from api import examples, resources
from api.deps import Actor, Controlled, Expected, Forced, Page, Paged, spec_body
from api.preconditions import etag
from api.resources import PoolResource, PoolWritten
from glbpy.models import Pool
from glbpy.status import WriteResult

router = APIRouter(prefix="/v1/pools", tags=["pools"])


@router.get("")
async def list_pools(controller: Controlled, paging: Paged) -> Page[PoolResource]:
    """List pools by name."""
    state = controller.desired
    names = [pool.name for pool in state.document.pools]
    return paging.page(names, lambda name: resources.pool(controller, state, name))


@router.get("/{pool}")
async def get_pool(pool: str, controller: Controlled, response: Response) -> PoolResource:
    """Show one pool with its backends."""
    found = resources.pool(controller, controller.desired, pool)
    response.headers["ETag"] = etag(found.revision)
    return found


@router.put("/{pool}", openapi_extra=examples.body("Pool", examples.POOL))
async def put_pool(
    pool: str,
    spec: Annotated[Pool, Depends(spec_body(Pool))],
    expected: Expected,
    actor: Actor,
    controller: Controlled,
    response: Response,
    force: Forced = False,
) -> PoolWritten:
    """Create or replace a pool. Backends that are not listed go; one without a state keeps its own."""
    result = await controller.put_pool(spec, expect=expected, force=force, actor=actor)
    found = resources.pool(controller, controller.desired, pool)
    response.headers["ETag"] = etag(found.revision)
    response.status_code = 201 if result.created else 200
    return PoolWritten(**dict(found), result=result)


@router.delete("/{pool}")
async def delete_pool(pool: str, expected: Expected, actor: Actor, controller: Controlled) -> WriteResult:
    """Delete a pool that no service uses."""
    return await controller.delete_pool(pool, expect=expected, actor=actor)
