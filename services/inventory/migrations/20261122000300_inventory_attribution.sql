-- migrate:up

-- What goes with a parent is settled where the parent changes: nobody reads this any more.
drop index cloud_resources_children;

-- Whose a resource is, and why: the only place that says so. Its own link's deployment gives the tenant; else, what a
-- cluster made is its cluster's; else its project's tenant; else what its only tag `tenant:<id>` says; else its parent's.
create or replace view attributions as
select r.id,
  coalesce(m.project_id, p.project_id, r.project_id) as project_id,
  case when link.deployment_id is not null then link.deployment_id
       when r.part then p.deployment_id end as deployment_id,
  case when link.deployment_id is not null then link.tenant_id
       when r.part and p.id is not null then p.tenant_id
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

-- What made something that serves these droplets (their provider's ids, as JSON): the parent of all of them, which they
-- are parts of. Nothing where one is not known, or not a part, or another's; or where there are none.
create function maker_of(droplet_ids jsonb) returns table (kind text, provider_id text) stable language sql as $$
  select min(w.parent_kind), min(w.parent_provider_id)
  from jsonb_array_elements_text(droplet_ids) as served(droplet_id)
  left join cloud_resources w
    on w.provider_id = served.droplet_id and w.kind = 'droplet' and w.provider = 'digitalocean' and w.part
  having count(*) = count(w.id) and count(distinct w.parent_provider_id) = 1
$$;

-- Whether one of these droplets is known not to be a part of this.
create function serves_another(droplet_ids jsonb, whole text) returns boolean stable language sql as $$
  select exists (
    select
    from jsonb_array_elements_text(droplet_ids) as served(droplet_id)
    join cloud_resources w on w.provider_id = served.droplet_id and w.kind = 'droplet' and w.provider = 'digitalocean'
    where not (w.part and w.parent_provider_id = whole))
$$;

-- What nobody owns, and still costs: linked to no deployment, attached or assigned to nothing, or taken of what is gone.
-- A volume of a cluster that is there is the cluster's, also while none of its pods runs. A snapshot's droplet or volume
-- is gone only when a complete walk could have shown it.
create or replace view v1_all_orphans as
select r.id, r.kind, r.provider_id, r.name, r.region, r.project_id, r.tenant_id, r.first_seen_at, r.last_seen_at,
  case r.kind when 'volume' then 'attached to no droplet'
              when 'reserved_ip' then 'assigned to no droplet'
              else 'its ' || r.parent_kind || ' is gone' end as reason,
  (r.attrs ->> 'monthly_usd_cents')::bigint as monthly_usd_cents
from cloud_resources r
left join cloud_resources p
  on p.provider_id = r.parent_provider_id and p.kind = r.parent_kind and p.provider = r.provider
where r.deleted_at is null and r.deployment_id is null
  and (r.kind = 'volume' and r.state = 'detached' and (not r.part or p.id is null or p.deleted_at is not null)
    or r.kind = 'reserved_ip' and r.state = 'unassigned'
    or r.kind = 'snapshot' and r.parent_kind is not null
      and (p.deleted_at is not null
        or p.id is null and exists (
          select from syncs s
          where s.kind = r.parent_kind and s.status in ('complete', 'held') and s.started_at > r.first_seen_at)));

-- migrate:down
