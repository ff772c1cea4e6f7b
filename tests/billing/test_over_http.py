"""What operators see of the provider's charges through the gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest

from contracts.billing import PollBalance
from services.gateway.app import serving
from shared.migrate import migrate
from tests.billing.world import Billing
from tests.deployments.system import of_gateways
from tests.gateway.test_documentation import closed, document, validate
from tests.gateway.world import ACME, MIGRATIONS, OPERATOR, client

BALANCE = "/api/v1/billing/balance"


@pytest.fixture
async def callers(billing: Billing) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    """An operator and a tenant."""
    await migrate(billing.settings, MIGRATIONS)
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(serving(of_gateways(billing.settings)))
        operator, tenant = [await stack.enter_async_context(client(gateway, token)) for token in (OPERATOR, ACME)]
        yield operator, tenant


async def test_operators_see_the_balance_with_its_history_the_newest_first(
    billing: Billing, callers: tuple[httpx.AsyncClient, httpx.AsyncClient]
) -> None:
    operator, tenant = callers
    assert (await operator.get(BALANCE)).json() == {"balance": None, "history": []}
    for _ in range(3):
        await billing.ask(PollBalance())
        await billing.provider.advance(7200)

    body = (await operator.get(BALANCE)).json()
    usage = [each["month_to_date_usage_cents"] for each in body["history"]]
    assert len(usage) == 3
    assert usage == sorted(usage, reverse=True)
    assert body["balance"] == body["history"][0]
    assert len((await operator.get(BALANCE, params={"history": 2})).json()["history"]) == 2

    documented = await document(operator)
    shown = documented["paths"][BALANCE]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    validate(closed(documented), shown, body)
    for wrong in ("0", "1001", "x"):
        assert (await operator.get(BALANCE, params={"history": wrong})).status_code == 422
    assert (await tenant.get(BALANCE)).status_code == 403


async def test_an_operator_has_the_provider_asked_now(
    callers: tuple[httpx.AsyncClient, httpx.AsyncClient],
) -> None:
    operator, tenant = callers
    assert (await tenant.post(f"{BALANCE}/poll")).status_code == 403
    answer = await operator.post(f"{BALANCE}/poll")
    assert answer.status_code == 200, answer.text
    balance = answer.json()["balance"]
    assert balance.pop("version") == 1
    shown = (await operator.get(BALANCE)).json()["balance"]
    assert shown["month_to_date_usage_cents"] == balance["month_to_date_usage_cents"]
    documented = await document(operator)
    schema = documented["paths"][f"{BALANCE}/poll"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    validate(closed(documented), schema, answer.json())
