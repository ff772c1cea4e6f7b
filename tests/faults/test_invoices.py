"""An ingest is killed at any point, run twice at once, replayed: one set of lines, one push, one row in finance."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from contracts.billing import DiscoverInvoices, IngestInvoice
from dev.digitalocean.faults import Fault
from dev.digitalocean.running import RunningStandIn, running_stand_in
from dev.finance.running import RunningFinance, running_finance
from services.billing.app import MIGRATIONS
from shared.config import Settings
from shared.db import Database
from shared.migrate import migrate
from tests.billing.test_invoices import line
from tests.billing.world import Billing, at
from tests.ledger.world import Replica

GST = line("GST (10%)", "0.60", product="Taxes", hours="")
BEFORE = (line("web-01 (s-1vcpu-1gb)", "6.00"), GST)
AFTER = (line("web-02 (s-1vcpu-1gb)", "7.00"), GST, line("web-03 (s-1vcpu-1gb)", "8.00"))
INVOICES = "/v2/customers/my/invoices"
SHORT = 0.05
"""Leases are shortened to so much of what they should be, so that nobody waits for those of the dead."""


@pytest.fixture(scope="module")
def stand_in() -> Iterator[RunningStandIn]:
    with running_stand_in(droplets=20, speed=0, rate_hour=0, rate_minute=0) as running:
        yield running


@pytest.fixture(scope="module")
def finance() -> Iterator[RunningFinance]:
    with running_finance() as running:
        yield running


@pytest.fixture
async def billing(settings: Settings, stand_in: RunningStandIn, finance: RunningFinance) -> AsyncIterator[Billing]:
    """The service's database and its outside; its processes are the tests'."""
    await migrate(settings, {"billing": MIGRATIONS})
    db = await Database.of_service(settings, "billing")
    async with stand_in.control() as provider, finance.control() as books:
        await provider.reset()
        await books.reset()
        yield Billing(at(settings, stand_in, finance), db, provider, books)
    await db.close()


@asynccontextmanager
async def replicas(billing: Billing, stand_in: RunningStandIn, logs: Path, count: int) -> AsyncIterator[list[Replica]]:
    """Processes of the service."""
    chosen = billing.settings.model_copy(update={"log_level": "INFO"})
    also = {
        "DO_API_URL": chosen.do_api_url,
        "DO_API_TOKEN": stand_in.token,
        "DO_RATE_LIMIT": "0",
        "FINANCE_URL": chosen.finance_url or "",
        "JWT_SECRETS": f'["{chosen.jwt_secrets[0].get_secret_value()}"]',
        "PROVIDER_TIME_SCALE": str(SHORT),
        "DATABASE_TRANSACTION_TIMEOUT_S": "8",
    }
    started = [Replica("billing", chosen, logs / f"billing-{n}.log", "tests.replica", also) for n in range(count)]
    try:
        yield started
    finally:
        for each in started:
            each.kill()


@dataclass(frozen=True)
class Point:
    """Where an ingest, or its push, is held up: by the provider, by a table that is locked, or by finance.

    `third_line`: nobody may write that. `outcome`: nor what came of the command, from when the provider is asked.
    """

    fault: Fault | None = None
    locked: str | None = None
    slow_finance: bool = False
    third_line: bool = False
    outcome: bool = False


WAITING = "exists (select from pg_locks where not granted and relation = 'billing.{}'::regclass)"
ANSWERING = """
    (select ingests = 2 from cloud_invoices)
    and exists (select from pg_stat_activity where query ~ 'update inbox' and wait_event_type = 'Lock')
    """
COPYING = "exists (select from pg_stat_activity where query ~* '^copy' and wait_event_type = 'Lock')"
POINTS = {
    "while the file is fetched": Point(Fault(effect="hang", seconds=30, count=1, path=f"{INVOICES}/*/csv")),
    "while the summary is fetched": Point(Fault(effect="hang", seconds=30, count=1, path=f"{INVOICES}/*/summary")),
    "while the items are fetched": Point(Fault(effect="hang", seconds=30, count=1, query={"per_page": "200"})),
    "before the lines are put aside": Point(locked="cloud_cost_lines"),
    "between two lines that are copied": Point(third_line=True),
    "while what came of it is written": Point(locked="ingest_attempts"),
    "after it is committed, before it is answered": Point(
        Fault(effect="hang", seconds=2, count=1, path=f"{INVOICES}/*/csv"), outcome=True
    ),
    "while finance takes it": Point(slow_finance=True),
}


@asynccontextmanager
async def blocking(billing: Billing, statement: str) -> AsyncIterator[None]:
    """Whoever is in the way of a statement waits until the block ends."""
    owner = await asyncpg.connect(billing.settings.database_url.get_secret_value())
    try:
        await owner.execute(f"begin; set local search_path = billing; {statement}")
        yield
    finally:
        await owner.close()


def locking(billing: Billing, table: str) -> AbstractAsyncContextManager[None]:
    """Nobody writes to a table."""
    return blocking(billing, f"lock table {table} in share mode")


async def come_to(billing: Billing, point: Point, id: UUID, stack: AsyncExitStack) -> UUID:
    """Have an invoice ingested as far as a point, where it stays while the stack is open. Gives the command's id."""
    asked_before = len(await billing.finance.requests())
    if point.slow_finance:
        await billing.finance.arm("slow", seconds=3)
    if point.third_line:
        row = f"insert into cloud_cost_lines (invoice_id, line, amount) values ('{id}', 3, 0)"
        await stack.enter_async_context(blocking(billing, row))
    if point.fault:
        await billing.provider.arm(point.fault)
        stack.push_async_callback(billing.provider.disarm)
    elif point.locked:
        await stack.enter_async_context(locking(billing, point.locked))
    (command,) = await billing.send(IngestInvoice(invoice_id=id, again=True))
    if point.fault:
        await eventually(lambda: struck(billing))
        if point.outcome:
            row = f"select from inbox where id = '{command}' for update"
            await stack.enter_async_context(blocking(billing, row))
    if point.slow_finance:
        await eventually(lambda: asked_again(billing, asked_before))
    if point.third_line:
        await billing.until(COPYING, seconds=30)
    if point.outcome:
        await billing.until(ANSWERING, seconds=30)
    if point.locked:
        await billing.until(WAITING.format(point.locked), seconds=30)
    return command


