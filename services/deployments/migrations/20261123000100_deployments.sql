-- migrate:up

create table plans (
  id         uuid primary key default uuidv7(),
  code       text not null unique,
  name       text not null,
  created_at timestamptz not null,
  version    bigint not null
);

create table plan_versions (
  id               uuid primary key default uuidv7(),
  plan_id          uuid not null references plans,
  number           integer not null check (number >= 1),
  status           text not null default 'draft' check (status in ('draft', 'active', 'retired')),
  base_price_cents bigint not null check (base_price_cents >= 0),
  currency         text not null check (currency ~ '^[A-Z]{3}$'),
  created_at       timestamptz not null,
  published_at     timestamptz,
  retired_at       timestamptz,
  unique (plan_id, number),
  check ((status = 'draft') = (published_at is null)),
  check ((status = 'retired') = (retired_at is not null))
);
create unique index plan_versions_active on plan_versions (plan_id) where status = 'active';

create table plan_items (
  plan_version_id     uuid not null references plan_versions,
  resource_kind       text not null,                -- a billing kind
  included_qty        bigint not null check (included_qty >= 0),
  overage_unit        bigint not null check (overage_unit >= 1),
  overage_price_cents bigint not null check (overage_price_cents >= 0),
  hard_cap_qty        bigint check (hard_cap_qty >= included_qty),
  primary key (plan_version_id, resource_kind)
);

-- Whoever subscribed did so to these terms: a published version keeps its price, its currency and its items.
create function keep_terms() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' then
    if exists (select from plan_versions v where v.id = new.plan_version_id and v.status = 'draft') then
      return new;
    end if;
  end if;
  if tg_table_name = 'plan_items' then
    raise exception 'the items of a plan version never change; publish another version' using errcode = 'check_violation';
  end if;
  if (new.plan_id, new.number, new.base_price_cents, new.currency)
     is distinct from (old.plan_id, old.number, old.base_price_cents, old.currency) then
    raise exception 'the terms of a plan version never change; publish another version' using errcode = 'check_violation';
  end if;
  return new;
end
$$;
create trigger keep_terms before update on plan_versions for each row execute function keep_terms();
create trigger keep_terms before insert or update or delete on plan_items for each row execute function keep_terms();

create table addons (
  id            uuid primary key default uuidv7(),
  code          text not null unique,
  name          text not null,
  resource_kind text not null,
  qty           bigint not null check (qty >= 1),
  price_cents   bigint not null check (price_cents >= 0),
  currency      text not null check (currency ~ '^[A-Z]{3}$'),
  created_at    timestamptz not null,
  version       bigint not null
);

-- A price holds until the next one of its kind begins, so an overlap cannot be written.
create table resource_prices (
  resource_kind    text not null,
  effective_from   timestamptz not null,
  unit_price_cents numeric not null check (unit_price_cents >= 0 and scale(unit_price_cents) <= 9),
  currency         text not null check (currency ~ '^[A-Z]{3}$'),
  actor            text,
  recorded_at      timestamptz not null,
  primary key (resource_kind, effective_from)
);

create table cloud_deployments (
  id                       uuid primary key default uuidv7(),
  tenant_id                text not null,
  slug                     text not null,
  display_name             text not null,
  region                   text,
  state                    text not null check (state in (
    'provisioning', 'trial', 'active', 'past_due', 'paused', 'suspended', 'cancelled', 'archived')),
  state_since              timestamptz not null,
  llm_mode                 text,
  template_code            text,
  template_version         text,
  billing_action_suspended boolean not null default false,
  saga_id                  uuid,                    -- the saga that provisions it: it alone may move it meanwhile
  created_at               timestamptz not null,
  version                  bigint not null,
  unique (tenant_id, slug),
  check ((state = 'provisioning') = (saga_id is not null))
) with (fillfactor = 80);
create index cloud_deployments_tenant on cloud_deployments (tenant_id, id);

-- Append-only. Creation has no `from_state`.
create table cloud_deployment_events (
  id            uuid primary key default uuidv7(),
  deployment_id uuid not null references cloud_deployments,
  tenant_id     text not null,
  from_state    text,
  to_state      text not null,
  reason        text,
  actor         text,
  notes         text,
  occurred_at   timestamptz not null,
  version       bigint not null                     -- the deployment's, after it
);
create index cloud_deployment_events_deployment on cloud_deployment_events (deployment_id, id);

