"""invoice-ingest: an invoice of half a million lines, from its file to the commit, beside csv and COPY alone.

The peer reads the same file with the csv module and copies it as it is, into a bare table of texts: no index, nothing
typed, checked or matched. In the notes: the same into a table of the columns in their types.
Memory is that of the service, as `arcadia run billing` runs it, while it fetches and ingests the same invoice, with an
item that has an id for every line.
"""

from __future__ import annotations

import asyncio
import csv
import io
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import asyncpg
import psutil

from bench.report import Figure, Report, middle
from bench.serving import fresh_database, service_process
from contracts.billing import IngestInvoice, OfSummary
from dev.digitalocean.running import RunningStandIn, running_stand_in
from dev.stack import Stack
from services.billing.app import MIGRATIONS
from services.billing.ingest import Fetched, replace_lines
from services.billing.matching import Items
from shared import outbox
from shared.config import Settings
from shared.db import Database
from shared.ids import uuid7
from shared.migrate import migrate
from shared.outbox import Sender
from shared.outcome import Meta, Outcome, Send
from tests.conftest import settings_for

LINES = 500_000
RESOURCES = 10_000
_ROUNDS = 5
_MEMORY_LIMIT_MB = 200
_CHECKOUT = Path(__file__).parents[1]

_HEADER = ("product", "group_description", "description", "hours", "start", "end", "USD", "project_name", "category")
_TYPED = "a text, b text, c text, d numeric, e timestamptz, f timestamptz, g numeric, h text, i text"
_TEXTS = ", ".join(f"{name} text" for name in "abcdefghi")


async def run(stack: Stack) -> Report:
    """Measure on this stack."""
    with TemporaryDirectory() as directory:
        file, other = Path(directory, "invoice.csv"), Path(directory, "quoted.csv")
        _write(file)
        _write(other, "the tenant, {}")
        async with _world(stack) as world:
            texts = [(await world.ingest(file), await world.copy_texts(file)) for _ in range(_ROUNDS)]
            typed = [(await world.ingest(file), await world.copy(file, _TYPED)) for _ in range(3)]
            quoted = [(await world.ingest(other), await world.copy_texts(other)) for _ in range(3)]
            again = await world.ingest_again(file)
            with_ids = await world.ingest(file, _items(_lines(file)))
            ours, peer = middle(texts)
            of_types, of_quoted = middle(typed), middle(quoted)
            memory, seconds = await world.memory(_lines(file))
            matched = await world.matched()
    return Report(
        "invoice-ingest",
        f"an invoice of {LINES:,} lines, read, matched, reconciled and committed; memory of the service meanwhile",
        [
            Figure(
                "lines/s", LINES / ours, LINES / peer, "lines/s", 0.4, "higher", "csv + COPY into a bare table of texts"
            ),
            Figure("memory of the service", memory, _MEMORY_LIMIT_MB, "MiB", 1, "lower", "limit"),
        ],
        {
            f"lines of {LINES:,} that mean one of {RESOURCES:,} resources": matched,
            "the ratio to csv + COPY into a table of the columns in their types": round(of_types[1] / of_types[0], 2),
            "the ratio where every line has a field in quotes": round(of_quoted[1] / of_quoted[0], 2),
            "lines/s with the id of a resource for every line": round(LINES / with_ids),
            "seconds of an ingest that replaces as many lines by others": round(again, 1),
            f"seconds of the service from the command to its outcome, with {LINES // 200:,} pages of items": round(
                seconds
            ),
            "rounds, of which the middle one counts": _ROUNDS,
        },
    )


