"""Invoices are discovered, ingested once each, and replaced as a whole."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from contracts.billing import DiscoverInvoices, IngestInvoice
from tests.billing.world import Billing


async def until(billing: Billing, condition: str, *arguments: Any, seconds: float = 60) -> None:
    """Wait until a condition on the tables holds."""
    async with asyncio.timeout(seconds):
        while not await billing.db.pool.fetchval(f"select {condition}", *arguments):
            await asyncio.sleep(0.05)


async def invoice_of(billing: Billing, period: str) -> Any:
    (row,) = await billing.fetch("select * from cloud_invoices where period = $1::text::date", f"{period}-01")
    return row


async def test_every_invoice_since_the_first_is_discovered_and_ingested(billing: Billing) -> None:
    outcome = await billing.ask(DiscoverInvoices())
    assert outcome.result == {"invoices": 137, "discovered": 137, "changed": 0, "ingesting": 137, "pushing": 0}
    await until(billing, "not exists (select from cloud_invoices where ingest_status <> 'ingested')")
    await until(billing, "not exists (select from cloud_invoices where push_status = 'pending')")
    row = await invoice_of(billing, "2026-04")
    print(dict(row))
    assert 0
