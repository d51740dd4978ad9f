"""Say what applying a document would do to connections. Changes nothing."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from api import examples
from api.deps import Controlled, document_body
from glbpy.models import Document
from glbpy.plan import Plan

router = APIRouter(tags=["apply"])


@router.post("/v1/plan", openapi_extra=examples.body("Document", examples.DOCUMENT))
async def plan(
    document: Annotated[Document, Depends(document_body)],
    controller: Controlled,
    prune: Annotated[bool, Query(description="As if pools and services that it does not have went.")] = False,
) -> Plan:
    """Compile a document and compare with what is in force: which flows move, which connections can break."""
    return await controller.plan(document, prune=prune)
