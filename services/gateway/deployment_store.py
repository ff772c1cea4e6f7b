"""Reads of deployments, subscriptions and the catalog: every SQL statement. They give JSON text, the answer's body."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from services.gateway.auth import Identity
from services.gateway.store import Read, Views

_DEPLOYMENTS = Read("select tenant_deployments($1, $2, $3, $4)", "select operator_deployments($1, $2, $3)")
_DEPLOYMENT = Read("select tenant_deployment($1, $2, $3)", "select operator_deployment($1, $2)")
_SUBSCRIPTION = Read("select tenant_subscription($1, $2, $3)", "select operator_subscription($1, $2)")
_PLANS = Read("select tenant_plans($1, true)", "select operator_plans(true)")
_ADDONS = Read("select tenant_addons($1, true)", "select operator_addons(true)")
_PRICES = Read("select tenant_resource_prices($1, $2)", "select operator_resource_prices($1)")


async def list_deployments(
    views: Views, identity: Identity, *, state: str | None, after: UUID | None, limit: int
) -> str:
    """A page of deployments, `{"deployments": [...], "count": n, "next": ...}`."""
    return await views.get(identity, _DEPLOYMENTS, state, after, limit)


async def find_deployment(views: Views, identity: Identity, id: UUID, *, events: int) -> str | None:
    """A deployment with its subscription and its newest events; None where it is not seen."""
    return await views.find(identity, _DEPLOYMENT, id, events)


async def find_subscription(views: Views, identity: Identity, deployment_id: UUID, *, events: int) -> str | None:
    """A deployment's subscription, its addons and its newest events; None where it has none, or it is not seen."""
    return await views.find(identity, _SUBSCRIPTION, deployment_id, events)


async def find_owner(views: Views, deployment_id: UUID) -> str | None:
    """Whose a deployment is."""
    async with views.tenant.connection() as conn:
        owner: str | None = await conn.fetchval(
            "select tenant_id from deployments.v1_deployment_owner where id = $1", deployment_id
        )
    return owner


async def list_plans(views: Views, identity: Identity) -> str:
    """The plans that are on sale (an operator's are all), the cheapest first, each with its active version."""
    return await views.get(identity, _PLANS)


async def list_addons(views: Views, identity: Identity) -> str:
    """All addons."""
    return await views.get(identity, _ADDONS)


async def list_resource_prices(views: Views, identity: Identity, at: datetime) -> str:
    """The prices that hold at a time."""
    return await views.get(identity, _PRICES, at)


async def find_plan(views: Views, code: str) -> str | None:
    """A plan with all its versions, the newest first, and how many are subscribed to each."""
    async with views.operator.connection() as conn:
        found: str | None = await conn.fetchval(
            """
            select json_build_object('plan', json_build_object(
              'id', p.id, 'code', p.code, 'name', p.name,
              'versions', (
                select coalesce(json_agg(
                  v.terms::jsonb || jsonb_build_object('subscribers', v.subscribers) order by v.number desc), '[]')
                from deployments.v1_all_plan_versions v where v.plan_id = p.id)))
            from deployments.v1_all_plans p where p.code = $1
            """,
            code,
        )
    return found


async def list_retired_subscribers(views: Views, *, after: UUID | None, limit: int) -> str:
    """A page of those who are on retired versions, and how many there are of each in all."""
    async with views.operator.connection() as conn:
        page: str = await conn.fetchval(
            """
            with page as (
              select item, row_number() over (order by (item).subscription_id) as n
              from (
                select r as item from deployments.v1_all_retired_subscribers r
                where $1::uuid is null or r.subscription_id > $1
                order by r.subscription_id limit $2::int + 1) found),
            versions as (
              select plan_version_id, plan_code, number, base_price_cents, currency, retired_at, count(*) as subscribers
              from deployments.v1_all_retired_subscribers
              group by plan_version_id, plan_code, number, base_price_cents, currency, retired_at)
            select json_build_object(
              'versions', (select coalesce(json_agg(v order by v.plan_code, v.number), '[]') from versions v),
              'subscribers', coalesce(json_agg(item order by n) filter (where n <= $2), '[]'),
              'count', count(*) filter (where n <= $2),
              'next', case when count(*) > $2
                then cursor_of((array_agg((item).subscription_id order by n))[$2]) end)
            from page
            """,
            after,
            limit,
        )
    return page
