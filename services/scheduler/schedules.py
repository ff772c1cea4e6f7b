"""What is sent when: adding a schedule is adding an entry to `SCHEDULES`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from croniter import croniter

from contracts.billing import DiscoverInvoices, PollBalance
from contracts.drift import DetectDrift
from contracts.inventory import SyncInventory
from contracts.message import Command
from contracts.metering import MeterDay
from contracts.provider import SweepOrphans
from contracts.subscriptions import RollPeriods


@dataclass(frozen=True)
class Schedule:
    """A command and its times, all in UTC.

    `command` makes it from its slot, the time for which it is. `catch_up` says what is sent after a time when nobody
    was there: `every` slot that was missed, one by one, or the `latest` alone. `expires`: with the next slot.
    """

    name: str
    cron: str
    command: Callable[[datetime], Command]
    catch_up: Literal["every", "latest"]
    expires: bool = False

    def after(self, time: datetime) -> datetime:
        """The first slot after a time."""
        return croniter(self.cron, time).get_next(datetime)

    def due(self, slot: datetime, now: datetime) -> datetime:
        """The slot to be served now, where `slot` is the first that has not been, and is past."""
        if self.catch_up == "every":
            return slot
        # `get_prev` leaves its starting point out, and this one may be a slot.
        return max(slot, croniter(self.cron, now + timedelta(microseconds=1)).get_prev(datetime))


SCHEDULES: Sequence[Schedule] = (
    Schedule("detect-drift", "20 * * * *", lambda _: DetectDrift(), catch_up="latest", expires=True),
    Schedule("discover-invoices", "23 2 * * *", lambda _: DiscoverInvoices(), catch_up="latest", expires=True),
    Schedule("meter-day", "10 1 * * *", lambda slot: MeterDay(day=slot.date() - timedelta(days=1)), catch_up="every"),
    Schedule("poll-balance", "7 * * * *", lambda _: PollBalance(), catch_up="latest", expires=True),
    Schedule("roll-periods", "5 0 * * *", lambda slot: RollPeriods(until=slot), catch_up="every"),
    Schedule("sweep-orphans", "40 3 * * *", lambda _: SweepOrphans(), catch_up="latest", expires=True),
    Schedule("sync-inventory", "15 * * * *", lambda _: SyncInventory(), catch_up="latest", expires=True),
)
