"""`python -m bench.bare_gateway PORT`: the peer of the gateway's reads. Litestar, asyncpg, the token's check, no more.

It reads the tables themselves with the tenant in the `where`, so one forgotten `where` would show everything to
everybody. No limits, no request ids, no log, no problem responses.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import uvicorn
from litestar import Litestar, Request, get
from litestar.response.base import ASGIResponse

from services.gateway.auth import Verifier
from shared.config import Settings

_COLUMNS = """id, kind, provider, provider_id, name, region, state, size_slug, tags, attrs, project_id, tenant_id,
  deployment_id, first_seen_at, last_seen_at, stale_strike_count, deleted_at, version"""
_LIST = f"""
  select json_build_object('resources', coalesce(json_agg(r), '[]'), 'count', count(*), 'next', null)::text
  from (select {_COLUMNS} from inventory.cloud_resources
        where tenant_id = $1 and deleted_at is null order by id limit $2) r
"""
_SHOW = f"""
  select json_build_object('resource', r, 'events', (
    select coalesce(json_agg(e), '[]') from (
      select id, resource_id, event_type, changes, reason, actor, tenant_id, version, occurred_at
      from inventory.cloud_resource_events
      where resource_id = $2 and tenant_id = $1 order by id desc limit 1000) e))::text
  from (select {_COLUMNS} from inventory.cloud_resources where id = $2 and tenant_id = $1) r
"""


@get("/api/v1/inventory")
async def resources(request: Request[Any, Any, Any], limit: int = 1000) -> ASGIResponse:
    identity = request.app.state.verifier.identity(request.headers.get("authorization"))
    return _answer(await request.app.state.pool.fetchval(_LIST, identity.tenant_id, limit))


@get("/api/v1/inventory/{resource_id:uuid}")
async def resource(request: Request[Any, Any, Any], resource_id: UUID) -> ASGIResponse:
    identity = request.app.state.verifier.identity(request.headers.get("authorization"))
    return _answer(await request.app.state.pool.fetchval(_SHOW, identity.tenant_id, resource_id))


def _answer(body: str) -> ASGIResponse:
    return ASGIResponse(body=body.encode(), media_type="application/json")


@asynccontextmanager
async def _lifespan(app: Litestar) -> AsyncIterator[None]:
    settings = Settings()
    app.state.verifier = Verifier(settings)
    size = settings.database_pool_size
    async with asyncpg.create_pool(settings.role_url("inventory"), min_size=size, max_size=size) as pool:
        app.state.pool = pool
        yield


def main() -> None:
    app = Litestar([resources, resource], lifespan=[_lifespan], logging_config=None, openapi_config=None)
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", access_log=False, http="httptools")


if __name__ == "__main__":
    main()
