"""What the billing service is asked, and what it tells of what the provider charges."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from pydantic import Field

from contracts import topics
from contracts.message import Command, Contract, Event
from contracts.money import Currency

COMMANDS = topics.commands("billing", "`balance`")
BALANCES = topics.events("billing", "balances", "the provider")
topics.dead_letters("billing")


class Balance(Contract):
    """An account's balance at a provider, as it was told at a time. In cents of `currency`; a credit is below zero."""

    provider: str
    currency: Currency
    month_to_date_usage_cents: int = Field(description="What the running month has cost by now.")
    account_balance_cents: int = Field(description="What is owed of the months before it.")
    month_to_date_balance_cents: int = Field(description="Both together.")
    generated_at: datetime = Field(description="When the provider has added it up.")
    polled_at: datetime
    version: int


class BalancePolled(Event):
    """The provider was asked for its balance."""

    TYPE: ClassVar[str] = "arcadia.billing.balance-polled.v1"
    TOPIC: ClassVar[str] = BALANCES

    balance: Balance

    def key(self) -> str:
        return self.balance.provider

    def sequence(self) -> int:
        return self.balance.version


class BalanceRepublished(BalancePolled):
    """Nothing happened: the newest balance is told again, for whoever rebuilds (`arcadia republish billing`)."""

    TYPE: ClassVar[str] = "arcadia.billing.balance-republished.v1"


class PollBalance(Command):
    """Ask the provider for its balance. Result: `balance`.

    Refused with `provider_denied_access` or `provider_refused`.
    """

    TYPE: ClassVar[str] = "arcadia.billing.poll-balance.v1"
    TOPIC: ClassVar[str] = COMMANDS

    def key(self) -> str:
        return "balance"
