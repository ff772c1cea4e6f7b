-- migrate:up

create table cloud_projects (
  id            uuid primary key default uuidv7(),
  provider      text not null default 'digitalocean',
  provider_id   text not null,
  name          text not null,
  description   text not null,
  environment   text,
  is_default    boolean not null,
  tenant_id     text,                               -- this and `purpose`: what an operator said (ClassifyProject)
  purpose       text,
  first_seen_at timestamptz not null,
  last_seen_at  timestamptz not null,
  deleted_at    timestamptz,
  forgotten_at  timestamptz,                        -- when the bus was told to forget the project
  version       bigint not null,
  unique (provider, provider_id)
);
create index cloud_projects_deleted on cloud_projects (deleted_at) where deleted_at is not null and forgotten_at is null;

-- Which project a resource is in, as the provider's projects list it: known before the resource itself is seen.
create table project_members (
  kind        text not null,
  provider_id text not null,
  project_id  uuid not null references cloud_projects,
  primary key (provider_id, kind)
);

-- A sync that finds a resource unchanged writes only `last_seen_at`: `attrs` stay out of line (toast_tuple_target), the
-- new tuple stays on its page (fillfactor), and no index names a column that a sync writes. The unique key begins with the
-- column that tells rows apart: before the first ANALYZE, the planner takes a common first column for a rare one.
create table cloud_resources (
  id                 uuid primary key default uuidv7(),
  provider           text not null default 'digitalocean',
  kind               text not null,
  provider_id        text not null,
  name               text not null,
  region             text,
  state              text,
  size_slug          text,
  tags               text[] not null,
  attrs              jsonb not null,
  fingerprint        bytea not null,                -- of the provider's row, and of the code that reads it
  project_id         uuid references cloud_projects,
  deployment_id      uuid,                          -- of the newest row of resource_links, as is `link_tenant_id`
  link_tenant_id     text,
  tenant_id          text,                          -- `link_tenant_id`, else the project's
  first_seen_at      timestamptz not null,
  last_seen_at       timestamptz not null,
  stale_strike_count integer not null default 0,
  last_strike_at     timestamptz,
  vanish_approved    boolean not null default false, -- an operator said that its absence is no mistake
  deleted_at         timestamptz,
  forgotten_at       timestamptz,                   -- when the bus was told to forget the resource
  version            bigint not null,
  unique (provider_id, kind, provider)
) with (fillfactor = 70, toast_tuple_target = 256);
create index cloud_resources_tenant on cloud_resources (tenant_id, id);
create index cloud_resources_kind on cloud_resources (kind, id);
create index cloud_resources_project on cloud_resources (project_id, id);
create index cloud_resources_deployment on cloud_resources (deployment_id, id) where deployment_id is not null;
create index cloud_resources_tags on cloud_resources using gin (tags);
create index cloud_resources_struck on cloud_resources (kind, id) where stale_strike_count > 0 and deleted_at is null;
create index cloud_resources_deleted on cloud_resources (deleted_at)
  where deleted_at is not null and forgotten_at is null;

create table cloud_resource_events (
  id          uuid primary key default uuidv7(),
  resource_id uuid not null references cloud_resources,
  event_type  text not null check (event_type in (
    'discovered', 'updated', 'deleted', 'drift_detected', 'tagged', 'restored', 'linked', 'unlinked')),
  changes     jsonb not null,
  reason      text,
  actor       text,
  tenant_id   text,                                 -- the resource's, after the event
  version     bigint not null,
  occurred_at timestamptz not null
);
create index cloud_resource_events_resource on cloud_resource_events (resource_id, id);
create index cloud_resource_events_old on cloud_resource_events (occurred_at);

-- Who a resource belongs to, and since when. A row holds until the next one begins, so an overlap cannot be written.
create table resource_links (
  resource_id    uuid not null references cloud_resources,
  effective_from timestamptz not null,
  deployment_id  uuid,                              -- null: to nobody from here on
  tenant_id      text,
  actor          text,
  recorded_at    timestamptz not null,
  primary key (resource_id, effective_from)
);
create index resource_links_deployment on resource_links (deployment_id) where deployment_id is not null;

-- A row per walk of a kind; `kind` is `project` for the projects and what is in them.
create table syncs (
  id            uuid primary key default uuidv7(),
  kind          text not null,
  command_id    uuid not null,
  status        text not null default 'running'
                check (status in ('running', 'complete', 'incomplete', 'held', 'failed', 'superseded')),
  started_at    timestamptz not null,
  finished_at   timestamptz,
  counts        jsonb not null default '{}',
  doubts        jsonb not null default '[]'         -- why the walk is incomplete, or failed
);
create unique index syncs_running on syncs (kind) where status = 'running';
create index syncs_kind on syncs (kind, started_at desc);
create index syncs_old on syncs (started_at);

-- A complete walk that did not see an implausible share of its kind: nobody is struck until an operator has decided.
create table held_syncs (
  id           uuid primary key references syncs,
  kind         text not null,
  known        integer not null,                    -- how many the walk should have seen
  missing      integer not null,
  resource_ids uuid[] not null,                     -- those that would be struck
  status       text not null default 'open' check (status in ('open', 'approved', 'rejected', 'superseded')),
  held_at      timestamptz not null,
  decided_at   timestamptz,
  decided_by   text
);
create unique index held_syncs_open on held_syncs (kind) where status = 'open';

create view v1_projects with (security_barrier) as
  select id, provider, provider_id, name, description, environment, is_default, tenant_id, purpose,
         first_seen_at, last_seen_at, deleted_at, version
  from cloud_projects where tenant_id = (select current_tenant());

create view v1_all_projects as
  select id, provider, provider_id, name, description, environment, is_default, tenant_id, purpose,
         first_seen_at, last_seen_at, deleted_at, version
  from cloud_projects;

create view v1_resources with (security_barrier) as
  select id, kind, provider, provider_id, name, region, state, size_slug, tags, attrs, project_id, tenant_id,
         deployment_id, first_seen_at, last_seen_at, stale_strike_count, deleted_at, version
  from cloud_resources where tenant_id = (select current_tenant());

create view v1_all_resources as
  select id, kind, provider, provider_id, name, region, state, size_slug, tags, attrs, project_id, tenant_id,
         deployment_id, first_seen_at, last_seen_at, stale_strike_count, deleted_at, version
  from cloud_resources;

-- A tenant sees what happened while the resource was its own, and nothing of whose it was before.
create view v1_resource_events with (security_barrier) as
  select id, resource_id, event_type, changes - '{tenant_id,project_id,deployment_id}'::text[] as changes, reason, actor,
         tenant_id, version, occurred_at
  from cloud_resource_events where tenant_id = (select current_tenant());

create view v1_all_resource_events as
  select id, resource_id, event_type, changes, reason, actor, tenant_id, version, occurred_at
  from cloud_resource_events;

create view v1_all_resource_links as
  select resource_id, deployment_id, tenant_id, effective_from,
         lead(effective_from) over (partition by resource_id order by effective_from) as effective_until,
         actor, recorded_at
  from resource_links;

create view v1_all_syncs as
  select id, kind, command_id, status, started_at, finished_at, counts, doubts from syncs;

create view v1_all_held_syncs as
  select id, kind, known, missing, resource_ids, status, held_at, decided_at, decided_by from held_syncs;

-- migrate:down
