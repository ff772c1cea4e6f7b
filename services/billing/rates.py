"""What currencies are worth, in operators' word."""

from __future__ import annotations

from contracts.quotes import FxRate, FxRateSet, SetFxRate
from services.billing import margin_store
from services.billing.margin_store import Row
from shared.db import Connection
from shared.outcome import Meta, Outcome


async def set_fx_rate(cmd: SetFxRate, conn: Connection, meta: Meta) -> Outcome:
    """Say what a currency is worth from a day on; what was said of that day before is kept."""
    before = await margin_store.find_fx_rate(conn, cmd)
    if before is not None and before["rate"] == cmd.rate:
        return Outcome(result={"fx_rate": state_of(before).model_dump(mode="json")})
    rate = state_of(await margin_store.insert_fx_rate(conn, cmd, meta))
    event = FxRateSet(fx_rate=rate, before=before["rate"] if before else None)
    return Outcome(result={"fx_rate": rate.model_dump(mode="json")}, events=[event])


def state_of(row: Row) -> FxRate:
    """A rate as others get it."""
    return FxRate.model_validate({name: row[name] for name in FxRate.model_fields})
