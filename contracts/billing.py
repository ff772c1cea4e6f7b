"""What the billing service is asked, and what it tells of what the provider charges."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Literal, Self
from uuid import UUID

from pydantic import Field, model_validator

from contracts import topics
from contracts.message import Command, Contract, Event
from contracts.money import Currency

COMMANDS = topics.commands("billing", "`balance`; `invoices`; the invoice's or deployment's id; two currencies")
BALANCES = topics.events("billing", "balances", "the provider")
INVOICES = topics.events("billing", "invoices", "invoice id")
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


class Unmatched(StrEnum):
    """Why a line of an invoice is not matched to a resource that is there. Stored and sent as its value."""

    DELETED_RESOURCE = "deleted_resource"
    UNKNOWN_RESOURCE = "unknown_resource"
    AMBIGUOUS_NAME = "ambiguous_name"
    ACCOUNT_LEVEL = "account_level"
    CREDIT = "credit"
    TAX = "tax"
    UNKNOWN_PRODUCT = "unknown_product"


IngestStatus = Literal["pending", "ingested", "failed"]
PushStatus = Literal["pending", "pushed", "skipped", "failed"]
ReconciliationStatus = Literal["exact", "explained", "differs"]


class IngestError(Contract):
    """Why an invoice's file could not be taken. The lines of before, if any, are still those that count."""

    code: str
    reason: str
    line: int | None = Field(default=None, description="Where it shows in the file, whose header is line 1.")


class Invoice(Contract):
    """A provider's invoice, with how far it is taken in and passed on. In cents of `currency`."""

    id: UUID
    provider: str
    invoice_uuid: str = Field(description="The provider's id of it.")
    number: str = Field(description="As the provider prints it.")
    period: date = Field(description="The first day of the month that it is about.")
    currency: Currency
    amount_cents: int = Field(description="What the provider wants for it.")
    issued_at: datetime
    ingest_status: IngestStatus = Field(
        description="How the newest attempt at its file ended; `pending`: none did since it was issued, or changed."
    )
    ingest_error: IngestError | None = None
    ingests: int = Field(description="So often was its set of lines replaced; 0: it has none yet.")
    ingested_at: datetime | None
    lines: int | None
    net_cents: int | None = Field(description="The sum of its lines that are no tax.")
    tax_cents: int | None
    matched: int | None = Field(description="So many lines mean a resource that is there.")
    unmatched: dict[Unmatched, int] = Field(description="How many of the other lines do not, by the reason.")
    assigned: int = Field(description="So many lines were assigned by hand, whether or not they were matched.")
    reconciliation: ReconciliationStatus | None = Field(
        description="Whether lines and amount agree to the cent; `explained`: they do not, and it is known why."
    )
    push_status: PushStatus = Field(description="Whether finance has it as it is.")
    push_error: str | None = Field(default=None, description="Why finance does not have it, yet or at all.")
    pushed_to_finance_at: datetime | None
    finance_invoice_id: str | None
    version: int


class OfLines(Contract):
    """What an invoice's lines add up to."""

    count: int
    cents: int
    tax_cents: int


class OfItems(Contract):
    """What an invoice's items add up to."""

    count: int
    cents: int


class OfSummary(Contract):
    """What an invoice's summary says."""

    amount_cents: int
    product_charges_cents: int
    overages_cents: int
    taxes_cents: int
    credits_cents: int


class Difference(Contract):
    """What of an invoice differs, by how many cents, and why."""

    what: Literal["lines", "summary", "summary_parts", "items", "tax"]
    cents: int
    why: str
    explained: bool = Field(description="Whether that is as it should be.")


class Reconciliation(Contract):
    """What the four tellers of an invoice say (history, file, items, summary), and where they differ, to the cent."""

    status: ReconciliationStatus
    amount_cents: int
    lines: OfLines
    items: OfItems
    summary: OfSummary
    differences: list[Difference]


class ChangedLine(Contract):
    """What became of a line when the set was replaced. In cents; None where there was, or is, no such line."""

    product: str
    description: str
    before_cents: int | None
    after_cents: int | None


class LineChanges(Contract):
    """How an invoice's set of lines differs from the one before it."""

    added: int
    removed: int
    repriced: int = Field(description="So many are the same but for the amount.")
    altered: int = Field(
        default=0, description="Of so many the amount is the same, and hours, project or category are not."
    )
    before_cents: int
    after_cents: int
    examples: list[ChangedLine] = Field(description="At most twenty, those that change the most first.")


class InvoiceEvent(Event):
    """Any event about an invoice. Subscribe to this class to project invoices."""

    TOPIC: ClassVar[str] = INVOICES

    invoice: Invoice

    def key(self) -> str:
        return str(self.invoice.id)

    def sequence(self) -> int:
        return self.invoice.version


class InvoiceDiscovered(InvoiceEvent):
    """The provider has issued an invoice that was not known."""

    TYPE: ClassVar[str] = "arcadia.billing.invoice-discovered.v1"


class InvoiceChanged(InvoiceEvent):
    """The provider tells another amount, month or number than before; the invoice is ingested again."""

    TYPE: ClassVar[str] = "arcadia.billing.invoice-changed.v1"

    before_cents: int


