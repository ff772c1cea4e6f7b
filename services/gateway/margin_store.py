"""Reads of quotes, margin and exchange rates: every SQL statement. Answers are JSON text; exports are rows."""

from __future__ import annotations

from datetime import date
from typing import TypeAlias
from uuid import UUID

import asyncpg

from services.gateway.auth import Identity
from services.gateway.store import Read, Views, read_json

Row: TypeAlias = asyncpg.Record

_QUOTE = Read("select tenant_quote($1, $2, $3, $4)", "select operator_quote($1, $2, $3)")


async def find_quote(
    views: Views, identity: Identity, deployment_id: UUID, period: date | None, *, explain: bool
) -> str | None:
    """What a deployment owes for a month, `{"quote": ...}`, null where there is none; None where it is not seen.

    `period` None: the newest that has begun.
    """
    return await views.find(identity, _QUOTE, deployment_id, period, explain)


async def list_costs(views: Views, deployment_id: UUID, period: date) -> list[Row]:
    """What a deployment bears of a month's cost lines; without an invoice, the estimate."""
    # By the resources that it ever held, so that no other's lines are shared out for that.
    query = """
        with borne as (
          select * from billing.v1_all_costs where period = $2 and resource_id = any($3::uuid[]) and deployment_id = $1
          union all
          select * from billing.v1_all_costs where period = $2 and resource_id is null and deployment_id = $1)
        select c.invoice_id::text, c.line, c.resource_id::text, l.description, c.cents::bigint as cents, c.currency,
               l.amount_cents as line_cents, false as estimated
        from borne c join billing.v1_all_cost_lines l on l.invoice_id = c.invoice_id and l.line = c.line
        union all
        select null, null, null, 'by list prices, of the balance', e.cents::bigint, e.currency, null, true
        from billing.v1_all_estimated_costs e where e.period = $2 and e.deployment_id = $1
        order by 1, 2, 5
        """
    async with views.operator.connection() as conn:
        held = await conn.fetch(
            "select distinct resource_id from billing.v1_all_resource_links where deployment_id = $1", deployment_id
        )
        return await conn.fetch(query, deployment_id, period, [row["resource_id"] for row in held])


# Of entries, what they add up to: each side in its own currencies, and both in Australian dollars, which is null where
# a rate is missing. Tax is no cost here; it is told apart.
_FIGURES = """
    coalesce(jsonb_object_agg(currency, cents) filter (where side = 'revenue'), '{}') as revenue,
    coalesce(jsonb_object_agg(currency, cents) filter (where side = 'cost'), '{}') as cost,
    case when bool_and(converted is not null) filter (where side = 'revenue') is not false
      then coalesce(sum(converted) filter (where side = 'revenue'), 0) end as revenue_cents,
    case when bool_and(converted is not null) filter (where side = 'cost') is not false
      then coalesce(sum(converted) filter (where side = 'cost'), 0) end as cost_cents
    """
_SUMMED = """
    sum(cents) as cents,
    case when bool_and(converted_cents is not null) then sum(converted_cents) end as converted
    """
_MARGIN = """
    case when revenue_cents > 0 and cost_cents is not null
      then round((revenue_cents - cost_cents) * 100.0 / revenue_cents, 1)::text end
    """


_OF_MONTH = f"""
    with entries as materialized (select * from billing.v1_all_margin_entries where period = $1),
    net as (select * from entries where reason is distinct from 'tax'),
    total as (
      select {_FIGURES} from (select side, currency, {_SUMMED} from net group by side, currency) s),
    tenants as (
      select tenant_id, {_FIGURES}
      from (
        select tenant_id, side, currency, {_SUMMED}
        from net where tenant_id is not null and deployment_id is not null group by 1, 2, 3) s
      group by tenant_id),
    by_deployment as (
      select deployment_id, max(tenant_id) as tenant_id, max(slug) as slug, {_FIGURES}
      from (
        select deployment_id, max(tenant_id) as tenant_id, max(slug) as slug, side, currency, {_SUMMED}
        from net where deployment_id is not null group by deployment_id, side, currency) s
      group by deployment_id)
    """


