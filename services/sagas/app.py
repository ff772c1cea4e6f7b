"""The sagas service: its table of handlers."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from contracts.message import Reply
from contracts.sagas import CancelSaga, Echo, Fail, RetrySaga, StartSaga, TimerDue, Unecho
from services.sagas import handlers, upkeep
from shared.service import Service

MIGRATIONS = Path(__file__).parent / "migrations"

_TIMERS_EVERY = timedelta(milliseconds=250)

service: Service[None] = Service("sagas")

service.on_batch(StartSaga)(handlers.start_sagas)
service.on(CancelSaga)(handlers.cancel_saga)
service.on(RetrySaga)(handlers.retry_saga)

service.on_batch(Reply, TimerDue)(handlers.go_on)
service.every(_TIMERS_EVERY)(handlers.ring_timers)

service.on_batch(Echo)(handlers.echo)
service.on_batch(Unecho)(handlers.unecho)
service.on_batch(Fail)(handlers.fail)

service.republisher(upkeep.republish_runs)
