"""The billing service: its table of handlers."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from contracts.billing import PollBalance
from services.billing import handlers, upkeep
from services.billing.provider import access
from shared.digitalocean import DigitalOcean
from shared.service import Service

MIGRATIONS = Path(__file__).parent / "migrations"

# Nothing is written at the provider: whoever takes a job over asks again.
LEASE = timedelta(seconds=60)

service: Service[DigitalOcean] = Service("billing", resources=access)

service.job(PollBalance, lease=LEASE)(handlers.poll_balance)

service.every(timedelta(minutes=10))(upkeep.drop_old_snapshots)
service.republisher(upkeep.republish_balances)