async def get_margin(views: Views, period: date) -> str:
    """A month's revenue against its cost: altogether, by tenant, by deployment, and what is nobody's."""
    query = f"""{_OF_MONTH}
        select json_build_object(
          'period', to_char($1::date, 'YYYY-MM'),
          'currency', 'AUD',
          'estimated', coalesce((select bool_or(estimated) from entries), false),
          'rates', (
            select coalesce(json_agg(json_build_object(
              'from_currency', currency, 'to_currency', 'AUD', 'rate', trim_scale(rate)::text,
              'effective_from', rate_from)
              order by currency), '[]')
            from (select distinct currency, rate, rate_from from entries where rate is not null) r),
          'missing_rates', (
            select coalesce(json_agg(currency order by currency), '[]')
            from (select distinct currency from entries where converted_cents is null) m),
          'total', (select {_shown()} from total),
          'tenants', (select coalesce(json_agg({_shown("tenant_id")} order by tenant_id), '[]') from tenants),
          'deployments', (
            select coalesce(json_agg({_shown("deployment_id", "tenant_id", "slug")} order by tenant_id, slug,
              deployment_id), '[]')
            from by_deployment),
          'unattributed', (
            select coalesce(json_agg(json_build_object('reason', reason, 'tenant_id', tenant_id, 'currency', currency,
              'cents', cents, 'converted_cents', converted_cents) order by reason, tenant_id, currency), '[]')
            from net where side = 'cost' and deployment_id is null),
          'tax', (
            select coalesce(json_agg(json_build_object('currency', currency, 'cents', cents,
              'converted_cents', converted_cents) order by currency), '[]')
            from (
              select currency, sum(cents) as cents, sum(converted_cents) as converted_cents
              from entries where reason = 'tax' group by currency) t))
        """
    return await read_json(views.operator, query, period)


def _shown(*names: str) -> str:
    """The JSON of figures, with these columns before them."""
    columns = (*names, "revenue", "cost", "revenue_cents", "cost_cents")
    members = ", ".join(f"'{name}', {name}" for name in columns)
    return f"json_build_object({members}, 'margin_cents', revenue_cents - cost_cents, 'margin_percent', {_MARGIN})"


async def get_trend(views: Views, first: date, last: date) -> str:
    """Revenue against cost, month by month, those in which there was nothing too."""
    query = f"""
        with months as (
          select generate_series($1::date, $2::date, interval '1 month')::date as period),
        figures as (
          select period, bool_or(estimated) as estimated, {_FIGURES}
          from (
            select period, side, currency, bool_or(estimated) as estimated, {_SUMMED}
            from billing.v1_all_margin_entries
            where period >= $1 and period <= $2 and reason is distinct from 'tax'
            group by period, side, currency) s
          group by period)
        select json_build_object('currency', 'AUD', 'months', json_agg(
          jsonb_build_object('period', to_char(m.period, 'YYYY-MM'), 'estimated', coalesce(f.estimated, false))
          || case when f.period is null then {_NOTHING} else {_shown()}::jsonb end
          order by m.period))
        from months m left join figures f using (period)
        """
    return await read_json(views.operator, query, first, last)


_NOTHING = """jsonb_build_object('revenue', jsonb '{}', 'cost', jsonb '{}', 'revenue_cents', 0, 'cost_cents', 0,
            'margin_cents', 0, 'margin_percent', null)"""


async def list_entries(views: Views, period: date) -> list[Row]:
    """A month's revenue and costs, by whose they are, as rows."""
    query = """
        select period, side, tenant_id, deployment_id, slug, reason, currency, cents, rate, rate_from, converted_cents,
               estimated
        from billing.v1_all_margin_entries where period = $1
        order by side desc, tenant_id nulls last, slug nulls last, deployment_id, reason, currency
        """
    async with views.operator.connection() as conn:
        return await conn.fetch(query, period)


async def list_rates(views: Views) -> str:
    """All exchange rates, the newest first, `{"fx_rates": [...], "count": n}`."""
    query = """
        select json_build_object(
          'fx_rates', coalesce(json_agg(json_build_object(
            'from_currency', from_currency, 'to_currency', to_currency, 'effective_from', effective_from,
            'rate', trim_scale(rate)::text, 'actor', actor, 'set_at', set_at, 'version', version)
            order by from_currency, to_currency, effective_from desc), '[]'),
          'count', count(*))
        from billing.v1_all_fx_rates
        """
    return await read_json(views.operator, query)