create table subscriptions (
  id                   uuid primary key default uuidv7(),
  deployment_id        uuid not null unique references cloud_deployments,
  tenant_id            text not null,
  plan_version_id      uuid not null references plan_versions,
  status               text not null check (status in ('active', 'paused', 'cancelled')),
  current_period_start timestamptz not null,
  current_period_end   timestamptz not null,
  trial_ends_at        timestamptz,
  trial_ended          boolean not null default false, -- whether the end of the trial was told
  cancel_at            timestamptz,                 -- the end of the period with which it is to be cancelled
  cancel_asked_by      text,                        -- whose wish that is, and by what right
  cancel_authority     text,
  started_at           timestamptz not null,
  ended_at             timestamptz,
  next_step_at         timestamptz generated always as (  -- when time alone changes it next
    least(current_period_end, case when not trial_ended then trial_ends_at end)) stored,
  version              bigint not null,
  check (current_period_start < current_period_end),
  check (cancel_at = current_period_end),
  check ((status = 'cancelled') = (ended_at is not null)),
  check (status <> 'cancelled' or cancel_at is null)
) with (fillfactor = 80);
create index subscriptions_version on subscriptions (plan_version_id, id) where status <> 'cancelled';
create index subscriptions_next_step on subscriptions (next_step_at, id) where status <> 'cancelled';

-- Price and quantity are those of the catalog when it was attached: a later change there reprices nobody.
create table subscription_addons (
  id              uuid primary key default uuidv7(),
  subscription_id uuid not null references subscriptions,
  tenant_id       text not null,
  addon_id        uuid not null references addons,
  resource_kind   text not null,
  qty             bigint not null,
  price_cents     bigint not null,
  currency        text not null,
  attached_at     timestamptz not null,
  detached_at     timestamptz,
  check (detached_at >= attached_at)
);
create unique index subscription_addons_attached on subscription_addons (subscription_id, addon_id)
  where detached_at is null;
create index subscription_addons_subscription on subscription_addons (subscription_id, id);

-- Which version counts for which period. A period ends where the next begins; the last, with its subscription's.
create table subscription_periods (
  subscription_id uuid not null references subscriptions,
  period_start    timestamptz not null,
  plan_version_id uuid not null references plan_versions,
  primary key (subscription_id, period_start)
);

-- Append-only.
create table subscription_events (
  id              uuid primary key default uuidv7(),
  subscription_id uuid not null references subscriptions,
  tenant_id       text not null,
  event_type      text not null check (event_type in (
    'started', 'plan_changed', 'addon_attached', 'addon_detached', 'period_opened', 'trial_ended', 'paused', 'resumed',
    'cancellation_requested', 'cancellation_withdrawn', 'cancelled')),
  detail          jsonb not null,
  reason          text,
  actor           text,
  occurred_at     timestamptz not null,
  version         bigint not null
);
create index subscription_events_subscription on subscription_events (subscription_id, id);

-- Locks deployments, in the order of their ids, and gives each with its subscription. One round trip for what is two
-- statements, so that the second sees what was done by those for whom the first had to wait.
create function lock_deployments(ids uuid[])
returns table (deployment cloud_deployments, subscription subscriptions) language plpgsql as $$
begin
  perform from cloud_deployments d where d.id = any (ids) order by d.id for update;
  return query
    select d, s from cloud_deployments d left join subscriptions s on s.deployment_id = d.id where d.id = any (ids);
end
$$;

-- What is told of a deployment to whom: the tenant sees its own, `..._by_id` in the order of ids (see the inventory's
-- view of that kind for why there are two).
create view v1_deployments with (security_barrier) as
  select id, tenant_id, slug, display_name, region, state, state_since, llm_mode, template_code, billing_action_suspended
  from cloud_deployments where tenant_id = (select current_tenant());

create view v1_all_deployments as
  select id, tenant_id, slug, display_name, region, state, state_since, llm_mode, template_code, billing_action_suspended
  from cloud_deployments;

create view v1_deployments_by_id with (security_barrier) as
  select id, tenant_id, slug, display_name, region, state, state_since, llm_mode, template_code, billing_action_suspended
  from cloud_deployments where tenant_id = any (array[(select current_tenant())])
  order by tenant_id, id;

create view v1_all_deployments_by_id as
  select id, tenant_id, slug, display_name, region, state, state_since, llm_mode, template_code, billing_action_suspended
  from cloud_deployments order by id;

-- Whose a deployment is, to tell "not yours" from "there is none".
create view v1_deployment_owner as select id, tenant_id from cloud_deployments;

create view v1_deployment_events with (security_barrier) as
  select id, deployment_id, from_state, to_state, reason, actor, occurred_at
  from cloud_deployment_events where tenant_id = (select current_tenant());

create view v1_all_deployment_events as
  select id, deployment_id, from_state, to_state, reason, actor, occurred_at, notes, tenant_id
  from cloud_deployment_events;

