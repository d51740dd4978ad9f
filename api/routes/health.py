"""Whether the server lives, whether it is ready, and the whole at a glance."""

from fastapi import APIRouter

from api.deps import Controlled
from api.problems import Problem
from glbpy.models import Model
from glbpy.status import ControllerStatus

router = APIRouter(tags=["health"])


class Alive(Model):
    status: str = "ok"


@router.get("/healthz")
async def healthz() -> Alive:
    """Tell that the server answers. Needs no token, and looks at nothing else."""
    return Alive()


@router.get("/readyz")
async def readyz(controller: Controlled) -> Alive:
    """Tell that the store can be read, the configuration compiles, and every director forwards."""
    status = controller.status()
    wrong = []
    if status.compile_trouble is not None:
        wrong.append(f"the configuration does not compile: {status.compile_trouble.message}")
    for director in status.directors:
        if director.trouble is not None:
            wrong.append(f"director {director.name}: {director.trouble.message}")
        elif not director.reachable or director.confirmed_revision is None:
            wrong.append(f"director {director.name} does not forward yet")
    if wrong:
        raise Problem("unavailable", "; ".join(wrong))
    return Alive(status="ready")


@router.get("/v1/status")
async def status(controller: Controlled) -> ControllerStatus:
    """Show the whole at a glance, and what an operator should see to."""
    return controller.status()
