"""Directors: what they forward by, and whether that is what is wanted. Nothing to write."""

from fastapi import APIRouter

from api.deps import Controlled, Page, Paged
from api.resources import DirectorResource

router = APIRouter(prefix="/v1/directors", tags=["directors"])


@router.get("")
async def list_directors(controller: Controlled, paging: Paged) -> Page[DirectorResource]:
    """List directors by name, as last seen."""
    seen = {status.name: status for status in controller.director_statuses()}
    return paging.page(list(seen), lambda name: DirectorResource(name=name, status=seen[name]))


@router.get("/{name}")
async def get_director(name: str, controller: Controlled) -> DirectorResource:
    """Show one director, as last seen."""
    return DirectorResource(name=name, status=controller.director_status(name))
