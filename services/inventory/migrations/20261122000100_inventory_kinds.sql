-- migrate:up

-- What a resource was taken of, or made by: by the provider's id, for it may be gone, or not be known yet.
alter table cloud_resources
  add column parent_kind        text,
  add column parent_provider_id text,
  add column part               boolean not null default false, -- its parent made it: attributed with it, never by itself
  add check ((parent_kind is null) = (parent_provider_id is null) and (parent_kind is not null or not part));
create index cloud_resources_parent on cloud_resources (parent_provider_id, parent_kind) where parent_kind is not null;
create index cloud_resources_children on cloud_resources (id) where parent_kind is not null;

-- What was found when a bucket's objects were listed last. A failed attempt leaves what the one before found.
create table bucket_measurements (
  bucket      text primary key,
  region      text,
  size_bytes  bigint,
  objects     bigint,
  measured_at timestamptz,                          -- when the listing that found so much began
  tried_at    timestamptz not null,
  error       text
);

-- Whose a resource is, and why: the only place that says so. Its link's deployment gives the tenant; else, what a cluster
-- made is its cluster's; else its project's tenant; else what its only tag `tenant:<id>` says; else its parent's.
create view attributions as
select r.id,
  coalesce(m.project_id, p.project_id, r.project_id) as project_id,
  case when r.part then p.deployment_id else r.deployment_id end as deployment_id,
  case when r.part and p.id is not null then p.tenant_id
       when r.deployment_id is not null and not r.part then r.tenant_id
       else coalesce(own.tenant_id, tagged.tenant_id, p.tenant_id) end as tenant_id
from cloud_resources r
left join project_members m on m.provider_id = r.provider_id and m.kind = r.kind
left join cloud_resources p
  on p.provider_id = r.parent_provider_id and p.kind = r.parent_kind and p.provider = r.provider
left join cloud_projects own on own.id = coalesce(m.project_id, case when r.parent_kind is null then r.project_id end)
cross join lateral (
  select case when count(*) = 1 then min(substr(tag, 8)) end as tenant_id
  from unnest(r.tags) as tag where tag like 'tenant:_%') as tagged;

create or replace view v1_resources with (security_barrier) as
  select id, kind, provider, provider_id, name, region, state, size_slug, tags, attrs, project_id, tenant_id,
         deployment_id, first_seen_at, last_seen_at, stale_strike_count, deleted_at, version,
         case when parent_kind is not null then json_build_object('kind', parent_kind, 'provider_id', parent_provider_id)
         end as parent
  from cloud_resources where tenant_id = (select current_tenant());

create or replace view v1_all_resources as
  select id, kind, provider, provider_id, name, region, state, size_slug, tags, attrs, project_id, tenant_id,
         deployment_id, first_seen_at, last_seen_at, stale_strike_count, deleted_at, version,
         case when parent_kind is not null then json_build_object('kind', parent_kind, 'provider_id', parent_provider_id)
         end as parent
  from cloud_resources;

create or replace view v1_resources_by_id with (security_barrier) as
  select id, kind, provider, provider_id, name, region, state, size_slug, tags, attrs, project_id, tenant_id,
         deployment_id, first_seen_at, last_seen_at, stale_strike_count, deleted_at, version,
         case when parent_kind is not null then json_build_object('kind', parent_kind, 'provider_id', parent_provider_id)
         end as parent
  from cloud_resources where tenant_id = any (array[(select current_tenant())])
  order by tenant_id, id;

create or replace view v1_all_resources_by_id as
  select id, kind, provider, provider_id, name, region, state, size_slug, tags, attrs, project_id, tenant_id,
         deployment_id, first_seen_at, last_seen_at, stale_strike_count, deleted_at, version,
         case when parent_kind is not null then json_build_object('kind', parent_kind, 'provider_id', parent_provider_id)
         end as parent
  from cloud_resources
  order by id;

-- migrate:down
