"""What is earned and what it costs, by whose it is: to the cent the sum of quotes, and the sum of cost lines."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.inventory import LinkInterval, ResourceUpdated
from contracts.quotes import SetFxRate
from contracts.times import previous_month
from services.billing.holders import Told, told_from, with_told
from shared.db import Connection
from shared.ids import derived_id, uuid7
from tests.billing.selling import BLOG, MONTH, SHOP, STUDIO, subscription
from tests.billing.world import Billing, resource
from tests.sending import deployment

APRIL = date(2026, 4, 1)
INVOICE = uuid7()


def at(day: int, hour: int = 0) -> datetime:
    return datetime(2026, 4, 1, tzinfo=UTC) + timedelta(days=day - 1, hours=hour)


class Line(NamedTuple):
    """A line of April's invoice: of the whole month, unless it is said which part."""

    cents: int
    resource_id: UUID | None = None
    unmatched: str | None = None
    since: datetime = at(1)
    until: datetime = at(31)
    assigned: UUID | None = None


async def execute(conn: Connection, statement: str, rows: Sequence[Sequence[Any]]) -> None:
    for row in rows:
        await conn.execute(statement, *row)


async def put_lines(conn: Connection, *lines: Line, period: date = APRIL, invoice: UUID = INVOICE) -> None:
    """An invoice as an ingest leaves it."""
    await conn.execute(
        """
        insert into cloud_invoices (id, provider, invoice_uuid, number, period, currency, amount_cents, issued_at,
          discovered_at, ingests, lines, ingest_status)
        values ($1, 'digitalocean', $1::uuid::text, '1', $2, 'USD', 0, now(), now(), 1, $3, 'ingested')
        """,
        invoice,
        period,
        len(lines),
    )
    await execute(
        conn,
        """
        insert into cloud_cost_lines (invoice_id, line, amount, resource_id, unmatched, starts_at, ends_at)
        values ($1, $2, $3::bigint / 100.0, $4, $5, $6, $7)
        """,
        [(invoice, n, *line[:-1]) for n, line in enumerate(lines, 1)],
    )
    await execute(
        conn,
        """
        insert into cost_line_assignments (id, invoice_id, line, key, nth, deployment_id, assigned_at)
        values ($1, $2, $3, '', 1, $4, now())
        """,
        [(uuid7(), invoice, n, line.assigned) for n, line in enumerate(lines, 1) if line.assigned],
    )


async def put_links(conn: Connection, *links: tuple[UUID, datetime, datetime | None, UUID]) -> None:
    await execute(conn, "insert into resource_links values ($1, $2, $3, $4)", list(links))


Costs = dict[tuple[UUID | None, str | None], int]


async def costs(conn: Connection, period: date = APRIL) -> Costs:
    """Of a month what each deployment bears, and what has a reason instead."""
    rows = await conn.fetch(
        "select deployment_id, reason, cents from v1_all_margin_entries where side = 'cost' and period = $1", period
    )
    return {(row["deployment_id"], row["reason"]): row["cents"] for row in rows}


WEB, DB, OLD, NEW = (derived_id("resource", name) for name in ("web", "db", "old", "new"))


async def test_who_held_the_resource_in_the_lines_own_time_bears_it(billing: Billing) -> None:
    async with billing.db.transaction() as conn:
        await put_links(conn, (WEB, at(-20), at(11), SHOP), (WEB, at(11), None, BLOG), (DB, at(6), at(16), SHOP))
        await put_lines(conn, Line(1000, WEB), Line(100, WEB, since=at(11), until=at(12)), Line(300, DB))
        assert await costs(conn) == {
            (SHOP, None): 333 + 100,  # a third of the month, and a third of the other's
            (BLOG, None): 667 + 100,
            (None, "not_linked"): 200,
        }


async def test_what_nobody_held_has_its_reason(billing: Billing) -> None:
    async with billing.db.transaction() as conn:
        await put_links(conn, (WEB, at(-20), None, SHOP))
        await put_lines(
            conn,
            Line(600, WEB),
            Line(60, unmatched="tax"),
            Line(50, unmatched="account_level"),
            Line(-30, unmatched="credit"),
            Line(40, WEB, "deleted_resource"),
            Line(20, DB, "deleted_resource"),
            Line(5, unmatched="tax", assigned=SHOP),
            Line(7, unmatched="unknown_resource", assigned=BLOG),
        )
        assert await costs(conn) == {
            (SHOP, None): 640,
            (BLOG, None): 7,
            (None, "tax"): 65,
            (None, "account_level"): 50,
            (None, "credit"): -30,
            (None, "not_linked"): 20,
        }


async def test_what_only_a_project_holds_is_its_tenants(billing: Billing) -> None:
    lone = resource("lone").model_copy(update={"tenant_id": "acme"})
    await billing.tell_resources(lone)
    async with billing.db.transaction() as conn:
        await put_lines(conn, Line(600, lone.id))
        (row,) = await conn.fetch("select tenant_id, deployment_id, reason, cents from v1_all_margin_entries")
    assert tuple(row) == ("acme", None, "not_linked", 600)