def _write(file: Path, project: str = "tenant-{}") -> None:
    """An invoice as the provider writes one: product by product, four lines in five for the whole month."""
    rng = Random(1)
    kinds = (
        ("Droplets", "web-{:06d} (s-2vcpu-4gb)", 70),
        ("Volumes", "data-{:06d} (nyc3) 100GB", 15),
        ("Droplet Snapshots", "golden-{:06d} (fra1) 10.15GB Droplet Snapshot", 15),
    )
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(_HEADER)
        for product, description, share in kinds:
            for _ in range(LINES * share // 100):
                number, whole = rng.randrange(LINES // 2), rng.random() < 0.8
                minute = rng.randrange(28 * 24 * 60)
                day, hour, within = minute // 1440 + 1, minute // 60 % 24, minute % 60
                start = "2026-04-01 00:00:00" if whole else f"2026-04-{day:02d} {hour:02d}:{within:02d}:07"
                hours = 720 if whole else 720 - minute // 60
                usd = f"${rng.randint(1, 9600) / 100:,.2f}"
                fields = ("", description.format(number), hours, f"{start} +0000", "2026-05-01 00:00:00 +0000")
                writer.writerow((product, *fields, usd, project.format(number % 500), "iaas"))


def _lines(file: Path) -> list[dict[str, str]]:
    """The lines, as the stand-in takes them, each with the id of a resource."""
    with file.open(newline="", encoding="utf-8") as text:
        return [
            {
                "product": row["product"],
                "description": row["description"],
                "hours": row["hours"],
                "start": row["start"].replace(" +", "+"),
                "end": row["end"].replace(" +", "+"),
                "amount": row["USD"].replace("$", "").replace(",", ""),
                "project": row["project_name"],
                "category": row["category"],
                "resource_id": row["description"].partition(" ")[0].rpartition("-")[2],
            }
            for row in csv.DictReader(text)
        ]


def _items(lines: list[dict[str, str]]) -> Items:
    """An item for every line."""
    items = Items()
    for line in lines:
        items.add({**line, "start_time": line["start"], "end_time": line["end"]})
    return items


@dataclass
class World:
    """The billing service's database, with resources, and one invoice."""

    settings: Settings
    db: Database
    owner: asyncpg.Connection[Any]
    stand_in: RunningStandIn
    invoice_id: UUID
    invoice_uuid: str

    async def ingest(self, file: Path, items: Items | None = None) -> float:
        """Seconds of the transaction that takes the lines in, with its commit, where there are none yet."""
        await self._empty()
        return await self._replace(file, items)

    async def ingest_again(self, file: Path) -> float:
        """The same, where there are lines already, each of another amount."""
        await self.ingest(file)
        await self.db.pool.execute("update cloud_cost_lines set amount = amount + 1")
        return await self._replace(file)

    async def _replace(self, file: Path, items: Items | None = None) -> float:
        with file.open("rb") as raw:
            told = Fetched(
                raw, "", items or Items(), OfSummary.model_validate(dict.fromkeys(OfSummary.model_fields, 0))
            )
            started = time.perf_counter()
            async with self.db.transaction() as conn:
                await replace_lines(self.invoice_id, told, {}, conn, Meta(uuid7(), datetime.now(UTC)))
            seconds = time.perf_counter() - started
        await self._check("cloud_cost_lines")
        return seconds

    async def copy(self, file: Path, columns: str) -> float:
        """Seconds of csv and COPY alone, into a bare table of the file's columns in their types."""
        await self._bare(columns)
        started = time.perf_counter()
        async with self.db.transaction() as conn:
            await conn.copy_to_table("bare", source=_stripped(file), format="csv")
        seconds = time.perf_counter() - started
        await self._check("bare")
        return seconds

    async def copy_texts(self, file: Path) -> float:
        """The same, into a table of texts."""
        await self._bare(_TEXTS)
        started = time.perf_counter()
        with file.open(newline="", encoding="utf-8") as text:
            reader = csv.reader(text)
            next(reader)
            async with self.db.transaction() as conn:
                await conn.copy_records_to_table("bare", records=reader)
        seconds = time.perf_counter() - started
        await self._check("bare")
        return seconds

    async def _bare(self, columns: str) -> None:
        await self.owner.execute(
            f"drop table if exists bare; create table bare ({columns}); grant all on bare to billing"
        )
        await self.owner.execute("checkpoint")

    async def _empty(self) -> None:
        await self.owner.execute("truncate cloud_cost_lines, superseded_cost_lines, ingest_attempts")
        await self.owner.execute("update cloud_invoices set ingest_status = 'pending', ingests = 0, lines = null")
        await self.owner.execute("checkpoint")

    async def _check(self, table: str) -> None:
        if (count := await self.db.pool.fetchval(f"select count(*) from {table}")) != LINES:
            raise RuntimeError(f"{table} has {count} rows, not {LINES}")

    async def matched(self) -> int:
        """So many lines mean a resource."""
        return int(await self.db.pool.fetchval("select matched from cloud_invoices"))

    async def memory(self, lines: list[dict[str, str]]) -> tuple[float, float]:
        """The most that the service holds while it ingests the invoice, in MiB, and how long that takes it."""
        async with self.stand_in.control() as control:
            await control.change_invoice(self.invoice_uuid, lines=lines)
        await self._empty()
        with service_process("billing", self.settings, self.stand_in.token) as process:
            measured = psutil.Process(process.pid)
            await self._settled(measured)
            started = time.perf_counter()
            id = await self._send(IngestInvoice(invoice_id=self.invoice_id, again=True))
            peak = 0.0
            while not (rows := await self._decided(id)):
                peak = max(peak, measured.memory_info().rss / 2**20)
                await asyncio.sleep(0.1)
            seconds = time.perf_counter() - started
        if rows[0]["status"] != "ok":
            raise RuntimeError(f"the ingest did not end well: {rows[0]}")
        await self._check("cloud_cost_lines")
        return peak, seconds

    async def _settled(self, process: psutil.Process) -> None:
        """Wait until the service has its partitions: a command for an invoice that is not there comes back."""
        id = await self._send(IngestInvoice(invoice_id=uuid7()))
        while not await self._decided(id):
            if not process.is_running():
                raise RuntimeError("the service ended")
            await asyncio.sleep(0.1)

    async def _decided(self, id: UUID) -> list[asyncpg.Record]:
        return await self.db.pool.fetch("select * from inbox where id = $1 and status <> 'pending'", id)

    async def _send(self, command: IngestInvoice) -> UUID:
        id = uuid7()
        rows = Sender("bench").rows(Outcome(commands=[Send(command, id=id)]), Meta(uuid7(), datetime.now(UTC)))
        async with self.db.transaction() as conn:
            await outbox.insert(conn, rows)
        await self.db.pool.execute('notify "billing_outbox"')
        return id


async def _stripped(file: Path) -> AsyncIterator[bytes]:
    """The file's rows without the header and the dollar signs, as a CSV for COPY."""
    with file.open(newline="", encoding="utf-8") as text:
        reader = csv.reader(text)
        next(reader)
        while rows := list(islice(reader, 250)):
            for row in rows:
                row[6] = row[6].replace("$", "").replace(",", "")
            out = io.StringIO()
            csv.writer(out).writerows(rows)
            yield out.getvalue().encode()


@asynccontextmanager
async def _world(stack: Stack) -> AsyncIterator[World]:
    async with fresh_database(stack) as url:
        with running_stand_in(droplets=10, rate_hour=0, rate_minute=0) as stand_in:
            changed: dict[str, Any] = {"do_api_url": stand_in.url, "do_rate_limit": 0.0}
            settings = settings_for(stack, url).model_copy(update=changed)
            await migrate(settings, {"billing": MIGRATIONS})
            db = await Database.of_service(settings, "billing")
            async with stand_in.control() as control:
                uuid = (await control.invoices())[0].invoice_uuid
            owner = await asyncpg.connect(url, server_settings={"search_path": "billing"})
            yield World(settings, db, owner, stand_in, await _populated(db, uuid), uuid)
            await owner.close()
            await db.close()


async def _populated(db: Database, invoice_uuid: str) -> UUID:
    """Resources, and an invoice; gives its id."""
    await db.pool.execute(
        """
        insert into resources (id, provider, kind, provider_id, name, version)
        select gen_random_uuid(), 'digitalocean', 'droplet', lpad(n::text, 6, '0'), 'web-' || lpad(n::text, 6, '0'), 1
        from generate_series(1, $1) n
        """,
        RESOURCES,
    )
    await db.pool.execute("analyze resources")
    id = uuid7()
    await db.pool.execute(
        """
        insert into cloud_invoices
          (id, provider, invoice_uuid, number, period, currency, amount_cents, issued_at, discovered_at)
        values ($1, 'digitalocean', $2, '1', '2026-04-01', 'USD', 0, now(), now())
        """,
        id,
        invoice_uuid,
    )
    return id