-- (Left joins, because PostgreSQL leaves those out of whose columns nothing is asked.)
create view v1_subscriptions with (security_barrier) as
  select s.id, s.deployment_id, s.status, s.plan_version_id, s.current_period_start, s.current_period_end,
         s.trial_ends_at, s.cancel_at, s.started_at, s.ended_at, p.code as plan_code, p.name as plan_name, v.number,
         v.base_price_cents, v.currency
  from subscriptions s left join plan_versions v on v.id = s.plan_version_id left join plans p on p.id = v.plan_id
  where s.tenant_id = (select current_tenant());

create view v1_all_subscriptions as
  select s.id, s.deployment_id, s.status, s.plan_version_id, s.current_period_start, s.current_period_end,
         s.trial_ends_at, s.cancel_at, s.started_at, s.ended_at, p.code as plan_code, p.name as plan_name, v.number,
         v.base_price_cents, v.currency, s.tenant_id
  from subscriptions s left join plan_versions v on v.id = s.plan_version_id left join plans p on p.id = v.plan_id;

create view v1_subscription_addons with (security_barrier) as
  select a.id, a.subscription_id, a.addon_id, a.resource_kind, a.qty, a.price_cents, a.currency, a.attached_at,
         c.code, c.name
  from subscription_addons a left join addons c on c.id = a.addon_id
  where a.detached_at is null and a.tenant_id = (select current_tenant());

create view v1_all_subscription_addons as
  select a.id, a.subscription_id, a.addon_id, a.resource_kind, a.qty, a.price_cents, a.currency, a.attached_at,
         c.code, c.name
  from subscription_addons a left join addons c on c.id = a.addon_id
  where a.detached_at is null;

create view v1_subscription_events with (security_barrier) as
  select id, subscription_id, event_type, detail, reason, actor, occurred_at
  from subscription_events where tenant_id = (select current_tenant());

create view v1_all_subscription_events as
  select id, subscription_id, event_type, detail, reason, actor, occurred_at, tenant_id from subscription_events;

-- Each version's terms as JSON, for the views that are published.
create view terms as
  select v.id, v.plan_id, v.number, v.status, json_build_object(
    'id', v.id, 'number', v.number, 'status', v.status, 'base_price_cents', v.base_price_cents,
    'currency', v.currency, 'published_at', v.published_at, 'retired_at', v.retired_at,
    'items', (
      select coalesce(json_agg(json_build_object(
        'resource_kind', i.resource_kind, 'included_qty', i.included_qty, 'overage_unit', i.overage_unit,
        'overage_price_cents', i.overage_price_cents, 'hard_cap_qty', i.hard_cap_qty) order by i.resource_kind), '[]')
      from plan_items i where i.plan_version_id = v.id)) as terms
  from plan_versions v;

-- The catalog is every tenant's to read, as far as it is on sale.
create view v1_all_plans as
  select p.id, p.code, p.name, t.terms as active_version
  from plans p left join terms t on t.plan_id = p.id and t.status = 'active';

create view v1_plans with (security_barrier) as
  select p.id, p.code, p.name, t.terms as active_version
  from plans p join terms t on t.plan_id = p.id and t.status = 'active'
  where (select current_tenant()) is not null;

create view v1_all_plan_versions as
  select t.id, t.plan_id, t.number, t.terms,
         (select count(*) from subscriptions s where s.plan_version_id = t.id and s.status <> 'cancelled') as subscribers
  from terms t;

create view v1_all_addons as
  select id, code, name, resource_kind, qty, price_cents, currency from addons;

create view v1_addons with (security_barrier) as
  select * from v1_all_addons where (select current_tenant()) is not null;

create view v1_all_resource_prices as
  select resource_kind, unit_price_cents::text as unit_price_cents, currency, effective_from,
         lead(effective_from) over (partition by resource_kind order by effective_from) as effective_until,
         actor, recorded_at
  from resource_prices;

create view v1_resource_prices with (security_barrier) as
  select resource_kind, unit_price_cents, currency, effective_from, effective_until
  from v1_all_resource_prices where (select current_tenant()) is not null;

-- Who is still on a version that is no longer on sale.
create view v1_all_retired_subscribers as
  select s.id as subscription_id, s.deployment_id, s.tenant_id, d.slug, s.plan_version_id, p.code as plan_code, v.number,
         v.base_price_cents, v.currency, v.retired_at
  from subscriptions s
  join plan_versions v on v.id = s.plan_version_id and v.status = 'retired'
  join plans p on p.id = v.plan_id
  join cloud_deployments d on d.id = s.deployment_id
  where s.status <> 'cancelled';

-- migrate:down
