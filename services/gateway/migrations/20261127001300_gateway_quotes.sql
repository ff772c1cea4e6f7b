-- migrate:up

-- What a deployment owes for a month, by default the newest that is quoted and has begun; `quote` is null without any. Explained: each line says how
-- its figure came about, and of which days. (The days of a kind that has a line for each of its prices are those of its
-- price.)
call define_read('quote', 'p_id uuid, p_period date, p_explain boolean', $read$
  select json_build_object(
    'quote', case when q.deployment_id is not null then json_build_object(
      'deployment_id', q.deployment_id, 'period', to_char(q.period, 'YYYY-MM'), 'currency', q.currency,
      'plan_code', q.plan_code, 'plan_version_id', q.plan_version_id, 'plan_version', q.plan_version,
      'total_cents', q.total_cents, 'quoted_at', q.quoted_at,
      'lines', (
        select json_agg(case when not p_explain then l.line - 'how'
          when l.line ->> 'type' <> 'usage' then l.line
          else l.line || jsonb_build_object('days', (
            select coalesce(jsonb_agg(jsonb_build_object(
              'day', u.day, 'used', trim_scale(u.used)::text, 'observations', u.observations) order by u.day), '[]')
            from billing.v1_quoted_usage u
            where u.deployment_id = p_id and u.resource_kind = l.line ->> 'resource_kind'
              and u.day >= q.period and u.day < q.period + interval '1 month'
              and (l.first or u.day at time zone 'UTC' >= (l.line ->> 'price_since')::timestamptz)
              and (l.next is null or u.day at time zone 'UTC' < l.next))) end
          order by l.n)
        from (
          select line, n, row_number() over w = 1 as first, lead((line ->> 'price_since')::timestamptz) over w as next
          from jsonb_array_elements(q.lines) with ordinality e(line, n)
          window w as (partition by line ->> 'type', line ->> 'resource_kind' order by n)) l),
      'limits', (
        select coalesce(json_agg(json_build_object(
          'resource_kind', r.resource_kind, 'limit', r.limit_reached, 'at', r.at, 'used', trim_scale(r.used)::text,
          'reached_at', r.reached_at)
          order by r.reached_at, r.resource_kind, array_position('{soft_80,soft_100,hard_cap}', r.limit_reached)), '[]')
        from billing.v1_limits_reached r where r.deployment_id = p_id and r.period = q.period)) end)
  from deployments.v1_deployments d
  left join lateral (
    select * from billing.v1_quotes q
    where q.deployment_id = d.id and case when p_period is null then q.period <= now() else q.period = p_period end
    order by q.period desc limit 1) q on true
  where d.id = p_id
$read$);

-- migrate:down
