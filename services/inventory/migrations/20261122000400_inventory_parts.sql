-- migrate:up

-- When a resource was part of what: for so long it has that one's links. Nothing is part of what is gone.
create table part_times (
  resource_id       uuid not null references cloud_resources,
  whole_kind        text not null,
  whole_provider_id text not null,
  since             timestamptz not null,
  until             timestamptz,
  primary key (resource_id, since)
);
create unique index part_times_open on part_times (resource_id) where until is null;
create index part_times_whole on part_times (whole_provider_id, whole_kind);

insert into part_times (resource_id, whole_kind, whole_provider_id, since)
select r.id, r.parent_kind, r.parent_provider_id, r.first_seen_at
from cloud_resources r
left join cloud_resources p
  on p.provider_id = r.parent_provider_id and p.kind = r.parent_kind and p.provider = r.provider
where r.part and p.deleted_at is null;

-- As before, but a cluster that is gone has no parts any more.
create or replace view attributions as
select r.id,
  coalesce(m.project_id, p.project_id, r.project_id) as project_id,
  case when link.deployment_id is not null then link.deployment_id
       when r.part and p.deleted_at is null then p.deployment_id end as deployment_id,
  case when link.deployment_id is not null then link.tenant_id
       when r.part and p.id is not null and p.deleted_at is null then p.tenant_id
       else coalesce(own.tenant_id, tagged.tenant_id, p.tenant_id) end as tenant_id
from cloud_resources r
left join project_members m on m.provider_id = r.provider_id and m.kind = r.kind
left join cloud_resources p
  on p.provider_id = r.parent_provider_id and p.kind = r.parent_kind and p.provider = r.provider
left join cloud_projects own on own.id = coalesce(m.project_id, case when r.parent_kind is null then r.project_id end)
left join lateral (
  select l.deployment_id, l.tenant_id from resource_links l
  where l.resource_id = r.id order by l.effective_from desc limit 1) as link on true
cross join lateral (
  select case when count(*) = 1 then min(substr(tag, 8)) end as tenant_id
  from unnest(r.tags) as tag where tag like 'tenant:_%') as tagged;

-- As before, but without what it was part of, either: that may have been another tenant's.
create or replace view v1_resource_events with (security_barrier) as
  select id, resource_id, event_type, changes - '{tenant_id,project_id,deployment_id,parent}'::text[] as changes, reason,
         actor, tenant_id, version, occurred_at
  from cloud_resource_events where tenant_id = (select current_tenant());

-- migrate:down
