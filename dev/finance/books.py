"""What an import has to be, and what is kept of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Annotated, Any
from uuid import NAMESPACE_URL, uuid5

import orjson
from pydantic import BaseModel, Field, ValidationError, field_validator

Name = Annotated[str, Field(min_length=1)]
Minor = Annotated[int, Field(ge=-(2**63), lt=2**63)]
"""In cents, or what else the currency's smallest unit is."""

VENDORS = {"digitalocean": ("DigitalOcean", "cloud")}
"""Name and category of the vendors that a source's first import creates."""


class Invalid(Exception):
    """A body that cannot be taken: `errors` name field and reason."""

    def __init__(self, errors: list[dict[str, str]]) -> None:
        super().__init__(str(errors))
        self.errors = errors


class Line(BaseModel):
    """A line of an invoice; a credit's amount is below 0."""

    description: str
    amount_minor: Minor
    product: str | None = None
    quantity: str | None = None
    starts_at: str | None = None
    ends_at: str | None = None


class Import(BaseModel):
    """An invoice as it is imported."""

    source: Name
    external_id: Name
    period: date
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    amount_gross_minor: Minor
    amount_net_minor: Minor
    amount_tax_minor: Minor
    lines: list[Line]

    @field_validator("period")
    @classmethod
    def _first_of_month(cls, period: date) -> date:
        if period.day != 1:
            raise ValueError("must be the first day of a month")
        return period


class Invoice(Import):
    """An imported invoice; `imports`: how many times it was."""

    id: str
    tenant_id: str
    vendor_id: str | None
    imports: int


class Vendor(BaseModel):
    """Whom a tenant has to pay."""

    id: str
    tenant_id: str
    name: str
    category: str


class Books:
    """The invoices, and the vendors that came with them. Every tenant's are its own."""

    def __init__(self) -> None:
        self.invoices: dict[tuple[str, str, str], Invoice] = {}
        self.vendors: dict[tuple[str, str], Vendor] = {}

    def take(self, tenant_id: str, given: Import) -> Invoice:
        """Keep an invoice in place of what was imported of it before."""
        key = (tenant_id, given.source, given.external_id)
        known = self.invoices.get(key)
        self.invoices[key] = Invoice(
            **given.model_dump(),
            id=_id("invoice", *key),
            tenant_id=tenant_id,
            vendor_id=self._vendor(tenant_id, given.source),
            imports=known.imports + 1 if known else 1,
        )
        return self.invoices[key]

    def _vendor(self, tenant_id: str, source: str) -> str | None:
        if source not in VENDORS:
            return None
        key, (name, category) = (tenant_id, source), VENDORS[source]
        new = Vendor(id=_id("vendor", *key), tenant_id=tenant_id, name=name, category=category)
        return self.vendors.setdefault(key, new).id


def read_import(body: bytes) -> Import:
    """The import that a body is, whose sums are right. Raises Invalid."""
    try:
        given = Import.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise Invalid(list(reasons(error))) from None
    net_and_tax = given.amount_net_minor + given.amount_tax_minor
    lines = sum(line.amount_minor for line in given.lines)
    wrong = [
        {"field": field, "reason": f"{what} {total}, amount_gross_minor is {given.amount_gross_minor}"}
        for field, what, total in (
            ("amount_gross_minor", "net and tax are", net_and_tax),
            ("lines", "the lines add up to", lines),
        )
        if total != given.amount_gross_minor
    ]
    if wrong:
        raise Invalid(wrong)
    return given


def reasons(error: ValidationError) -> Iterator[dict[str, str]]:
    """What is wrong, by field."""
    for one in error.errors():
        yield {"field": ".".join(map(str, one["loc"])) or "body", "reason": one["msg"]}


def _id(*of: Any) -> str:
    return str(uuid5(NAMESPACE_URL, orjson.dumps(of).decode()))
