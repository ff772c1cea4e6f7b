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


_SHOW_DEPLOYMENT = """
  select json_build_object(
    'deployment', d,
    'subscription', (
      select json_build_object('id', s.id, 'status', s.status, 'plan_version_id', s.plan_version_id,
        'current_period_start', s.current_period_start, 'current_period_end', s.current_period_end,
        'trial_ends_at', s.trial_ends_at, 'addons', (
          select coalesce(json_agg(json_build_object('addon_id', a.addon_id, 'resource_kind', a.resource_kind,
            'qty', a.qty, 'price_cents', a.price_cents) order by a.id), '[]')
          from deployments.subscription_addons a where a.subscription_id = s.id and a.detached_at is null))
      from deployments.subscriptions s where s.deployment_id = $2),
    'events', (
      select coalesce(json_agg(json_build_object('from_state', e.from_state, 'to_state', e.to_state,
        'reason', e.reason, 'actor', e.actor, 'occurred_at', e.occurred_at) order by e.id desc), '[]')
      from (select * from deployments.cloud_deployment_events where deployment_id = $2
            order by id desc limit 1000) e),
    'saga', null)::text
  from (select id, tenant_id, slug, display_name, region, state, state_since, llm_mode, template_code,
          billing_action_suspended
        from deployments.cloud_deployments where id = $2 and tenant_id = $1) d
"""


@get("/api/v1/inventory")
async def resources(request: Request[Any, Any, Any], limit: int = 1000) -> ASGIResponse:
    identity = request.app.state.verifier.identity(request.headers.get("authorization"))
    return _answer(await request.app.state.pool.fetchval(_LIST, identity.tenant_id, limit))


@get("/api/v1/inventory/{resource_id:uuid}")
async def resource(request: Request[Any, Any, Any], resource_id: UUID) -> ASGIResponse:
    identity = request.app.state.verifier.identity(request.headers.get("authorization"))
    return _answer(await request.app.state.pool.fetchval(_SHOW, identity.tenant_id, resource_id))


@get("/api/v1/deployments/{deployment_id:uuid}")
async def deployment(request: Request[Any, Any, Any], deployment_id: UUID) -> ASGIResponse:
    identity = request.app.state.verifier.identity(request.headers.get("authorization"))
    return _answer(await request.app.state.pool.fetchval(_SHOW_DEPLOYMENT, identity.tenant_id, deployment_id))


def _answer(body: str) -> ASGIResponse:
    return ASGIResponse(body=body.encode(), media_type="application/json")


@asynccontextmanager
async def _lifespan(app: Litestar) -> AsyncIterator[None]:
    settings = Settings()
    app.state.verifier = Verifier(settings)
    size = settings.database_pool_size
    async with asyncpg.create_pool(settings.database_url.get_secret_value(), min_size=size, max_size=size) as pool:
        app.state.pool = pool
        yield


def main() -> None:
    app = Litestar([resources, resource, deployment], lifespan=[_lifespan], logging_config=None, openapi_config=None)
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", access_log=False, http="httptools")


if __name__ == "__main__":
    main()
