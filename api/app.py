"""The FastAPI application: puts routes, errors and access together. No behaviour of its own."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import Depends, FastAPI

from api import openapi, problems
from api.auth import Guard
from api.deps import known_parameters
from api.head import Head
from api.routes import (
    allow_list,
    apply,
    backends,
    directors,
    health,
    lists,
    metrics,
    plan,
    pools,
    quic,
    revisions,
    services,
)
from api.settings import Settings
from glbpy import __version__
from glbpy.controller import Controller

__all__ = ["Settings", "create_app", "make_server"]

ROUTES = (
    services, pools, allow_list, backends, quic, lists, directors, revisions, apply, plan, health, metrics,
)  # fmt: skip


def create_app(controller: Controller, settings: Settings | None = None) -> FastAPI:
    """Return the API of a controller. Whoever serves it also runs the controller, on the same event loop."""
    settings = settings or Settings()
    app = FastAPI(
        title="glbpy",
        version=__version__,
        description="Services, pools and backends of a layer-4 load balancer. Errors: docs/api.md.",
        docs_url=None,  # they load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
        dependencies=[Depends(known_parameters)],
    )
    app.state.controller = controller
    app.state.settings = settings
    app.state.scraping = asyncio.Lock()
    for module in ROUTES:
        app.include_router(module.router)
    problems.install(app)
    app.add_middleware(Guard, tokens=settings.tokens)
    app.add_middleware(Head)  # the last one is outermost
    plain = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            openapi.complete(plain(), needs_token=settings.tokens is not None)
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]
    app.openapi()  # known_parameters goes by it
    return app


class Server(uvicorn.Server):
    """uvicorn, but signals are the caller's: uvicorn would end the process by the signal once it is done."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def make_server(app: FastAPI) -> uvicorn.Server:
    """Return what serves ``app`` on given sockets; setting its ``should_exit`` ends it."""
    return Server(
        uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=3,
        )
    )
