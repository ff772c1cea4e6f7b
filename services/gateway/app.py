"""The gateway's wiring: the application, and its server beside or apart from other services."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import timedelta

import structlog
import uvicorn
from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.datastructures import State

from services.gateway import operations
from services.gateway.auth import Verifier
from services.gateway.documentation import openapi
from services.gateway.door import Door, admit
from services.gateway.failures import to_response
from services.gateway.gateway import ApiRequest, Gateway, opened
from services.gateway.routes import (
    billing,
    catalog,
    changes,
    contracts,
    cost_lines,
    deployments,
    drift,
    drift_specs,
    health,
    held_syncs,
    inventory,
    invoices,
    margin,
    me,
    projects,
    provider,
    quotes,
    reports,
    sagas,
    subscriptions,
    usage,
)
from services.gateway.routes import operations as operation_routes
from services.gateway.routes.vocabulary import Routes
from shared.config import Settings
from shared.process import vital
from shared.service import Service

log = structlog.get_logger(__name__)

service: Service[None] = Service("gateway")
service.every(timedelta(hours=1))(operations.forget_old)

MAX_BODY_BYTES = 1024 * 1024
_GRACE_S = 10
_IDLE_S = 75  # longer than load balancers and clients keep an idle connection: a request must not meet its end


def create_app(settings: Settings, gateway: Gateway | None = None) -> Litestar:
    """The application of a gateway. Without one it serves its documentation alone."""
    app = Litestar(
        [_public(), _guarded()],
        state=State({"gateway": gateway}),
        request_class=ApiRequest,
        exception_handlers={Exception: to_response},
        openapi_config=openapi(),
        cors_config=_cors(settings),
        request_max_body_size=MAX_BODY_BYTES,
        logging_config=None,
    )
    app.asgi_handler = Door(app.asgi_handler)
    return app


def _public() -> Routes:
    return Routes("/api", route_handlers=[health.router, contracts.router], security=[{}])


def _guarded() -> Routes:
    nouns = [
        me.router,
        inventory.router,
        reports.router,
        held_syncs.router,
        projects.router,
        provider.router,
        billing.router,
        invoices.router,
        cost_lines.router,
        deployments.router,
        changes.router,
        sagas.router,
        subscriptions.router,
        catalog.router,
        usage.router,
        quotes.router,
        margin.router,
        drift.router,
        drift_specs.router,
        operation_routes.router,
    ]
    return Routes("/api/v1", route_handlers=nouns, before_request=admit, security=[{"token": []}])


def _cors(settings: Settings) -> CORSConfig | None:
    if not settings.cors_origins:
        return None
    return CORSConfig(
        allow_origins=settings.cors_origins,
        allow_methods=["GET", "POST", "PATCH", "PUT", "DELETE"],
        allow_headers=["authorization", "content-type", "idempotency-key", "x-request-id", "traceparent"],
        expose_headers=["location", "retry-after", "x-request-id", "x-correlation-id"],
    )


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Gateway]:
    """A gateway that serves HTTP on GATEWAY_HOST and GATEWAY_PORT (0: a free one), until the block ends.

    Raises `Misconfigured`, and `OSError` where the port is taken.
    """
    verifier = Verifier(settings)
    address = (settings.gateway_host, settings.gateway_port)
    with socket.create_server(address) as listener:
        async with opened(service, settings, verifier) as gateway:
            server = _Server(_configuration(create_app(settings, gateway)))
            url = f"http://{settings.gateway_host}:{listener.getsockname()[1]}"
            async with vital(server.serve([listener]), "the gateway's HTTP server"):
                log.info("gateway serves", url=url)
                try:
                    yield replace(gateway, url=url)
                finally:
                    server.should_exit = True


def _configuration(app: Litestar) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="httptools",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here asks where a request comes from
        timeout_graceful_shutdown=_GRACE_S,
        timeout_keep_alive=_IDLE_S,
    )


class _Server(uvicorn.Server):
    """Signals are the process's: it stops all of its parts in order."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
