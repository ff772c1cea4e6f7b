"""What is owed to the provider. Operators only."""

from __future__ import annotations

from typing import Annotated

from litestar import get, post
from litestar.params import QueryParameter
from litestar.response.base import ASGIResponse
from pydantic import BaseModel, Field

from contracts.billing import Balance, PollBalance
from services.gateway import billing_store
from services.gateway.documentation import ALWAYS, FORBIDDEN, INVALID, PROVIDER, answer
from services.gateway.gateway import ApiRequest
from services.gateway.operations import submit
from services.gateway.routes.operations import write
from services.gateway.routes.vocabulary import OPERATORS, Key, Routes, json_answer

_A_DAY = 24


class BalanceHistory(BaseModel):
    balance: Balance | None = Field(description="The newest; null where the provider was never asked.")
    history: list[Balance] = Field(description="The newest first, and that one among them.")


class BalanceAnswer(BaseModel):
    balance: Balance


_BALANCE = {
    "provider": "digitalocean",
    "currency": "USD",
    "month_to_date_usage_cents": 8692,
    "account_balance_cents": 0,
    "month_to_date_balance_cents": 8692,
    "generated_at": "2026-05-12T09:00:00Z",
    "polled_at": "2026-05-12T09:07:01.482113Z",
    "version": 1203,
}


@get(
    "/balance",
    opt=OPERATORS,
    responses=ALWAYS
    | {
        200: answer(BalanceHistory, "The balance.", {"balance": _BALANCE, "history": [_BALANCE]}),
        403: FORBIDDEN,
        422: INVALID,
    },
)
async def get_balance(
    request: ApiRequest,
    history: Annotated[int, QueryParameter(ge=1, le=1000, description="Polls, one an hour.", required=False)] = _A_DAY,
) -> ASGIResponse:
    """Show what is owed to the provider, now and over the last polls: the running month's costs grow by the hour."""
    return json_answer(await billing_store.balances(request.gateway.views, history))


@post(
    "/balance/poll",
    opt=OPERATORS,
    status_code=200,
    responses=write(answer(BalanceAnswer, "The balance now.", {"balance": _BALANCE})) | {502: PROVIDER},
)
async def poll_balance(request: ApiRequest, key: Key = None) -> ASGIResponse:
    """Ask the provider for its balance now."""
    return await submit(request, PollBalance(), key)


router = Routes("/billing", route_handlers=[get_balance, poll_balance], tags=["billing"])
