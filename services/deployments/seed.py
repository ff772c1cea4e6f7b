"""The catalog to begin with: what `arcadia seed-catalog` puts on sale where it is not yet.

A plan or an addon that is there already, whatever became of it since, stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

from contracts.catalog import CreateAddon, CreatePlan, DraftPlanVersion, PlanItem, PublishPlanVersion
from contracts.kinds import BillingKind
from contracts.money import Currency
from services.deployments import catalog, catalog_store
from shared.db import Connection
from shared.outcome import Meta, Outcome

_HOURS = BillingKind.DROPLET_HOURS
_SPACES = BillingKind.SPACES_GB_MONTH
_SNAPSHOTS = BillingKind.SNAPSHOT_GB_MONTH
_TRAFFIC = BillingKind.BANDWIDTH_GB
_ZONES = BillingKind.DNS_ZONES
_TOKENS = BillingKind.LLM_TOKENS


def _item(kind: BillingKind, included: int, unit: int, cents: int, cap: int | None = None) -> PlanItem:
    return PlanItem(
        resource_kind=kind, included_qty=included, overage_unit=unit, overage_price_cents=cents, hard_cap_qty=cap
    )


PLANS: Sequence[tuple[CreatePlan, DraftPlanVersion]] = (
    (
        CreatePlan(code="starter", name="Starter"),
        DraftPlanVersion(
            plan_code="starter",
            base_price_cents=2_000,
            currency=Currency.AUD,
            items=[
                _item(_HOURS, 750, 1, 2, cap=1_500),
                _item(_SPACES, 10, 10, 50, cap=250),
                _item(_SNAPSHOTS, 5, 1, 10, cap=100),
                _item(_TRAFFIC, 500, 100, 150),
                _item(_ZONES, 1, 1, 100, cap=5),
            ],
        ),
    ),
    (
        CreatePlan(code="studio", name="Studio"),
        DraftPlanVersion(
            plan_code="studio",
            base_price_cents=5_000,
            currency=Currency.AUD,
            items=[
                _item(_HOURS, 1_500, 1, 2, cap=7_500),
                _item(_SPACES, 100, 10, 50, cap=2_500),
                _item(_SNAPSHOTS, 50, 1, 10, cap=1_000),
                _item(_TRAFFIC, 2_000, 100, 150),
                _item(_ZONES, 5, 1, 100, cap=50),
                _item(_TOKENS, 2_000_000, 1_000_000, 300),
            ],
        ),
    ),
    (
        CreatePlan(code="pro", name="Pro"),
        DraftPlanVersion(
            plan_code="pro",
            base_price_cents=12_000,
            currency=Currency.AUD,
            items=[
                _item(_HOURS, 4_500, 1, 2),
                _item(_SPACES, 500, 10, 40),
                _item(_SNAPSHOTS, 200, 1, 8),
                _item(_TRAFFIC, 8_000, 100, 120),
                _item(_ZONES, 20, 1, 80),
                _item(_TOKENS, 10_000_000, 1_000_000, 250),
            ],
        ),
    ),
)

ADDONS: Sequence[CreateAddon] = (
    CreateAddon(
        code="storage_50gb",
        name="50 GB of object storage",
        resource_kind=_SPACES,
        qty=50,
        price_cents=750,
        currency=Currency.AUD,
    ),
    CreateAddon(
        code="storage_250gb",
        name="250 GB of object storage",
        resource_kind=_SPACES,
        qty=250,
        price_cents=3_000,
        currency=Currency.AUD,
    ),
    CreateAddon(
        code="llm_5m_tokens",
        name="Five million LLM tokens",
        resource_kind=_TOKENS,
        qty=5_000_000,
        price_cents=1_200,
        currency=Currency.AUD,
    ),
)


async def seed(conn: Connection, meta: Meta) -> Outcome:
    """Put on sale what is not there yet; gives what is to be told of it. Two at once do it once."""
    await catalog_store.lock_seeding(conn)
    done: list[Outcome] = []
    plans = await catalog_store.list_plan_codes(conn)
    for plan, draft in PLANS:
        if plan.code not in plans:
            created = await catalog.create_plan(plan, conn, meta)
            drafted = await catalog.draft_plan_version(draft, conn, meta)
            version_id = (drafted.result or {})["version"]["id"]
            published = await catalog.publish_plan_version(PublishPlanVersion(plan_version_id=version_id), conn, meta)
            done += [created, drafted, published]
    addons = await catalog_store.list_addons(conn, [addon.code for addon in ADDONS])
    done += [await catalog.create_addon(addon, conn, meta) for addon in ADDONS if addon.code not in addons]
    return Outcome(events=[event for outcome in done for event in outcome.events])
