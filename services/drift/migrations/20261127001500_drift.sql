-- migrate:up

-- What was seen of resources. `live`: their columns and attrs by name, a column before an attr. `canonical`: the same in
-- the one text in which values that count as equal are the same (see domain.py), without what is null.
create table resources (
  id            uuid primary key,
  kind          text not null,
  provider_id   text not null,
  name          text not null,
  tenant_id     text,
  deployment_id uuid,
  parent_kind   text,                               -- what it was taken of, or made by
  parent_provider_id text,
  live          jsonb not null,
  canonical     jsonb not null,
  size_slug     text,
  monthly_cents bigint,                             -- as the provider told with it; null where it did not
  is_made       boolean not null,                   -- by an operation of ours, or by a cluster
  first_seen_at timestamptz not null,
  deleted_at    timestamptz,
  version       bigint not null
) with (toast_tuple_target = 512);
create index resources_deployment on resources (deployment_id) where deployment_id is not null;
create index resources_provider_id on resources (provider_id, kind);
create index resources_nobodys on resources (kind, id) where deployment_id is null and deleted_at is null and not is_made;

-- What resources are to be. `canonical` and `absent`: the spec as in `resources`, and its fields that are to be null; all
-- are to exist. `said`: when each field was said last; what is older than that, or than `replaced_at`, is not heeded any
-- more. `seen_version`: older versions of the resource do not show what was done for the spec. `changed_xid`: the
-- transaction since which it, or the resource, is another than when they were compared; null while that is done.
create table cloud_provisioned (
  resource_id  uuid primary key,
  spec         jsonb not null,
  canonical    jsonb not null,
  absent       text[] not null,
  spec_version bigint not null,
  saga_id      uuid,
  actor        text,
  recorded_at  timestamptz not null,
  replaced_at  timestamptz,
  said         jsonb not null,
  seen_version bigint not null default 0,
  retired_at   timestamptz,
  changed_xid  xid8,
  check (retired_at is null or changed_xid is null)
) with (fillfactor = 80, toast_tuple_target = 512);
create index cloud_provisioned_changed on cloud_provisioned (resource_id) where changed_xid is not null;

-- Runs of sagas that change resources: those of a deployment, or those that they name.
create table runs (
  id            uuid primary key,
  deployment_id uuid,
  resource_ids  uuid[] not null,
  is_unfinished boolean not null,
  finished_at   timestamptz,
  version       bigint not null
);
create index runs_unfinished on runs (deployment_id) where is_unfinished;

-- The run that changes a resource just now; null where none does.
create function run_of(r resources) returns uuid stable language sql return (
  select id from runs where is_unfinished and (deployment_id = r.deployment_id or r.id = any(resource_ids)) limit 1);

-- How drift in a field is taken: by the rule for its kind, else by the one for all kinds.
create table drift_rules (
  kind     text,
  field    text not null,
  severity text not null check (severity in ('low', 'medium', 'high', 'critical')),
  ignore   boolean not null default false,
  reason   text,
  actor    text,
  set_at   timestamptz not null,
  unique nulls not distinct (field, kind)
);
insert into drift_rules (kind, field, severity, reason, set_at) values
  (null, 'exists', 'critical', 'What is gone serves nobody.', now()),
  (null, 'region', 'critical', 'It cannot be moved: this is another resource.', now()),
  (null, 'size_slug', 'high', 'It costs otherwise, and serves otherwise.', now()),
  (null, 'state', 'high', 'It serves nobody while it is off, and costs as much.', now()),
  (null, 'tags', 'low', null, now()),
  (null, 'name', 'low', null, now());

-- The provider's sizes. (A price may be below a cent.)
create table sizes (
  slug          text primary key,
  monthly_cents numeric not null,
  seen_at       timestamptz not null
);

-- Very many drifts of one kind and field within a short time. `drifts`: as it was counted and told last.
create table surges (
  id       uuid primary key default uuidv7(),
  kind     text not null,
  field    text not null,
  drifts   integer not null,
  specs    integer not null,
  example  jsonb not null,
  began_at timestamptz not null,
  ended_at timestamptz,
  version  bigint not null default 1
);
create unique index surges_open on surges (kind, field) where ended_at is null;

create table cloud_drift (
  id             uuid primary key default uuidv7(),
  resource_id    uuid not null references cloud_provisioned,
  kind           text not null,
  field          text not null,
  desired        jsonb,
  live           jsonb,
  status         text not null default 'open' check (status in ('open', 'accepted', 'reverted', 'stale')),
  surge_id       uuid references surges,
  detected_at    timestamptz not null,
  changed_at     timestamptz not null,
  closed_at      timestamptz,
  snoozed_until  timestamptz,
  is_reverting   boolean not null default false,
  revert_saga_id uuid,
  revert_error   jsonb,
  spec_version   bigint not null,
  version        bigint not null default 1,
  check ((closed_at is null) = (status = 'open'))
) with (fillfactor = 80);
create unique index cloud_drift_open on cloud_drift (resource_id, field) where status = 'open';
create index cloud_drift_inbox on cloud_drift (id) where status = 'open';
create index cloud_drift_resource on cloud_drift (resource_id, id);
create index cloud_drift_surge on cloud_drift (surge_id) where surge_id is not null;
create index cloud_drift_lately on cloud_drift (kind, field, detected_at) where status = 'open' and surge_id is null;
create index cloud_drift_saga on cloud_drift (revert_saga_id) where revert_saga_id is not null and status = 'open';
create index cloud_drift_snoozed on cloud_drift (snoozed_until) where snoozed_until is not null and status = 'open';
create index cloud_drift_old on cloud_drift (closed_at) where closed_at is not null;

