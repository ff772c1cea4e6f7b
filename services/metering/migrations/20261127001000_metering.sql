-- migrate:up

-- The nth of so many equal parts of an amount, to nine decimals; all parts together are the amount exactly, for each is
-- the difference of two cumulative shares, rounded half up.
create function share(amount numeric, nth int, parts int) returns numeric immutable parallel safe language sql
  return round(amount * nth / parts, 9) - round(amount * (nth - 1) / parts, 9);

-- Resources that usage is counted of, as far as metering is concerned.
create table resources (
  id          uuid primary key,
  kind        text not null,
  provider_id text not null,
  name        text not null,
  deleted_at  timestamptz,
  version     bigint not null
);

-- Whose a resource was, and how much of it there was: from `since` (included) until `until`, which is null where that
-- lasts. Those of a resource do not overlap; none tells of a time when it was gone, or nobody's.
create table segments (
  resource_id   uuid not null,
  since         timestamptz not null,
  until         timestamptz check (until > since),
  deployment_id uuid not null,
  resource_kind text not null,                     -- the billing kind, as in plan_items
  amount        numeric(24, 9) check (amount >= 0),  -- what accrues in an hour or in a month; null while nobody knows
  primary key (resource_id, since)
);
create index segments_unmeasured on segments (since) where amount is null;

create table deployments (
  id        uuid primary key,
  tenant_id text not null,
  slug      text not null,
  version   bigint not null
);

-- How finely a kind is observed from a day on, until the next one begins.
create table metering_config (
  resource_kind  text not null,
  effective_from date not null,
  granularity    text not null check (granularity in ('daily', 'hourly')),
  retention_days integer not null,
  actor          text,
  set_at         timestamptz not null,
  primary key (resource_kind, effective_from)
);

-- Days that were metered. `dirty`: what is known of them has changed since.
create table metered_days (
  day          date primary key,
  meterings    integer not null,
  metered_at   timestamptz not null,
  observations integer not null,
  unmeasured   integer not null,
  dirty        boolean not null default false
);
create index metered_days_dirty on metered_days (day) where dirty;

-- An observation: what a resource, or what was reported, used in a day or in an hour. The key begins with the period, so
-- that a day's rows come in the order of the index. (Sums have no largest: one report that is far too large must not keep
-- all others of its day from being counted.)
create table usage_records (
  period_start    timestamptz not null,
  deployment_id   uuid not null,
  resource_id     uuid,                            -- null where it was reported, and no resource shows it
  resource_kind   text not null,
  granularity     text not null check (granularity in ('daily', 'hourly')),
  qty             numeric not null check (qty >= 0),
  sub_attribution jsonb,
  recorded_at     timestamptz not null,
  unique nulls not distinct (period_start, deployment_id, resource_id, resource_kind, granularity)
);

-- What was observed before it was corrected.
create table superseded_usage_records (
  position        bigint generated always as identity primary key,
  period_start    timestamptz not null,
  deployment_id   uuid not null,
  resource_id     uuid,
  resource_kind   text not null,
  granularity     text not null,
  qty             numeric not null,
  sub_attribution jsonb,
  recorded_at     timestamptz not null,
  superseded_at   timestamptz not null
);
create index superseded_usage_records_by_period on superseded_usage_records (period_start);

-- A deployment's day, as it is told: the sum of its observations. `told`: the version that was told last. The primary key
-- finds a deployment's days of a month as well: PostgreSQL 18 skips from day to day in it.
create table usage_days (
  day           date not null,
  deployment_id uuid not null,
  resource_kind text not null,
  used          numeric not null,
  observations  integer not null,
  version       bigint not null,
  told          bigint not null default 0,
  primary key (day, deployment_id, resource_kind)
);
create index usage_days_untold on usage_days (day, deployment_id, resource_kind) where told < version;

-- What was reported, each report under its tenant's name for it: kept for good, so that none ever counts twice.
-- `counted`: what of it counts, after corrections; of a correction itself, nothing.
create table usage_reports (
  tenant_id     text not null,
  id            text not null,
  deployment_id uuid not null,
  resource_kind text not null,
  quantity      numeric(24, 9) not null check (quantity >= 0),
  occurred_at   timestamptz not null,
  corrects      text,
  counted       numeric(24, 9) not null check (counted >= 0),
  recorded_at   timestamptz not null,
  primary key (tenant_id, id)
);

-- Ids that came again with another content: nothing of that counts, and somebody has to look at it.
create table usage_conflicts (
  position      bigint generated always as identity primary key,
  tenant_id     text not null,
  id            text not null,
  reported      jsonb not null,
  actor         text,
  seen_at       timestamptz not null
);
create index usage_conflicts_by_age on usage_conflicts (seen_at);

-- A deployment's days are its tenant's. (Of one that nobody has told of yet, they are the operators' alone.)
create view v1_usage_days with (security_barrier) as
  select u.day, u.deployment_id, u.resource_kind, u.used, u.observations
  from usage_days u join deployments d on d.id = u.deployment_id
  where d.tenant_id = (select current_tenant());

create view v1_all_usage_days as
  select day, deployment_id, resource_kind, used, observations from usage_days;

create view v1_all_metering_config as
  select resource_kind, effective_from, granularity, retention_days, actor, set_at from metering_config;

create view v1_all_metered_days as
  select day, meterings, metered_at, observations, unmeasured, dirty from metered_days;

-- migrate:down
