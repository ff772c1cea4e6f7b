"""Times say their zone: those that are asked, and those that are answered."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from pydantic import ValidationError

from contracts.catalog import SetResourcePrice
from contracts.message import Command
from contracts.subscriptions import RollPeriods, Subscribe
from services.deployments import domain

OF_DEPLOYMENT: dict[str, Any] = {"deployment_id": str(uuid4()), "authority": "operator"}
PRICE: dict[str, Any] = {"resource_kind": "dns_zones", "unit_price_cents": "2.5", "currency": "AUD"}


@pytest.mark.parametrize(
    ("command", "name", "fields"),
    [
        (SetResourcePrice, "effective_from", PRICE),
        (Subscribe, "trial_ends_at", OF_DEPLOYMENT | {"plan_code": "studio"}),
        (RollPeriods, "until", {}),
    ],
)
def test_a_time_without_a_zone_is_not_understood(command: type[Command], name: str, fields: dict[str, Any]) -> None:
    for time in ("2026-05-01T00:00:00", datetime(2026, 5, 1)):  # noqa: DTZ001
        with pytest.raises(ValidationError) as raised:
            command.model_validate(fields | {name: time})
        assert [each["loc"] for each in raised.value.errors()] == [(name,)]
    read = command.model_validate(fields | {name: "2026-05-01T10:00:00+10:00"})
    assert getattr(read, name) == datetime(2026, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "time", [datetime(2026, 5, 1, tzinfo=UTC), datetime.fromisoformat("2026-05-01T10:00:00.000021+10:00")]
)
def test_a_time_is_written_as_messages_write_it(time: datetime) -> None:
    sent = RollPeriods(until=time.astimezone(UTC)).model_dump(mode="json")
    assert domain.written(time) == sent["until"]
    assert domain.written(time).endswith("Z")
