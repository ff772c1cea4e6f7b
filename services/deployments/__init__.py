"""What tenants run, on which terms, and what can be bought.

Owns        plans, plan_versions, plan_items, addons, resource_prices; cloud_deployments, cloud_deployment_events;
            subscriptions, subscription_addons, subscription_periods, subscription_events
Accepts     CreateDeployment, TransitionDeployment, UpdateDeployment, HoldDeployment, ReleaseDeployment; Subscribe,
            AttachAddon, DetachAddon, ChangePlanVersion, CancelSubscription, UncancelSubscription, RollPeriods;
            CreatePlan, DraftPlanVersion, PublishPlanVersion, CreateAddon, SetResourcePrice, MigrateSubscriptions
Announces   the state of deployments, subscriptions, plans, addons and resource prices, at every change
Invariants  a deployment goes only where the map in `domain.py` leads, and each move leaves one event; while a saga has
            it in hand, only that saga moves it, and time: out of its hand with the end of a subscription,
            and in it with that of a trial; a plan has at most one active version, and a version's terms never change;
            a deployment has at most one subscription, whose periods follow one another without gap or overlap; what
            was attached keeps its price
Does not decide what was used, what that costs, or whether somebody has paid

Beside the usual files: `handlers.py` answers what is asked of deployments, `subscriptions.py` of their subscriptions,
`catalog.py` of plans and prices. A deployment changes its state in two ways: by somebody's wish in `lifecycle.py`, and
by time, which changes subscriptions, in `periods.py`. `history.py` writes and tells what happened to subscriptions.
`seed.py` is the catalog to begin with, `upkeep.py` tells everything again, `drawing.py` draws the map of states. Beside
`store.py` (deployments), the statements about subscriptions stand in `subscription_store.py`, those about the catalog
in `catalog_store.py`.
"""
