"""Services."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from api import examples, resources
from api.deps import Actor, Controlled, Expected, Page, Paged, spec_body
from api.preconditions import etag
from api.resources import ServiceResource, ServiceWritten
from glbpy.models import Service
from glbpy.status import WriteResult

router = APIRouter(prefix="/v1/services", tags=["services"])


@router.get("")
async def list_services(controller: Controlled, paging: Paged) -> Page[ServiceResource]:
    """List services by name."""
    state = controller.desired
    names = [service.name for service in state.document.services]
    return paging.page(names, lambda name: resources.service(controller, state, name))


@router.get("/{service}")
async def get_service(service: str, controller: Controlled, response: Response) -> ServiceResource:
    """Show one service."""
    found = resources.service(controller, controller.desired, service)
    response.headers["ETag"] = etag(found.revision)
    return found


@router.put("/{service}", openapi_extra=examples.body("Service", examples.SERVICE))
async def put_service(
    service: str,
    spec: Annotated[Service, Depends(spec_body(Service))],
    expected: Expected,
    actor: Actor,
    controller: Controlled,
    response: Response,
) -> ServiceWritten:
    """Create or replace a service."""
    result = await controller.put_service(spec, expect=expected, actor=actor)
    found = resources.service(controller, controller.desired, service)
    response.headers["ETag"] = etag(found.revision)
    response.status_code = 201 if result.created else 200
    return ServiceWritten(**dict(found), result=result)


@router.delete("/{service}")
async def delete_service(
    service: str, expected: Expected, actor: Actor, controller: Controlled
) -> WriteResult:
    """Delete a service: its VIPs are the kernel's from then on."""
    return await controller.delete_service(service, expect=expected, actor=actor)
