-- migrate:up

-- What a deployment used from a day on, until (and without) another, by billing kind: all of it, and day by day.
call define_read('usage', 'p_id uuid, p_from date, p_to date', $read$
  select json_build_object(
    'deployment_id', d.id, 'since', p_from, 'until', p_to,
    'usage', (
      select coalesce(json_object_agg(k.resource_kind, k.used order by k.resource_kind), '{}')
      from (
        select u.resource_kind, trim_scale(sum(u.used))::text as used
        from metering.v1_usage_days u
        where u.deployment_id = p_id and u.day >= p_from and u.day < p_to
        group by u.resource_kind) k),
    'days', (
      select coalesce(json_agg(json_build_object(
        'day', u.day, 'resource_kind', u.resource_kind, 'used', trim_scale(u.used)::text,
        'observations', u.observations) order by u.day, u.resource_kind), '[]')
      from metering.v1_usage_days u
      where u.deployment_id = p_id and u.day >= p_from and u.day < p_to))
  from deployments.v1_deployments d where d.id = p_id
$read$);

-- migrate:down
