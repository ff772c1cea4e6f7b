-- migrate:up

-- How fresh what is known of each kind is. `complete_at`: when the last walk began that saw everything, also one whose
-- strikes were held back. Hourly syncs: two hours without one is too long.
create view v1_all_coverage as
select walked.kind,
  case when walked.kind = 'project' then (select count(*) from cloud_projects p where p.deleted_at is null)
       else (select count(*) from cloud_resources r where r.kind = walked.kind and r.deleted_at is null) end as resources,
  case when held.id is not null then 'held'
       when ended.status in ('failed', 'incomplete') then 'failing'
       when complete.started_at is null then 'never'
       when complete.started_at < now() - interval '2 hours' then 'stale'
       else 'fresh' end as status,
  complete.started_at as complete_at,
  ended.status as last_status, ended.started_at as last_started_at, ended.finished_at as last_finished_at, ended.doubts,
  held.id as held_sync_id
from (select distinct kind from syncs) as walked
left join lateral (
  select * from syncs s where s.kind = walked.kind and s.status in ('complete', 'held')
  order by s.started_at desc limit 1) as complete on true
left join lateral (
  select * from syncs s where s.kind = walked.kind and s.status not in ('running', 'superseded')
  order by s.started_at desc limit 1) as ended on true
left join held_syncs held on held.kind = walked.kind and held.status = 'open';

-- What nobody owns, and still costs: linked to no deployment, and of no use to anything that is there. A snapshot's
-- droplet or volume is gone only when a complete walk could have shown it.
create view v1_all_orphans as
select r.id, r.kind, r.provider_id, r.name, r.region, r.project_id, r.tenant_id, r.first_seen_at, r.last_seen_at,
  case r.kind when 'volume' then 'attached to no droplet'
              when 'reserved_ip' then 'assigned to no droplet'
              else 'its ' || r.parent_kind || ' is gone' end as reason,
  (r.attrs ->> 'monthly_usd_cents')::bigint as monthly_usd_cents
from cloud_resources r
where r.deleted_at is null and r.deployment_id is null
  and (r.kind = 'volume' and r.state = 'detached'
    or r.kind = 'reserved_ip' and r.state = 'unassigned'
    or r.kind = 'snapshot' and r.parent_kind is not null
      and not exists (
        select from cloud_resources p
        where p.provider_id = r.parent_provider_id and p.kind = r.parent_kind and p.provider = r.provider
          and p.deleted_at is null)
      and (
        exists (
          select from cloud_resources p
          where p.provider_id = r.parent_provider_id and p.kind = r.parent_kind and p.provider = r.provider)
        or exists (
          select from syncs s
          where s.kind = r.parent_kind and s.status in ('complete', 'held') and s.started_at > r.first_seen_at)));

-- migrate:down
