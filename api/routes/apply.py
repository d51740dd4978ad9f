"""Apply a whole document as one revision: all of it or nothing."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from api import examples
from api.deps import Actor, Controlled, Forced, document_body
from glbpy.models import Document
from glbpy.status import WriteResult

router = APIRouter(tags=["apply"])


@router.post("/v1/apply", openapi_extra=examples.body("Document", examples.DOCUMENT))
async def apply(
    document: Annotated[Document, Depends(document_body)],
    controller: Controlled,
    actor: Actor,
    dry_run: Annotated[bool, Query(description="Say what would change, change nothing.")] = False,
    prune: Annotated[bool, Query(description="Remove pools and services that it does not have.")] = False,
    force: Forced = False,
) -> WriteResult:
    """Create or replace the pools and services of a document. Others are left alone."""
    return await controller.apply(document, prune=prune, dry_run=dry_run, force=force, actor=actor)
