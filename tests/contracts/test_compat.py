"""The compatibility gate: each way of breaking a consumer is named, and what breaks nobody passes."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, Field

from contracts.compat import broken_schemas
from contracts.export import ENVELOPE, envelope_schema

TYPE = "arcadia.shop.order-placed.v1"


class Line(BaseModel):
    sku: str
    quantity: int


class Order(BaseModel):
    """An order, as it was first published."""

    id: UUID
    status: Literal["open", "paid"]
    lines: list[Line]
    note: str | None = None
    labels: dict[str, int] = {}
    parent: Order | None = None


def changes(old: type[BaseModel], new: type[BaseModel]) -> list[str]:
    """What the gate says when the one becomes the other."""
    problems = broken_schemas({TYPE: old.model_json_schema()}, {TYPE: new.model_json_schema()})
    assert all("declare arcadia.shop.order-placed.v2 beside it" in problem.remedy for problem in problems)
    return [problem.what for problem in problems]


def order(**fields: Any) -> type[BaseModel]:
    """The class with other annotations or defaults for some fields; None leaves a field out."""
    kept = {name: (info.annotation, info) for name, info in Order.model_fields.items()} | fields
    annotations = {name: field[0] for name, field in kept.items() if field}
    values = {name: field[1] for name, field in kept.items() if field and len(field) > 1}
    return type("Order", (BaseModel,), {"__annotations__": annotations, **values})


class Status(StrEnum):
    OPEN = "open"
    PAID = "paid"
    LOST = "lost"


class LineWithoutQuantity(BaseModel):
    sku: str


class LineWithRequiredPrice(Line):
    price: int


BREAKING = {
    "a field is removed": (order(note=None), "data.note is gone"),
    "a field is renamed": (order(note=None, remark=(str | None, None)), "data.note is gone"),
    "a field is required that was not there": (order(total=(int,)), "data.total is new and required"),
    "an optional field becomes required": (order(note=(str | None,)), "data.note is required now"),
    "a required field becomes optional": (order(lines=(list[Line], [])), "data.lines is no longer required"),
    "a field's type changes": (order(id=(int,)), "data.id was string, is integer"),
    "a field's format changes": (order(id=(str,)), 'data.id: `format` was "uuid", is not there any more'),
    "a field may be null now": (order(id=(UUID | None,)), "data.id was string, is null or string"),
    "a field may no longer be null": (order(note=(str, "")), "data.note was null or string, is string"),
    "a value is added": (order(status=(Literal["open", "paid", "lost"],)), "data.status gained the value 'lost'"),
    "a value is removed": (order(status=(Literal["open"],)), "data.status lost the value 'paid'"),
    "a value is added by reference": (order(status=(Status,)), "data.status gained the value 'lost'"),
    "a part of a list loses a field": (order(lines=(list[LineWithoutQuantity],)), "data.lines[].quantity is gone"),
    "a part of a list demands one": (order(lines=(list[LineWithRequiredPrice],)), "data.lines[].price is new and req"),
    "a mapping's values change": (order(labels=(dict[str, str], {})), "data.labels.* was integer, is string"),
    "a bound is added": (
        order(note=(str | None, Field(None, max_length=9))),
        "data.note: `maxLength` was not there, is 9",
    ),
    "a default changes": (order(note=(str | None, "none")), 'data.note: `default` was null, is "none"'),
}


@pytest.mark.parametrize("case", BREAKING)
def test_a_change_that_breaks_somebody_is_refused(case: str) -> None:
    new, words = BREAKING[case]

    assert [change for change in changes(Order, new) if change.startswith(words)], changes(Order, new)
    assert len(changes(Order, new)) == 1


@pytest.mark.parametrize(
    "new",
    [
        Order,
        order(parcel=(str | None, None)),
        order(parcels=(list[Line], [])),
        order(note=(str | None, Field(None, description="For the packer.", examples=["fragile"]))),
    ],
    ids=["nothing", "an optional field", "an optional list", "a description"],
)
def test_what_breaks_nobody_passes(new: type[BaseModel]) -> None:
    assert changes(Order, new) == []


def test_a_message_that_is_gone_is_refused() -> None:
    (problem,) = broken_schemas({TYPE: Order.model_json_schema()}, {})

    assert str(problem).startswith(f"{TYPE}: the message is gone")


def test_a_message_that_is_new_passes() -> None:
    assert broken_schemas({}, {TYPE: Order.model_json_schema()}) == []


def test_a_message_that_moves_to_another_topic_is_refused() -> None:
    old = {**Order.model_json_schema(), "x-topic": "arcadia.shop.orders"}
    (problem,) = broken_schemas({TYPE: old}, {TYPE: {**old, "x-topic": "arcadia.shop.placed"}})

    assert problem.what == 'data: `x-topic` was "arcadia.shop.orders", is "arcadia.shop.placed"'


def test_the_envelope_has_no_versions_to_escape_to() -> None:
    old = envelope_schema()
    new = {**old, "required": [*old["required"], "tenantid"]}
    (problem,) = broken_schemas({ENVELOPE: old}, {ENVELOPE: new})

    assert problem.what.startswith("data.tenantid is required now")
    assert "only optional attributes may be added" in problem.remedy
