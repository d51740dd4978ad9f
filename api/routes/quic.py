"""What a backend's QUIC servers need, so that directors find them by connection id."""

from fastapi import APIRouter

from api.deps import Controlled
from api.resources import InForce, in_force
from glbpy import quic
from glbpy.models import Model

router = APIRouter(prefix="/v1/pools/{pool}/backends/{backend}/quic", tags=["backends"])


class QuicResource(Model):
    """QUIC-LB configurations of a backend, of every service that leads to it."""

    pool: str
    backend: str
    draft: str
    revision: int | None = InForce
    configurations: tuple[quic.ServerConfiguration, ...]


@router.get("")
async def get_quic(pool: str, backend: str, controller: Controlled) -> QuicResource:
    """Show the server ids and keys that a backend's QUIC servers make connection ids of."""
    found = quic.of_backend(controller.desired, controller.store.secret, pool, backend)
    return QuicResource(
        pool=pool, backend=backend, draft=quic.DRAFT, revision=in_force(controller),
        configurations=tuple(found),
    )  # fmt: skip
