"""The messages of the test services."""

from __future__ import annotations

from typing import ClassVar

from contracts import topics
from contracts.message import Command, Contract, Event

COMMANDS = topics.commands("ledger", "account")
ACCOUNTS = topics.events("ledger", "accounts", "account")
REPLIES = topics.replies("ledger-test")
topics.dead_letters("ledger")
topics.dead_letters("mirror")


class Account(Contract):
    name: str
    balance: int
    version: int


class AccountChanged(Event):
    """An account's balance changed."""

    TYPE: ClassVar[str] = "arcadia.ledger.account-changed.v1"
    TOPIC: ClassVar[str] = ACCOUNTS

    account: Account

    def key(self) -> str:
        return self.account.name

    def sequence(self) -> int:
        return self.account.version


class Deposit(Command):
    """Add to an account, `times` times, each time with an event."""

    TYPE: ClassVar[str] = "arcadia.ledger.deposit.v1"
    TOPIC: ClassVar[str] = COMMANDS

    account: str
    amount: int
    times: int = 1

    def key(self) -> str:
        return self.account


class Audit(Command):
    """Count an account's entries, slowly, as a job."""

    TYPE: ClassVar[str] = "arcadia.ledger.audit.v1"
    TOPIC: ClassVar[str] = COMMANDS

    account: str
    seconds: float = 0.0

    def key(self) -> str:
        return self.account