class InvoiceIngested(InvoiceEvent):
    """An invoice's set of lines was replaced by what its file says."""

    TYPE: ClassVar[str] = "arcadia.billing.invoice-ingested.v1"

    changes: LineChanges | None = Field(default=None, description="Against the set before; None where there was none.")


class InvoiceIngestFailed(InvoiceEvent):
    """An invoice's file could not be taken; its lines are as they were."""

    TYPE: ClassVar[str] = "arcadia.billing.invoice-ingest-failed.v1"


class InvoicePushed(InvoiceEvent):
    """Finance has taken an invoice."""

    TYPE: ClassVar[str] = "arcadia.billing.invoice-pushed.v1"

    action: str = Field(description="Finance's word: `created` or `updated`.")


class InvoicePushFailed(InvoiceEvent):
    """Finance has refused an invoice; it is pushed again on request, after an ingest, and once a day."""

    TYPE: ClassVar[str] = "arcadia.billing.invoice-push-failed.v1"


class InvoicePushSkipped(InvoiceEvent):
    """No finance service is configured; the invoice is pushed when one is."""

    TYPE: ClassVar[str] = "arcadia.billing.invoice-push-skipped.v1"


class Assignment(Contract):
    """What a line means in an operator's word: a resource, or a deployment."""

    line: int
    resource_id: UUID | None = None
    deployment_id: UUID | None = None
    note: str | None = None


class CostLineAssigned(InvoiceEvent):
    """An operator has said what a line means; or, with neither resource nor deployment, that he says it no more."""

    TYPE: ClassVar[str] = "arcadia.billing.cost-line-assigned.v1"

    assignment: Assignment


class InvoiceRepublished(InvoiceEvent):
    """Nothing happened: the state is told again, for whoever rebuilds (`arcadia republish billing`)."""

    TYPE: ClassVar[str] = "arcadia.billing.invoice-republished.v1"


class PollBalance(Command):
    """Ask the provider for its balance. Result: `balance`.

    Refused with `provider_denied_access` or `provider_refused`.
    """

    TYPE: ClassVar[str] = "arcadia.billing.poll-balance.v1"
    TOPIC: ClassVar[str] = COMMANDS

    def key(self) -> str:
        return "balance"


class DiscoverInvoices(Command):
    """Walk the provider's billing history: take in what is new, and have ingested and pushed what is not yet.

    Result: `invoices` (so many there are), `discovered`, `changed`, `unreadable`, `ingesting` and `pushing`. Refused
    with `provider_denied_access` or `provider_refused`.
    """

    TYPE: ClassVar[str] = "arcadia.billing.discover-invoices.v1"
    TOPIC: ClassVar[str] = COMMANDS

    def key(self) -> str:
        return "invoices"


class IngestInvoice(Command):
    """Replace an invoice's lines by what its file says. Result: `invoice`, and `changes` against the set before.

    Refused with `not_found`, `invoice_unreadable`, `not_found_at_provider`, `provider_denied_access` or
    `provider_refused`; its `ingest_error` says so too.
    """

    TYPE: ClassVar[str] = "arcadia.billing.ingest-invoice.v1"
    TOPIC: ClassVar[str] = COMMANDS

    invoice_id: UUID
    again: bool = Field(default=False, description="Also where it is ingested already.")

    def key(self) -> str:
        return str(self.invoice_id)


class PushInvoice(Command):
    """Send an invoice, as its lines are, to the finance service. Result: `invoice`, and `action`.

    `action` is finance's word, `created` or `updated`; or `skipped` where there is no finance service, or `none` where
    it has the invoice as it is.

    Refused with `not_found`, `not_ingested`, `finance_refused` or `finance_denied_access`.
    """

    TYPE: ClassVar[str] = "arcadia.billing.push-invoice.v1"
    TOPIC: ClassVar[str] = COMMANDS

    invoice_id: UUID
    again: bool = Field(default=False, description="Also where finance has it as it is.")

    def key(self) -> str:
        return str(self.invoice_id)


class AssignCostLine(Command):
    """Say what a line means: a resource, or a deployment; or, with neither, take back what was said.

    It outlasts ingests. Result: `invoice`, `assignment`. Refused with `not_found` (the invoice, the line, the resource
    or the deployment), `line_replaced`, or `invoice_busy` while its lines are being replaced.
    """

    TYPE: ClassVar[str] = "arcadia.billing.assign-cost-line.v1"
    TOPIC: ClassVar[str] = COMMANDS

    invoice_id: UUID
    line: Annotated[int, Field(ge=1)]
    ingests: int | None = Field(
        default=None, description="The invoice's `ingests` when the line was looked at: refused where it is another."
    )
    resource_id: UUID | None = None
    deployment_id: UUID | None = None
    note: Annotated[str, Field(max_length=1000, pattern=r"^[^\x00]*$")] | None = None

    def key(self) -> str:
        return str(self.invoice_id)

    @model_validator(mode="after")
    def _of_one(self) -> Self:
        if self.resource_id and self.deployment_id:
            raise ValueError("a line means a resource or a deployment, not both")
        return self