-- What happened to drifts, in order.
create table cloud_drift_events (
  position bigint generated always as identity primary key,
  drift_id uuid not null references cloud_drift on delete cascade,
  what     text not null,
  detail   jsonb,
  actor    text,
  at       timestamptz not null
);
create index cloud_drift_events_drift on cloud_drift_events (drift_id, position);

-- When something was asked for last that is not to be asked for again at once; null once it was begun.
create table asked (
  what text primary key,
  at   timestamptz
);
insert into asked (what) values ('look'), ('sizes');

-- (As their owner: whoever reads the views has no grant on the tables that these read. What they name was looked up when
-- they were made, whatever the caller's path is.)
create function severity_of(drift_kind text, drift_field text) returns text stable security definer language sql return (
  select coalesce(
    (select severity from drift_rules where kind = drift_kind and field = drift_field),
    (select severity from drift_rules where kind is null and field = drift_field),
    'medium'));

create function is_ignored(drift_kind text, drift_field text) returns boolean stable language sql return (
  select coalesce(
    (select ignore from drift_rules where kind = drift_kind and field = drift_field),
    (select ignore from drift_rules where kind is null and field = drift_field),
    false));

-- What the live size costs more than that of the spec; a resource that is gone costs its spec's size less.
create function monthly_delta(field text, desired jsonb, live jsonb, spec jsonb) returns bigint
stable security definer language sql return
  case field
    when 'size_slug' then round(
      (select monthly_cents from sizes where slug = live #>> '{}')
      - (select monthly_cents from sizes where slug = desired #>> '{}'))
    when 'exists' then round(-(select monthly_cents from sizes where slug = spec ->> 'size_slug'))
  end;

-- Drifts as others get them.
create view shown as
  select d.id, d.resource_id, d.kind, r.provider_id, r.name, r.deployment_id, r.tenant_id, d.field, d.desired, d.live,
         d.status, severity_of(d.kind, d.field) as severity,
         monthly_delta(d.field, d.desired, d.live, p.spec) as monthly_delta_cents, d.surge_id, d.detected_at,
         d.changed_at, d.closed_at, d.snoozed_until, d.is_reverting, d.revert_saga_id, d.revert_error, d.spec_version,
         d.version
  from cloud_drift d join cloud_provisioned p on p.resource_id = d.resource_id join resources r on r.id = d.resource_id;

create view v1_all_drift as
  select id, resource_id, kind, provider_id, name, deployment_id, tenant_id, field, desired, live, status, severity,
         monthly_delta_cents, surge_id, detected_at, changed_at, closed_at, snoozed_until, is_reverting, revert_saga_id,
         revert_error, spec_version, version
  from shown;

create view v1_all_drift_events as
  select position, drift_id, what, detail, actor, at from cloud_drift_events;

create view v1_all_drift_specs as
  select p.resource_id, r.kind, r.provider_id, r.name, r.deployment_id, r.tenant_id, p.spec, p.spec_version, p.saga_id,
         p.actor, p.recorded_at, p.retired_at
  from cloud_provisioned p left join resources r on r.id = p.resource_id;

create view v1_all_drift_rules as
  select kind, field, severity, ignore, reason, actor, set_at from drift_rules;

create view v1_all_drift_surges as
  select s.id, s.kind, s.field, s.drifts, s.specs, s.example, s.began_at, s.ended_at, s.version,
         (select count(*) from cloud_drift d where d.surge_id = s.id and d.status = 'open') as open
  from surges s;

-- What exists at the provider and is nobody's: no deployment's, asked for by no spec, made by nothing of ours; nor taken of
-- what is somebody's, as snapshots and backups are.
create view v1_all_unmanaged as
  select r.id, r.kind, r.provider_id, r.name, r.tenant_id, r.size_slug, r.live ->> 'region' as region, r.first_seen_at,
         round(coalesce((select s.monthly_cents from sizes s where r.kind = 'droplet' and s.slug = r.size_slug),
           r.monthly_cents))::bigint as monthly_usd_cents
  from resources r
  where r.deployment_id is null and r.deleted_at is null and not r.is_made
    and not exists (select from cloud_provisioned p where p.resource_id = r.id and p.retired_at is null)
    and not exists (
      select from resources m left join cloud_provisioned p on p.resource_id = m.id and p.retired_at is null
      where m.provider_id = r.parent_provider_id and m.kind = r.parent_kind and m.deleted_at is null
        and (m.deployment_id is not null or m.is_made or p.resource_id is not null));

-- migrate:down
