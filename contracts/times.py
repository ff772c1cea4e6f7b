"""Days and months, in UTC."""

from __future__ import annotations

from datetime import UTC, date, datetime, time


def midnight(day: date) -> datetime:
    """When a day begins."""
    return datetime.combine(day, time(), UTC)


def months_after(day: date, count: int) -> date:
    """The first day of the month so many months after a day's; before it, where the count is below zero."""
    months = day.year * 12 + day.month - 1 + count
    return date(months // 12, months % 12 + 1, 1)


def month_after(day: date) -> date:
    """The first day of the next month."""
    return months_after(day, 1)


def previous_month(now: datetime) -> datetime:
    """The beginning of the month before: as far back as a resource's state tells its past (see `Resource`)."""
    return midnight(months_after(now.date(), -1))
