-- migrate:up

call define_read('deployments', 'p_state text, p_after uuid, p_limit int', $read$
  with page as materialized (
    select array(
      select d from deployments.v1_deployments_by_id d
      where d.id > case when p_after is null then '00000000-0000-0000-0000-000000000000' else p_after end
        and case when p_state is null or d.state = p_state then true end
      limit p_limit + 1) as items)
  select json_build_object(
    'deployments', items[:p_limit],
    'count', least(cardinality(items), p_limit),
    'next', case when cardinality(items) > p_limit then cursor_of((items[p_limit]).id) end)
  from page
$read$);

call define_read('deployment', 'p_id uuid, p_events int', $read$
  select json_build_object(
    'deployment', d,
    'subscription', (
      select json_build_object(
        'id', s.id, 'status', s.status, 'plan_version_id', s.plan_version_id,
        'current_period_start', s.current_period_start, 'current_period_end', s.current_period_end,
        'trial_ends_at', s.trial_ends_at,
        'addons', (
          select coalesce(json_agg(json_build_object(
            'addon_id', a.addon_id, 'resource_kind', a.resource_kind, 'qty', a.qty, 'price_cents', a.price_cents)
            order by a.id), '[]')
          from deployments.v1_subscription_addons a where a.subscription_id = s.id))
      from deployments.v1_subscriptions s where s.deployment_id = p_id),
    'events', (
      select coalesce(json_agg(json_build_object(
        'from_state', e.from_state, 'to_state', e.to_state, 'reason', e.reason, 'actor', e.actor,
        'occurred_at', e.occurred_at) order by e.id desc), '[]')
      from (
        select * from deployments.v1_deployment_events e where e.deployment_id = p_id
        order by e.id desc limit p_events) e),
    'saga', null)
  from deployments.v1_deployments d where d.id = p_id
$read$);

call define_read('subscription', 'p_deployment_id uuid, p_events int', $read$
  select json_build_object(
    'subscription', s,
    'addons', (
      select coalesce(json_agg(a order by a.id), '[]')
      from deployments.v1_subscription_addons a where a.subscription_id = s.id),
    'events', (
      select coalesce(json_agg(e order by e.id desc), '[]')
      from (
        select * from deployments.v1_subscription_events e where e.subscription_id = s.id
        order by e.id desc limit p_events) e))
  from deployments.v1_subscriptions s where s.deployment_id = p_deployment_id
$read$);

-- The catalog is short, so it has no pages. (`p_any`: a read has at least one argument.)
call define_read('plans', 'p_any boolean', $read$
  select json_build_object(
    'plans', coalesce(
      json_agg(p order by (p.active_version ->> 'base_price_cents')::bigint nulls last, p.code), '[]'),
    'count', count(*))
  from deployments.v1_plans p
$read$);

call define_read('addons', 'p_any boolean', $read$
  select json_build_object('addons', coalesce(json_agg(a order by a.code), '[]'), 'count', count(*))
  from deployments.v1_addons a
$read$);

call define_read('resource_prices', 'p_at timestamptz', $read$
  select json_build_object('resource_prices', coalesce(json_agg(p order by p.resource_kind), '[]'), 'count', count(*))
  from deployments.v1_resource_prices p
  where p.effective_from <= p_at and (p.effective_until is null or p.effective_until > p_at)
$read$);

-- migrate:down
