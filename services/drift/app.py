"""The drift service: its table of handlers."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from contracts.drift import (
    AcceptDrift,
    AcceptSurge,
    DetectDrift,
    LookAtChanges,
    RecordSpec,
    RefreshSizes,
    RemoveRule,
    RetireSpec,
    RevertDrift,
    SetRule,
    SnoozeDrift,
)
from contracts.inventory import ResourceEvent
from contracts.message import Reply
from contracts.sagas import SagaEvent
from services.drift import detection, handlers, metrics, outside, specs, upkeep, watching
from services.drift.outside import Outside
from shared.patience import leased
from shared.service import Service

MIGRATIONS = Path(__file__).parent / "migrations"

# What asks nobody but our own servers: a killed process is soon replaced.
LEASE = timedelta(seconds=10)
# Longer than the longest call to the provider.
READING = timedelta(seconds=75)

service: Service[Outside] = Service("drift", resources=outside.access, leased=leased)

service.job(LookAtChanges, lease=LEASE)(detection.look_at_changes)
service.job(DetectDrift, lease=LEASE)(detection.detect_drift)
service.job(AcceptSurge, lease=LEASE)(handlers.accept_surge)
service.job(RefreshSizes, lease=READING)(outside.refresh_sizes)

service.on(RecordSpec)(specs.record_spec)
service.on(RetireSpec)(specs.retire_spec)
service.on(AcceptDrift)(handlers.accept_drift)
service.on(RevertDrift)(handlers.revert_drift)
service.on(SnoozeDrift)(handlers.snooze_drift)
service.on(SetRule)(handlers.set_rule)
service.on(RemoveRule)(handlers.remove_rule)

service.on_batch(ResourceEvent)(watching.on_resource)
service.on_batch(SagaEvent)(watching.on_run)
service.on(Reply)(watching.on_reply)

service.every(timedelta(milliseconds=200))(upkeep.look)
service.every(timedelta(seconds=5))(upkeep.recount_surges)
service.every(timedelta(seconds=10))(upkeep.wake)
service.every(timedelta(minutes=1))(upkeep.want_sizes)
service.every(timedelta(minutes=1))(metrics.tell_open)
service.every(timedelta(minutes=10))(upkeep.forget_what_is_long_over)
service.republisher(specs.republish_specs)
service.republisher(upkeep.republish_surges)
service.republisher(upkeep.republish_drifts)
