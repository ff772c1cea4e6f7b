"""The sagas service: its table of handlers."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from pathlib import Path

from contracts.message import Reply
from contracts.sagas import CancelSaga, Echo, Fail, RetrySaga, StartSaga, TimerDue, Unecho, WriteOffSaga
from services.sagas import handlers, upkeep
from services.sagas.flows import FLOWS, Flows
from services.sagas.memory import Memory
from shared.service import Service

MIGRATIONS = Path(__file__).parent / "migrations"

_TIMERS_EVERY = timedelta(milliseconds=250)


def service_of(flows: Flows) -> Service[None]:
    """The service, with these flows."""
    service: Service[None] = Service("sagas")
    memory = Memory()

    service.on_batch(StartSaga)(partial(handlers.start_sagas, flows, memory))
    service.on(CancelSaga)(partial(handlers.cancel_saga, flows))
    service.on(RetrySaga)(partial(handlers.retry_saga, flows))
    service.on(WriteOffSaga)(partial(handlers.write_off_saga, flows))

    service.on_batch(Reply, TimerDue)(partial(handlers.go_on, flows, memory))
    service.every(_TIMERS_EVERY)(handlers.ring_timers)

    service.on_batch(Echo)(handlers.echo)
    service.on_batch(Unecho)(handlers.unecho)
    service.on_batch(Fail)(handlers.fail)

    service.republisher(upkeep.republish_runs)
    return service


service = service_of(FLOWS)