async def struck(billing: Billing) -> bool:
    """Whether a fault at the provider has struck."""
    return any(each.struck for each in await billing.provider.faults())


async def asked_again(billing: Billing, before: int) -> bool:
    """Whether finance was asked once more."""
    return len(await billing.finance.requests()) > before


async def eventually(holds: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(30):
        while not await holds():
            await asyncio.sleep(0.05)


async def amounts(billing: Billing) -> list[str]:
    return [each["amount"] for each in await billing.lines()]


async def ingested_before(billing: Billing) -> UUID:
    """An invoice that is ingested and pushed, and has another file since."""
    id = await billing.only(*BEFORE)
    await billing.ingested(id)
    await billing.provider.change_invoice((await billing.invoice())["invoice_uuid"], lines=[*AFTER])
    await billing.fetch("update cloud_invoices set amount_cents = 1560 where id = $1", id)
    return id


async def is_done_once(billing: Billing, id: UUID, command: UUID) -> None:
    """The invoice has its new lines, by one ingest more, and is pushed."""
    outcome = await billing.outcome(command, seconds=60)
    assert (outcome.status, (outcome.result or {})["invoice"]["ingests"]) == ("ok", 2)
    assert (outcome.result or {})["changes"]["added"] == 2
    await billing.until("push_status = 'pushed' from cloud_invoices where id = $1", id)
    assert await amounts(billing) == ["7.00", "0.60", "8.00"]
    assert len(await billing.fetch("select from ingest_attempts")) == 2
    (taken,) = await billing.finance.invoices()
    assert (taken.amount_gross_minor, taken.id) == (1560, (await billing.invoice())["finance_invoice_id"])
    assert not await billing.fetch("select from dead_letters")


ALWAYS = {
    "between two lines that are copied",
    "after it is committed, before it is answered",
    "while finance takes it",
}
"""Where every run of the tests kills it; the other points are the long tests'."""


@pytest.mark.parametrize(
    "where", [where if where in ALWAYS else pytest.param(where, marks=pytest.mark.long) for where in POINTS]
)
async def test_an_ingest_that_is_killed_anywhere_is_done_once(
    billing: Billing, stand_in: RunningStandIn, tmp_path: Path, where: str
) -> None:
    point = POINTS[where]
    async with replicas(billing, stand_in, tmp_path, 1) as (replica,):
        id = await ingested_before(billing)
        async with AsyncExitStack() as stack:
            command = await come_to(billing, point, id, stack)
            replica.kill()
        committed = point.slow_finance or point.outcome
        assert await amounts(billing) == (["7.00", "0.60", "8.00"] if committed else ["6.00", "0.60"])
        replica.start()
        await is_done_once(billing, id, command)
    (taken,) = await billing.finance.invoices()
    # What was committed may have been pushed, and taken, before the kill; then it is pushed once more.
    assert taken.imports in ({3} if point.slow_finance else {2, 3} if point.outcome else {2})


@pytest.mark.parametrize(
    "where",
    ["while the file is fetched", "before the lines are put aside", "between two lines that are copied"],
)
async def test_two_at_once_of_which_one_was_frozen_past_its_lease_do_it_once(
    billing: Billing, stand_in: RunningStandIn, tmp_path: Path, where: str
) -> None:
    """Frozen while it writes, it holds its lines until PostgreSQL ends its transaction."""
    async with replicas(billing, stand_in, tmp_path, 1) as (frozen,):
        id = await ingested_before(billing)
        async with AsyncExitStack() as stack:
            command = await come_to(billing, POINTS[where], id, stack)
            frozen.freeze()
        async with replicas(billing, stand_in, tmp_path, 1):
            await is_done_once(billing, id, command)
            frozen.thaw()
            await eventually(lambda: has_lost_its_lease(frozen))
            await is_done_once(billing, id, command)


async def has_lost_its_lease(replica: Replica) -> bool:
    return "LeaseLost" in replica.log.read_text() or "job interrupted" in replica.log.read_text()


def weather(seed: int) -> list[Fault]:
    """What goes wrong at the provider."""
    faults = [
        Fault(effect="status", status=503, probability=0.05),
        Fault(effect="reset", probability=0.03),
        Fault(effect="lost", probability=0.03),
        Fault(effect="half_body", probability=0.05),
        Fault(effect="edge_gateway", probability=0.01),
        Fault(effect="hang", seconds=2, probability=0.01),
    ]
    return [fault.model_copy(update={"seed": seed + n}) for n, fault in enumerate(faults)]


async def bad_day_in_finance(billing: Billing, dice: random.Random) -> None:
    for _ in range(12):
        await billing.finance.arm("lost", count=2)
        await billing.finance.arm("status", status=dice.choice([500, 502, 503, 429]), count=dice.randint(1, 3))
        await billing.finance.arm("slow", seconds=0.2, count=dice.randint(1, 10))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long), pytest.param(3, marks=pytest.mark.long)])
