"""Messages in, messages out: balances, and what others tell. Invoices have files of their own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from uuid import UUID

from contracts.billing import Balance, BalancePolled, PollBalance
from contracts.deployments import DeploymentEvent
from contracts.inventory import ResourceEvent
from contracts.times import previous_month
from services.billing import margin_store, store
from services.billing.domain import Polled, balance_of
from services.billing.holders import Told, told_from, with_told
from services.billing.provider import ACCOUNT, PURPOSE, Outside
from services.billing.store import Row
from shared.db import Connection
from shared.jobs import JobRun, PutOff
from shared.outcome import Meta, Outcome, Received
from shared.patience import patience
from shared.steps import Said, transact


async def poll_balance(cmd: PollBalance, run: JobRun[Outside]) -> Outcome:
    """Ask the provider for its balance, and keep it."""
    with patience(PURPOSE):
        body = await run.resources.do.get(f"{ACCOUNT}/balance")
    try:
        polled = balance_of(body)
    except ValueError as error:
        raise PutOff(f"the provider's balance cannot be read: {error}") from error
    balance = await transact(run, partial(_keep, polled))
    return Outcome(result={"balance": balance.model_dump(mode="json")})


async def _keep(polled: Polled, conn: Connection, meta: Meta) -> tuple[Balance, Said]:
    made = await store.insert_snapshot(conn, meta.message_id, polled, meta.now)
    if made is not None:
        return state_of(made), [BalancePolled(balance=state_of(made))]
    kept = await store.find_snapshot(conn, meta.message_id)
    if kept is None:
        raise LookupError(f"the balance that {meta.message_id} asked for is gone")
    return state_of(kept), []


def state_of(row: Row) -> Balance:
    """A snapshot as others get it."""
    return Balance.model_validate({name: row[name] for name in Balance.model_fields})


async def on_resource(events: Sequence[Received[ResourceEvent]], conn: Connection) -> None:
    """Keep what is told of resources, and who held them: lines are matched to them, and cost their holders."""
    before = await store.project_resources(conn, [event.message.resource for event in events])
    told: dict[UUID, Told] = {}
    for event in sorted(events, key=lambda each: each.message.resource.version):
        resource = event.message.resource
        if resource.id in before and resource.version > before[resource.id]:
            begin = previous_month(event.meta.sent_at or event.meta.now)
            told[resource.id] = with_told(told.get(resource.id), told_from(resource.links, begin))
    if told:
        await margin_store.replace_links(conn, told)


async def on_deployment(events: Sequence[Received[DeploymentEvent]], conn: Connection) -> None:
    """Keep what is told of deployments: lines may be assigned to them."""
    await store.project_deployments(conn, [event.message.deployment for event in events])