_HOURS = st.integers(-100, 900).map(lambda hours: at(1) + timedelta(hours=hours))


def _intervals(times: Sequence[datetime]) -> list[tuple[datetime, datetime | None]]:
    ordered = sorted(set(times))
    pairs = list(zip(ordered[::2], ordered[1::2], strict=False))
    return [*pairs, (ordered[-1], None)] if len(ordered) % 2 else list(pairs)


_LINKS = st.dictionaries(
    st.sampled_from([WEB, DB]),
    st.lists(_HOURS, max_size=6)
    .map(_intervals)
    .flatmap(lambda spans: st.tuples(*(st.tuples(st.just(span), st.sampled_from([SHOP, BLOG])) for span in spans))),
)
_LINES = st.lists(
    st.builds(
        lambda cents, what, span, assigned: Line(cents, what[0], what[1], min(span), max(span), assigned),
        st.integers(-5000, 50_000),
        st.sampled_from([(WEB, None), (DB, None), (WEB, "deleted_resource"), (None, "tax"), (None, "credit")]),
        st.tuples(_HOURS, _HOURS),
        st.sampled_from([None, None, None, SHOP]),
    ),
    max_size=8,
)


_QUOTES = st.dictionaries(st.sampled_from([SHOP, BLOG, WEB]), st.integers(0, 10**12))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(_LINES, _LINKS, _QUOTES)
async def test_costs_are_the_cost_lines_and_revenue_the_quotes_to_the_cent(
    shared_billing: Billing, lines: list[Line], links: dict[UUID, Any], quotes: dict[UUID, int]
) -> None:
    """And each cost is within a cent of its share of the line's time."""
    async with shared_billing.db.transaction() as conn:
        for table in ("quotes", "cost_line_assignments", "cloud_cost_lines", "cloud_invoices", "resource_links"):
            await conn.execute(f"delete from {table}")
        await put_links(conn, *((id, *span, holder) for id, held in links.items() for span, holder in held))
        await put_lines(conn, *lines)
        await execute(
            conn,
            """
            insert into quotes (deployment_id, period, tenant_id, currency, plan_code, plan_version_id, plan_version,
              lines, total_cents, quoted_at)
            values ($1, $2, 'acme', 'AUD', 'studio', $1, 1, '[]', $3, now())
            """,
            [(id, APRIL, cents) for id, cents in quotes.items()],
        )
        found = await costs(conn)
        revenue = await conn.fetch(
            "select deployment_id, cents, converted_cents from v1_all_margin_entries where side = 'revenue'"
        )
    assert {row["deployment_id"]: row["cents"] for row in revenue} == quotes
    assert all(row["cents"] == row["converted_cents"] for row in revenue)
    assert sum(found.values()) == sum(line.cents for line in lines)
    for holder in (SHOP, BLOG):
        expected = sum((_share(line, holder, links) for line in lines), Decimal(0))
        parts = sum(len(links.get(line.resource_id, ())) for line in lines if line.resource_id)
        assert abs(found.get((holder, None), 0) - expected) <= parts
    assert found.get((None, "tax"), 0) == sum(line.cents for line in lines if line.unmatched == "tax")


def _share(line: Line, holder: UUID, links: dict[UUID, Any]) -> Decimal:
    """What a person would say that a deployment bears of a line."""
    if line.unmatched == "tax":
        return Decimal(0)
    if line.assigned or line.resource_id is None or line.until <= line.since:
        return Decimal(line.cents if line.assigned == holder else 0)
    held = timedelta(0)
    for (since, until), whose in links.get(line.resource_id, ()):
        if whose == holder:
            held += max(min(until or line.until, line.until) - max(since, line.since), timedelta(0))
    return Decimal(line.cents) * Decimal(held / (line.until - line.since))


async def test_a_month_without_an_invoice_is_estimated_from_the_balance(billing: Billing) -> None:
    """Each bears the list price of what it held of it; the rest is shown as such, and more than all is not spread."""
    month = date(2026, 5, 1)
    async with billing.db.transaction() as conn:
        await execute(
            conn,
            """
            insert into resources
              (id, provider, kind, provider_id, name, monthly_cents, created_at, deleted_at, version)
            values ($1, 'digitalocean', 'droplet', $1::uuid::text, '', $2, $3, $4, 1)
            """,
            [(WEB, 3100, None, None), (DB, 6200, None, None), (OLD, 3100, at(1), at(20)), (NEW, 3100, at(33), at(36))],
        )
        may = [at(31 + n) for n in range(40)]  # may[n]: midnight after n days of May
        await put_links(conn, (WEB, at(1), None, SHOP), (DB, may[5], may[8], BLOG))
        await put_links(conn, (OLD, at(1), None, BLOG), (NEW, at(1), None, BLOG))  # gone; there for three days

        async def polled(cents: int, when: datetime) -> None:
            await conn.execute(
                """
                insert into cloud_balance_snapshots (id, provider, currency, month_to_date_usage_cents,
                  account_balance_cents, month_to_date_balance_cents, generated_at, polled_at)
                values ($1, 'digitalocean', 'USD', $2, 0, 0, $3, $3)
                """,
                uuid7(),
                cents,
                when,
            )

        await polled(500, may[2])
        await polled(2000, may[9])
        assert await costs(conn, month) == {(SHOP, None): 900, (BLOG, None): 900, (None, "not_in_estimate"): 200}
        (flags,) = await conn.fetch(
            "select array_agg(distinct estimated) from v1_all_margin_entries where period = $1", month
        )
        assert flags[0] == [True]
        await polled(800, may[10])
        found = await costs(conn, month)
        assert (sum(found.values()), found[None, "not_in_estimate"]) == (800, 0)
        await put_lines(conn, Line(77, unmatched="account_level"), period=month, invoice=uuid7())
        assert await costs(conn, month) == {(None, "account_level"): 77}