async def test_every_invoice_is_ingested_once_and_pushed_through_kills_freezes_and_faults(
    billing: Billing, stand_in: RunningStandIn, tmp_path: Path, seed: int
) -> None:
    dice = random.Random(seed)
    for fault in weather(seed):
        await billing.provider.arm(fault)
    await bad_day_in_finance(billing, dice)
    async with replicas(billing, stand_in, tmp_path, 2) as processes:
        commands = await billing.send(*(DiscoverInvoices() for _ in range(3)))
        for turn in range(7):
            await asyncio.sleep(dice.uniform(0.5, 3))
            victim = dice.choice(processes)
            if turn % 3 == 1:
                victim.freeze()
                await asyncio.sleep(dice.uniform(5, 7))  # past its leases
                victim.thaw()
            else:
                victim.kill()
                victim.start()
        assert sum(each.struck for each in await billing.provider.faults()) > 10
        assert await billing.fetch("select from jobs where attempts + put_offs + contentions > 0")
        await billing.provider.disarm()
        assert {(await billing.outcome(each, seconds=120)).status for each in commands} == {"ok"}
        await billing.until("137 = (select count(*) from cloud_invoices where push_status = 'pushed')", seconds=120)
        await billing.until("not exists (select from jobs where status in ('queued', 'running'))", seconds=60)
    rows = await billing.fetch("select * from cloud_invoices")
    assert {(row["ingests"], row["reconciliation"]["status"]) for row in rows} == {(1, "exact")}
    assert len(await billing.fetch("select from ingest_attempts")) == 137
    counts = await billing.fetch("select invoice_id, count(*) as lines from cloud_cost_lines group by 1")
    assert {each["invoice_id"]: each["lines"] for each in counts} == {row["id"]: row["lines"] for row in rows}
    books = {each.external_id: each.id for each in await billing.finance.invoices()}
    assert books == {row["invoice_uuid"]: row["finance_invoice_id"] for row in rows}
    assert not await billing.fetch("select from dead_letters")
