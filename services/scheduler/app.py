"""The scheduler service: its clock."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from services.scheduler.handlers import send_what_is_due
from shared.service import Service

MIGRATIONS = Path(__file__).parent / "migrations"

service: Service[None] = Service("scheduler")

service.every(timedelta(seconds=1))(send_what_is_due)
