"""A preview tells what will be quoted, by the function that quotes; and what cannot be is refused."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.deployments import Authority, DeploymentCreated
from contracts.kinds import BillingKind as Kind
from contracts.message import Event
from contracts.quotes import PreviewQuote, QuoteChanged
from services.billing import store
from services.billing.preview import preview_quote
from services.billing.quotes import requote
from shared.ids import uuid7
from shared.inbox import Recorded
from shared.outcome import Meta
from tests.billing.selling import (
    BLOG,
    HOURS,
    LONG_AGO,
    PRO,
    SHOP,
    STORAGE,
    STUDIO,
    attached,
    plan,
    prices,
    subscription,
    usage,
    version_id,
)
from tests.billing.test_quotes import handed, quoted
from tests.billing.world import Billing
from tests.sending import deployment


async def preview(billing: Billing, **wanted: Any) -> Recorded:
    wanted = {"deployment_id": SHOP, "authority": Authority.OPERATOR} | wanted
    return await billing.ask(PreviewQuote(**wanted))


async def test_a_preview_is_what_is_quoted_afterwards(billing: Billing) -> None:
    now = datetime.now(UTC)
    await billing.tell(
        STUDIO,
        PRO,
        STORAGE,
        HOURS,
        deployment(SHOP, "acme", "shop"),
        subscription("studio", attached(STORAGE, cents=600)),
        usage(Kind.DROPLET_HOURS, 1, "777.25"),
        usage(Kind.SPACES_GB_MONTH, 2, "311.5"),
        prices(Kind.SPACES_GB_MONTH, ("2.5", LONG_AGO)),
    )
    await billing.until("total_cents > 6000 from quotes")
    await billing.until("count(*) = 2 from addons")
    changes: list[tuple[dict[str, Any], Event]] = [
        ({"plan_code": "pro"}, subscription("pro", attached(STORAGE, cents=600), version=2)),
        ({"attach": ["hours_240"]}, subscription("pro", attached(STORAGE, cents=600), attached(HOURS, now), version=3)),
        (
            {"plan_version_id": version_id("studio")},
            subscription("studio", attached(STORAGE, cents=600), attached(HOURS, now), version=4),
        ),
        (
            {"detach": [STORAGE.addon.id]},
            subscription("studio", attached(STORAGE, until=now, cents=600), attached(HOURS, now), version=5),
        ),
        (
            {"attach": ["storage_50gb"]},
            subscription(
                "studio",
                attached(STORAGE, until=now, cents=600),
                attached(STORAGE, now),
                attached(HOURS, now),
                version=6,
            ),
        ),
    ]
    for wanted, event in changes:
        answer = (await preview(billing, **wanted)).result
        assert answer is not None
        (row,) = await quoted(billing)
        assert (answer["now"]["total_cents"], answer["now"]["lines"]) == (row["total_cents"], row["lines"])
        await billing.tell(event)
        await billing.until("version = $1 from subscriptions", event.sequence())
        (row,) = await quoted(billing)
        quote = answer["quote"]
        assert (quote["total_cents"], quote["lines"], quote["plan_code"]) == (
            row["total_cents"],
            row["lines"],
            row["plan_code"],
        )
        assert answer["difference_cents"] == quote["total_cents"] - answer["now"]["total_cents"]


class Undone(Exception):
    """What was done in a transaction is not to stay."""


PLANS = {"studio": STUDIO, "pro": PRO}
ADDONS = {each.addon.code: each for each in (STORAGE, HOURS)}
HAS = st.tuples(st.sampled_from(sorted(PLANS)), st.sets(st.sampled_from(sorted(ADDONS))))
USED = st.dictionaries(
    st.sampled_from([Kind.DROPLET_HOURS, Kind.SPACES_GB_MONTH, Kind.LLM_TOKENS, Kind.DNS_ZONES]),
    st.decimals(0, 3000, places=3),
)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(HAS, HAS, USED)
async def test_every_preview_is_what_is_quoted_afterwards(
    shared_billing: Billing, has: tuple[str, set[str]], wants: tuple[str, set[str]], used: dict[Kind, Decimal]
) -> None:
    await shared_billing.begin_anew()
    now = datetime.now(UTC)
    before = [attached(ADDONS[code]) for code in has[1]]
    after = [
        *(attached(ADDONS[code], until=None if code in wants[1] else now) for code in has[1]),
        *(attached(ADDONS[code], now) for code in wants[1] - has[1]),
    ]
    with suppress(Undone):
        async with shared_billing.db.transaction() as conn:
            for event in (
                *PLANS.values(),
                *ADDONS.values(),
                prices(Kind.SPACES_GB_MONTH, ("2.5", LONG_AGO)),
                *(usage(kind, 1, f"{qty:f}") for kind, qty in used.items()),
                subscription(has[0], *before),
            ):
                await handed(conn, event)
            told = deployment(SHOP, "acme", "shop")
            assert isinstance(told, DeploymentCreated)
            await store.project_deployments(conn, [told.deployment])
            asked = PreviewQuote(
                deployment_id=SHOP,
                authority=Authority.OPERATOR,
                plan_code=wants[0],
                attach=sorted(wants[1] - has[1]),
                detach=[ADDONS[code].addon.id for code in has[1] - wants[1]],
            )
            answer = (await preview_quote(asked, conn, Meta(uuid7(), now))).result or {}
            await handed(conn, subscription(wants[0], *after, version=2))
            outcome = await requote(conn, now + timedelta(seconds=1))
            assert outcome is not None
            (quote,) = [event.quote for event in outcome.events if isinstance(event, QuoteChanged)]
            assert answer["quote"]["lines"] == quote.model_dump(mode="json", exclude_none=True)["lines"]
            assert answer["quote"]["total_cents"] == quote.total_cents
            raise Undone


async def test_a_preview_tells_what_a_whole_month_will_cost_before_any_use(billing: Billing) -> None:
    await billing.tell(
        STUDIO,
        PRO,
        STORAGE,
        deployment(SHOP, "acme", "shop"),
        subscription("studio", attached(STORAGE)),
        usage(Kind.DROPLET_HOURS, 1, "777"),
    )
    await billing.until("total_cents > 6000 from quotes")
    same = (await preview(billing)).result or {}
    less = (await preview(billing, plan_code="pro", detach=[STORAGE.addon.id])).result or {}
    assert (same["difference_cents"], same["next_month_cents"]) == (0, 5750)
    assert (less["quote"]["total_cents"], less["next_month_cents"]) == (12_750, 12_000)


async def test_before_a_subscription_a_plan_can_be_tried(billing: Billing) -> None:
    await billing.tell(STUDIO, deployment(SHOP, "acme", "shop"), usage(Kind.DROPLET_HOURS, 1, "500"))
    await billing.until(
        "exists (select from deployments) and exists (select from usage_days) and exists (select from plan_versions)"
    )
    answer = (await preview(billing, plan_code="studio")).result or {}
    assert (answer["now"], answer["quote"]["total_cents"], answer["difference_cents"], answer["next_month_cents"]) == (
        None,
        5120,
        5120,
        5000,
    )
    assert await billing.fetch("select from quotes") == []


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({"deployment_id": BLOG}, "not_found"),
        ({"authority": Authority.TENANT}, "forbidden"),
        ({"plan_code": "none"}, "plan_or_version_not_found"),
        ({"plan_code": "dollars"}, "currency_mismatch"),
        ({"plan_version_id": version_id("draft")}, "version_not_active"),
        ({"attach": ["none"]}, "addon_not_found"),
        ({"attach": ["storage_50gb"]}, "addon_attached"),
        ({"detach": [HOURS.addon.id]}, "addon_not_attached"),
    ],
)
async def test_what_cannot_be_is_not_previewed(billing: Billing, wanted: dict[str, Any], code: str) -> None:
    await billing.tell(
        STUDIO,
        STORAGE,
        HOURS,
        plan("dollars", 10, currency="USD"),
        plan("draft", 10, status="draft"),
        deployment(SHOP, "acme", "shop"),
        subscription("studio", attached(STORAGE)),
    )
    await quoted(billing)
    await billing.until("count(*) = 2 from addons")
    await billing.until("count(*) = 3 from plan_versions")
    await billing.until("exists (select from deployments)")
    outcome = await preview(billing, **wanted)
    assert (outcome.status, outcome.code) == ("refused", code)


async def test_who_has_no_subscription_names_a_plan(billing: Billing) -> None:
    await billing.tell(STUDIO, deployment(SHOP, "acme", "shop"))
    await billing.until("exists (select from deployments)")
    assert (await preview(billing)).code == "subscription_not_found"
    await billing.tell(subscription("studio", status="cancelled"))
    await quoted(billing)
    assert (await preview(billing)).code == "subscription_cancelled"
