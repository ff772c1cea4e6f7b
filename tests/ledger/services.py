"""The handlers of the test services."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from shared.db import Connection
from shared.jobs import JobRun, PutOff
from shared.outcome import Meta, Outcome, Received, Refused
from shared.service import Service, Work
from tests.ledger.messages import Account, AccountChanged, Audit, Deposit

ledger: Service[None] = Service("ledger")
mirror: Service[None] = Service("mirror")

_MIGRATIONS = Path(__file__).parent / "migrations"
MIGRATIONS = {"ledger": _MIGRATIONS / "ledger", "mirror": _MIGRATIONS / "mirror"}
SERVICES = {"ledger": ledger, "mirror": mirror}


@ledger.on(Deposit)
async def deposit(cmd: Deposit, conn: Connection, meta: Meta) -> Outcome:
    """Book a deposit. Negative amounts are refused; the amount 13 is this service's bug."""
    rows = await conn.fetch(
        """
        insert into accounts as a (name, balance, version) values ($1, $2::bigint * $3::bigint, $3)
        on conflict (name) do update set balance = a.balance + excluded.balance, version = a.version + $3
        returning balance, version
        """,
        cmd.account,
        cmd.amount,
        cmd.times,
    )
    balance, version = rows[0]
    if cmd.amount < 0:
        raise Refused("negative_amount", amount=cmd.amount)
    await conn.execute("insert into entries values ($1, $2, $3)", meta.message_id, cmd.account, cmd.amount * cmd.times)
    if cmd.amount == 13 and not await conn.fetchval("select to_regclass('fixed') is not null"):
        raise ZeroDivisionError("thirteen")
    states = [Account(name=cmd.account, balance=balance - back * cmd.amount, version=version - back)
              for back in range(cmd.times - 1, -1, -1)]  # fmt: skip
    return Outcome(result={"balance": balance}, events=[AccountChanged(account=state) for state in states])


@ledger.job(Audit, lease=timedelta(seconds=2), concurrency=2)
async def audit(cmd: Audit, run: JobRun[None]) -> Work:
    """Count the entries after a while. `seconds` below zero: the outside is away at the first attempt."""
    if cmd.seconds < 0 and run.progress is None:
        await run.apply(_nothing, progress={"tried": True})
        raise PutOff("the outside is away", timedelta(milliseconds=100))
    if cmd.seconds > 0:
        await run.apply(_nothing, progress={"pid": os.getpid()})
        await asyncio.sleep(cmd.seconds)

    async def count(conn: Connection, meta: Meta) -> Outcome:
        entries = await conn.fetchval("select count(*) from entries where account = $1", cmd.account)
        await conn.execute("insert into audits values ($1, $2, $3)", meta.message_id, cmd.account, entries)
        return Outcome(result={"entries": entries})

    return count


async def _nothing(_: Connection, __: Meta) -> None:
    return None


@mirror.on_batch(AccountChanged)
async def on_account_changed(received: Sequence[Received[AccountChanged]], conn: Connection) -> None:
    """Project the newest state of each account."""
    newest: dict[str, Account] = {}
    for each in received:
        account = each.message.account
        if account.name.startswith("unlucky"):
            raise ValueError("an unlucky account")
        if account.name not in newest or newest[account.name].version < account.version:
            newest[account.name] = account
    await conn.execute(
        """
        insert into accounts as a (name, balance, version) select * from unnest($1::text[], $2::bigint[], $3::bigint[])
        on conflict (name) do update set balance = excluded.balance, version = excluded.version
        where a.version < excluded.version
        """,
        *_columns(sorted(newest.values(), key=lambda account: account.name)),
    )


def _columns(accounts: Sequence[Account]) -> list[list[Any]]:
    return [[a.name for a in accounts], [a.balance for a in accounts], [a.version for a in accounts]]
