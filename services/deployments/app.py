"""The deployments service: its table of handlers."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from contracts.catalog import (
    CreateAddon,
    CreatePlan,
    DraftPlanVersion,
    MigrateSubscriptions,
    PublishPlanVersion,
    SetResourcePrice,
)
from contracts.deployments import (
    CreateDeployment,
    HoldDeployment,
    ReleaseDeployment,
    TransitionDeployment,
    UpdateDeployment,
)
from contracts.message import Reply
from contracts.subscriptions import (
    AttachAddon,
    CancelSubscription,
    ChangePlanVersion,
    DetachAddon,
    RollPeriods,
    Subscribe,
    UncancelSubscription,
)
from services.deployments import catalog, handlers, periods, subscriptions, upkeep
from shared.service import Service

MIGRATIONS = Path(__file__).parent / "migrations"

# Their jobs ask nobody but our own database: a killed process is soon replaced.
LEASE = timedelta(seconds=30)

service: Service[None] = Service("deployments")

service.on(CreateDeployment)(handlers.create_deployment)
service.on_batch(TransitionDeployment)(handlers.transition_deployments)
service.on(UpdateDeployment)(handlers.update_deployment)
service.on(HoldDeployment)(handlers.hold_deployment)
service.on(ReleaseDeployment)(handlers.release_deployment)
service.on(Reply)(handlers.forget_unbuilt)

service.on(Subscribe)(subscriptions.subscribe)
service.on(AttachAddon)(subscriptions.attach_addon)
service.on(DetachAddon)(subscriptions.detach_addon)
service.on(ChangePlanVersion)(subscriptions.change_plan_version)
service.on(CancelSubscription)(subscriptions.cancel_subscription)
service.on(UncancelSubscription)(subscriptions.uncancel_subscription)
service.job(RollPeriods, lease=LEASE)(periods.roll_periods)

service.on(CreatePlan)(catalog.create_plan)
service.on(DraftPlanVersion)(catalog.draft_plan_version)
service.on(PublishPlanVersion)(catalog.publish_plan_version)
service.on(CreateAddon)(catalog.create_addon)
service.on(SetResourcePrice)(catalog.set_resource_price)
service.job(MigrateSubscriptions, lease=LEASE)(catalog.migrate_subscriptions)

service.republisher(upkeep.republish_plans)
service.republisher(upkeep.republish_addons)
service.republisher(upkeep.republish_resource_prices)
service.republisher(upkeep.republish_deployments)
service.republisher(upkeep.republish_subscriptions)
