"""Plans and addons to sell, and a customer: a deployment whose subscription a test is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from contracts.catalog import CreateAddon, CreatePlan, DraftPlanVersion, PlanItem, PublishPlanVersion
from contracts.deployments import Authority, CreateDeployment, DeploymentCommand
from contracts.kinds import BillingKind
from contracts.message import Event
from contracts.money import Currency
from contracts.subscriptions import Subscribe
from tests.deployments.world import Deployments, Row

NOW = datetime(2026, 3, 10, 9, 30, tzinfo=UTC)

_ROWS = (
    "select * from cloud_deployments where id = $1",
    "select * from cloud_deployment_events where deployment_id = $1 order by id",
    "select * from subscriptions where deployment_id = $1",
    """
    select a.* from subscription_addons a join subscriptions s on s.id = a.subscription_id
    where s.deployment_id = $1 order by a.id
    """,
    """
    select p.* from subscription_periods p join subscriptions s on s.id = p.subscription_id
    where s.deployment_id = $1 order by p.period_start
    """,
    """
    select e.* from subscription_events e join subscriptions s on s.id = e.subscription_id
    where s.deployment_id = $1 order by e.id
    """,
)


def first(month: int) -> datetime:
    """The beginning of a month of 2026."""
    return datetime(2026, month, 1, tzinfo=UTC)


def text(time: datetime) -> str:
    """A time as answers write it."""
    return time.isoformat().replace("+00:00", "Z")


def name() -> str:
    """A code that nobody else uses."""
    return f"x-{uuid4().hex}"


def item(kind: BillingKind, included: int, *, unit: int = 1, cents: int = 0, cap: int | None = None) -> PlanItem:
    return PlanItem(
        resource_kind=kind, included_qty=included, overage_unit=unit, overage_price_cents=cents, hard_cap_qty=cap
    )


async def drafted(
    world: Deployments, plan: str, cents: int = 1000, *items: PlanItem, currency: Currency = Currency.AUD
) -> UUID:
    """A draft of a plan's next version."""
    draft = DraftPlanVersion(plan_code=plan, base_price_cents=cents, currency=currency, items=list(items))
    return UUID((await world.do(draft, now=NOW))["version"]["id"])


async def published(
    world: Deployments, plan: str, cents: int = 1000, *items: PlanItem, currency: Currency = Currency.AUD
) -> UUID:
    """A plan's next version, on sale."""
    version = await drafted(world, plan, cents, *items, currency=currency)
    await world.do(PublishPlanVersion(plan_version_id=version), now=NOW)
    return version


async def named(world: Deployments) -> str:
    """The code of a plan without versions."""
    code = name()
    await world.do(CreatePlan(code=code, name="A plan"), now=NOW)
    return code


async def addon(world: Deployments, cents: int = 100, currency: Currency = Currency.AUD) -> tuple[str, UUID]:
    """Code and id of an addon of five zones."""
    command = CreateAddon(
        code=name(),
        name="Zones",
        resource_kind=BillingKind.DNS_ZONES,
        qty=5,
        price_cents=cents,
        currency=currency,
    )
    return command.code, UUID((await world.do(command, now=NOW))["addon"]["id"])


async def active_version(world: Deployments, plan: str) -> UUID:
    """The version of a plan that is on sale."""
    (row,) = await world.fetch(
        "select v.id from plan_versions v join plans p on p.id = v.plan_id where p.code = $1 and v.status = 'active'",
        plan,
    )
    return UUID(str(row["id"]))


async def addon_id(world: Deployments, code: str) -> UUID:
    (row,) = await world.fetch("select id from addons where code = $1", code)
    return UUID(str(row["id"]))


@dataclass
class Customer:
    """A deployment of acme's. `told`: the events of the last command that was done for it, in their order."""

    world: Deployments
    id: UUID
    told: Sequence[Event] = ()

    async def ask(
        self,
        command: type[DeploymentCommand],
        *,
        by: Authority = Authority.TENANT,
        now: datetime = NOW,
        **fields: Any,
    ) -> dict[str, Any]:
        """Have a command done; gives its result."""
        said = len(self.world.said)
        result = await self.world.do(command(deployment_id=self.id, authority=by, **fields), now=now)
        self.told = self.world.said[said:]
        return result

    async def refused(
        self,
        command: type[DeploymentCommand],
        *,
        by: Authority = Authority.TENANT,
        now: datetime = NOW,
        **fields: Any,
    ) -> tuple[str, dict[str, Any]]:
        """Code and detail of the refusal of a command. It must leave nothing behind."""
        before = await self.rows()
        refusal = await self.world.refusal(command(deployment_id=self.id, authority=by, **fields), now=now)
        assert await self.rows() == before
        return refusal.code, refusal.detail

    async def rows(self) -> list[list[Row]]:
        """All that is stored of it."""
        return [await self.world.fetch(query, self.id) for query in _ROWS]

    async def subscription(self) -> Row:
        (row,) = await self.world.fetch(_ROWS[2], self.id)
        return row

    async def state(self) -> str:
        (row,) = await self.world.fetch(_ROWS[0], self.id)
        return str(row["state"])

    async def addons(self) -> list[Row]:
        """What was ever attached, the oldest first."""
        return await self.world.fetch(_ROWS[3], self.id)

    async def periods(self) -> list[tuple[datetime, UUID]]:
        """The beginning of each period, and the version that counts for it."""
        rows = await self.world.fetch(_ROWS[4], self.id)
        return [(row["period_start"], row["plan_version_id"]) for row in rows]

    async def history(self) -> list[Row]:
        """What happened to the subscription, the oldest first."""
        return await self.world.fetch(_ROWS[5], self.id)

    async def be(self, state: str) -> None:
        """Bring the deployment into a state, whatever way leads there."""
        saga = uuid4() if state == "provisioning" else None
        await self.world.fetch(
            "update cloud_deployments set state = $2, saga_id = $3 where id = $1", self.id, state, saga
        )


async def customer(world: Deployments, *, trial: bool = False) -> Customer:
    """A deployment without a subscription."""
    command = CreateDeployment(tenant_id="acme", slug=f"app-{uuid4().hex}", display_name="App", trial=trial)
    return Customer(world, UUID((await world.do(command, now=NOW))["deployment"]["id"]))


async def subscriber(
    world: Deployments, plan: str = "studio", *addons: str, since: datetime = NOW, **subscribe: Any
) -> Customer:
    """A deployment that is subscribed to a plan."""
    made = await customer(world)
    by = Authority.OPERATOR if subscribe else Authority.TENANT
    await made.ask(Subscribe, by=by, now=since, plan_code=plan, addons=list(addons), **subscribe)
    return made


def types(events: Sequence[object]) -> list[str]:
    """The names of events' classes, in their order."""
    return [type(event).__name__ for event in events]
