"""Who may send to a pool's backends, in the form that glb-redirect reads."""

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from api.deps import Controlled

router = APIRouter(prefix="/v1/pools/{pool}/allow-list", tags=["pools"])


@router.get("", response_class=PlainTextResponse)
async def get_allow_list(pool: str, controller: Controlled) -> str:
    """Print the allow-list for the backends of a pool: directors, and the backends as peers."""
    return controller.allow_list(pool)
