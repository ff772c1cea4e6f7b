"""Money and quantities are whole numbers, or decimals written as text: never a float, in no message and no table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Literal

import pytest
from pydantic import ValidationError

from contracts import catalog, deployments, subscriptions
from contracts.catalog import CreateAddon, DraftPlanVersion, SetResourcePrice
from contracts.message import Command, Message
from contracts.money import MOST_CENTS, MOST_UNITS
from contracts.registry import messages
from tests.deployments.customers import NOW
from tests.deployments.world import Deployments

MODULES = {module.__name__ for module in (catalog, deployments, subscriptions)}
OURS = [message for message in messages() if message.__module__ in MODULES]

ITEM: dict[str, Any] = {"resource_kind": "dns_zones", "included_qty": 5, "overage_unit": 1, "overage_price_cents": 100}
DRAFT: dict[str, Any] = {"plan_code": "studio", "base_price_cents": 5000, "currency": "AUD", "items": [ITEM]}
ADDON: dict[str, Any] = {
    "code": "zones",
    "name": "Zones",
    "resource_kind": "dns_zones",
    "qty": 5,
    "price_cents": 100,
    "currency": "AUD",
}
PRICE: dict[str, Any] = {"resource_kind": "dns_zones", "unit_price_cents": "2.5", "currency": "AUD"}
NEXT_TO_INTEGERS = [20.0, 20.5, "20", True, False, None, [20], -1, float("nan"), float("inf"), float("-inf")]


def wrong(command: type[Command], value: dict[str, Any]) -> set[str]:
    """The fields that keep a command from being understood, as a service reads it and as the gateway does."""
    found = [_errors(command, value), _errors(command, json.dumps(value))]
    assert found[0] == found[1]
    return found[0]


def _errors(command: type[Command], value: dict[str, Any] | str) -> set[str]:
    try:
        command.model_validate_json(value) if isinstance(value, str) else command.model_validate(value)
    except ValidationError as error:
        return {".".join(map(str, each["loc"])) for each in error.errors()}
    return set()


@pytest.mark.parametrize("value", [*NEXT_TO_INTEGERS, MOST_CENTS + 1, 10**30])
def test_an_amount_is_a_whole_number_of_cents_within_reason(value: object) -> None:
    assert wrong(DraftPlanVersion, DRAFT | {"base_price_cents": value}) == {"base_price_cents"}
    assert wrong(CreateAddon, ADDON | {"price_cents": value}) == {"price_cents"}
    items = [ITEM | {"overage_price_cents": value}]
    assert wrong(DraftPlanVersion, DRAFT | {"items": items}) == {"items.0.overage_price_cents"}


@pytest.mark.parametrize("value", [*NEXT_TO_INTEGERS, MOST_UNITS + 1, 10**30])
def test_a_quantity_is_a_whole_number_of_units_within_reason(value: object) -> None:
    assert wrong(CreateAddon, ADDON | {"qty": value}) == {"qty"}
    for name in ("included_qty", "overage_unit", "hard_cap_qty"):
        if (name, value) != ("hard_cap_qty", None):
            items = [ITEM | {name: value}]
            assert wrong(DraftPlanVersion, DRAFT | {"items": items}) == {f"items.0.{name}"}


def test_the_bounds_themselves_are_allowed() -> None:
    assert wrong(DraftPlanVersion, DRAFT | {"base_price_cents": 0}) == set()
    assert wrong(DraftPlanVersion, DRAFT | {"base_price_cents": MOST_CENTS}) == set()
    assert wrong(DraftPlanVersion, DRAFT | {"items": [ITEM | {"included_qty": MOST_UNITS}]}) == set()
    assert wrong(DraftPlanVersion, DRAFT | {"items": [ITEM | {"included_qty": 0, "hard_cap_qty": 0}]}) == set()
    assert wrong(SetResourcePrice, PRICE | {"unit_price_cents": "999999999"}) == set()


def test_nothing_is_sold_in_units_of_nothing() -> None:
    assert wrong(CreateAddon, ADDON | {"qty": 0}) == {"qty"}
    assert wrong(DraftPlanVersion, DRAFT | {"items": [ITEM | {"overage_unit": 0}]}) == {"items.0.overage_unit"}


def test_a_cap_below_what_is_included_is_refused_by_its_name() -> None:
    assert wrong(DraftPlanVersion, DRAFT | {"items": [ITEM, ITEM | {"hard_cap_qty": 4}]}) == {"items.1.hard_cap_qty"}
    assert wrong(DraftPlanVersion, DRAFT | {"items": [ITEM | {"hard_cap_qty": 5}]}) == set()


def test_a_kind_stands_in_a_plan_once() -> None:
    other = ITEM | {"resource_kind": "llm_tokens"}
    assert wrong(DraftPlanVersion, DRAFT | {"items": [ITEM, other]}) == set()
    assert wrong(DraftPlanVersion, DRAFT | {"items": [ITEM, other, ITEM]}) == {"items"}


@pytest.mark.parametrize("value", ["ZZZ", "aud", "AU", "", None, 36, "AUD "])
def test_a_currency_is_one_that_is_known(value: object) -> None:
    for command, fields in ((DraftPlanVersion, DRAFT), (CreateAddon, ADDON), (SetResourcePrice, PRICE)):
        assert wrong(command, fields | {"currency": value}) == {"currency"}


@pytest.mark.parametrize("value", ["droplet", "submarines", "", None, 7])
def test_a_kind_is_one_that_is_billed(value: object) -> None:
    assert wrong(CreateAddon, ADDON | {"resource_kind": value}) == {"resource_kind"}
    assert wrong(SetResourcePrice, PRICE | {"resource_kind": value}) == {"resource_kind"}
    items = [ITEM | {"resource_kind": value}]
    assert wrong(DraftPlanVersion, DRAFT | {"items": items}) == {"items.0.resource_kind"}


@pytest.mark.parametrize(
    "value",
    [
        *[2.5, 2.0, 0.0021, 1e-9, float("nan"), float("inf"), True, False, None, -1, 10**10, {}, []],
        *["NaN", "sNaN", "Infinity", "-Infinity", "-1", "-0.0021", "1e10", "1e999999", "0.0000000001", "1e-10"],
        *["", " ", "free", "2,5", "1/3", "0x10", str(MOST_CENTS), "-0", "1e2", "1_000", " 5 ", "1.5000000000"],
    ],
)
def test_a_unit_price_that_is_not_exact_or_absurd_is_refused(value: object) -> None:
    assert wrong(SetResourcePrice, PRICE | {"unit_price_cents": value}) == {"unit_price_cents"}


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("0.0021", "0.0021"),
        ("0.000000001", "0.000000001"),
        ("999999999.999999999", "999999999.999999999"),
        ("2.50", "2.5"),
        ("10", "10"),
        (2, "2"),
        (0, "0"),
    ],
)
async def test_a_unit_price_is_kept_exactly(own_deployments: Deployments, value: str | int, kept: str) -> None:
    sent = SetResourcePrice.model_validate(PRICE | {"unit_price_cents": value}).model_dump_json()
    assert json.loads(sent)["unit_price_cents"] == kept
    result = await own_deployments.do(SetResourcePrice.model_validate_json(sent), now=NOW)
    (told,) = result["resource_prices"]["prices"]
    assert told["unit_price_cents"] == kept
    (row,) = await own_deployments.fetch("select unit_price_cents from resource_prices")
    assert row["unit_price_cents"] == Decimal(kept)
    (row,) = await own_deployments.fetch("select unit_price_cents from v1_all_resource_prices")
    assert row["unit_price_cents"] == kept


async def test_a_price_reads_the_same_in_its_answer_and_in_the_list(own_deployments: Deployments) -> None:
    command = SetResourcePrice.model_validate(PRICE | {"unit_price_cents": "0.10"})
    (told,) = (await own_deployments.do(command, now=NOW))["resource_prices"]["prices"]
    (row,) = await own_deployments.fetch("select unit_price_cents from v1_all_resource_prices")
    assert (told["unit_price_cents"], row["unit_price_cents"]) == ("0.1", "0.1")


@pytest.mark.parametrize("mode", ["validation", "serialization"])
@pytest.mark.parametrize("message", OURS, ids=lambda message: message.__name__)
def test_no_message_has_a_field_that_is_a_float(
    message: type[Message], mode: Literal["validation", "serialization"]
) -> None:
    described = list(_types(message.model_json_schema(mode=mode)))
    assert "string" in described
    assert "number" not in described


def _types(schema: object) -> Iterator[object]:
    """Every `type` in a JSON Schema."""
    if isinstance(schema, dict):
        named = schema.get("type")
        yield from named if isinstance(named, list) else [named]
        for each in schema.values():
            yield from _types(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from _types(each)


def test_all_messages_of_deployments_are_looked_at() -> None:
    assert {message.__module__ for message in OURS} == MODULES
    assert len(OURS) > 30


async def test_no_column_is_a_float(deployments: Deployments) -> None:
    rows = await deployments.fetch(
        """
        select table_name, column_name, data_type from information_schema.columns
        where table_schema = 'deployments' and (data_type in ('real', 'double precision', 'money')
          or column_name ~ '_(cents|qty|unit)$')
        """
    )
    assert len(rows) > 10
    exact = {"bigint", "numeric", "text"}
    assert [tuple(row) for row in rows if row["data_type"] not in exact] == []
