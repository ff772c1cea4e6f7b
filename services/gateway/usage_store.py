"""Reads of usage: every SQL statement. They give JSON text, the answer's body."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from uuid import UUID

from services.gateway.auth import Identity
from services.gateway.store import Read, Views

_USAGE = Read("select tenant_usage($1, $2, $3, $4)", "select operator_usage($1, $2, $3)")


async def find_usage(views: Views, identity: Identity, deployment_id: UUID, since: date, until: date) -> str | None:
    """What a deployment used from a day on, until another; None where it is not seen."""
    return await views.find(identity, _USAGE, deployment_id, since, until)


async def list_owners(views: Views, deployment_ids: Collection[UUID]) -> dict[UUID, str]:
    """Whose deployments are; those that are not there are left out."""
    async with views.tenant.connection() as conn:
        rows = await conn.fetch(
            "select id, tenant_id from deployments.v1_deployment_owner where id = any($1::uuid[])",
            list(deployment_ids),
        )
    return {row["id"]: row["tenant_id"] for row in rows}


async def get_metering(views: Views, days: int) -> str:
    """How finely each kind is observed, and the days that were metered last."""
    async with views.operator.connection() as conn:
        found: str = await conn.fetchval(
            """
            select json_build_object(
              'config', (
                select coalesce(json_agg(c order by c.resource_kind, c.effective_from), '[]')
                from metering.v1_all_metering_config c),
              'days', (
                select coalesce(json_agg(d order by d.day desc), '[]')
                from (select * from metering.v1_all_metered_days order by day desc limit $1) d))
            """,
            days,
        )
    return found