async def test_each_month_is_converted_at_the_rate_of_its_last_day(billing: Billing) -> None:
    async def converted() -> list[Any]:
        rows = await billing.fetch(
            "select rate, converted_cents from v1_all_margin_entries where side = 'cost' order by period"
        )
        return [tuple(row) for row in rows]

    async with billing.db.transaction() as conn:
        await put_lines(conn, Line(1001, unmatched="credit"))
        await put_lines(conn, Line(2000, unmatched="credit"), period=date(2026, 5, 1), invoice=uuid7())
    assert await converted() == [(None, None), (None, None)]
    for day, rate in (((2026, 4, 30), "1.5"), ((2026, 5, 1), "1.25"), ((2026, 6, 1), "9")):
        await billing.ask(
            SetFxRate(from_currency="USD", to_currency="AUD", effective_from=date(*day), rate=Decimal(rate))
        )
    assert await converted() == [(Decimal("1.5"), 1502), (Decimal("1.25"), 2500)]
    await billing.ask(SetFxRate(from_currency="USD", to_currency="AUD", effective_from=APRIL, rate=Decimal(2)))
    assert await converted() == [(Decimal("1.5"), 1502), (Decimal("1.25"), 2500)]


async def test_revenue_is_the_sum_of_quotes(billing: Billing) -> None:
    await billing.tell(
        STUDIO,
        deployment(SHOP, "acme", "shop"),
        deployment(BLOG, "acme", "blog"),
        subscription(),
        subscription(deployment_id=BLOG),
    )
    await billing.until("count(*) = 2 from quotes")
    await billing.until("count(*) = 2 from deployments")
    rows = await billing.fetch(
        "select period, tenant_id, slug, currency, cents, converted_cents from v1_all_margin_entries order by slug"
    )
    assert [tuple(row) for row in rows] == [
        (MONTH, "acme", "blog", "AUD", 5000, 5000),
        (MONTH, "acme", "shop", "AUD", 5000, 5000),
    ]


def link(since: datetime, until: datetime | None = None, holder: UUID = SHOP) -> LinkInterval:
    return LinkInterval(deployment_id=holder, since=since, until=until)


def test_a_newer_state_tells_all_of_its_time_and_nothing_of_the_time_before() -> None:
    old = Told(at(1), [link(at(1), at(5)), link(at(7))])
    new = Told(at(10), [link(at(12), holder=BLOG)])
    assert with_told(None, new) == new
    assert with_told(old, new) == Told(at(1), [link(at(1), at(5)), link(at(7), at(10)), link(at(12), holder=BLOG)])
    assert with_told(new, old) == old
    over = [link(at(7), at(11)), link(at(20))]
    assert told_from(over, at(10)) == Told(at(7), over), "a link that reaches over the beginning is told whole"
    assert told_from([link(at(20))], at(10)) == Told(at(10), [link(at(20))])


async def test_who_held_a_resource_long_ago_is_kept_when_it_is_not_told_any_more(billing: Billing) -> None:
    """A state tells of the current and the previous month; an invoice may be older. A link may reach back further."""
    began = previous_month(datetime.now(UTC))
    long_ago, before, lately = began - timedelta(days=200), began - timedelta(days=50), began + timedelta(days=10)
    old = resource("web").model_copy(update={"links": [link(long_ago, before, BLOG), link(before)]})
    await billing.tell_resources(old)
    newer = old.model_copy(update={"links": [link(before, lately), link(lately, holder=BLOG)], "version": 3})
    stale = old.model_copy(update={"links": [], "version": 2})
    await billing.tell(ResourceUpdated(resource=newer), ResourceUpdated(resource=stale))
    await billing.until("exists (select from resource_links where since = $1)", lately)
    rows = await billing.fetch("select since, until, deployment_id from resource_links order by since")
    assert [tuple(row) for row in rows] == [(long_ago, before, BLOG), (before, lately, SHOP), (lately, None, BLOG)]
