-- migrate:up

-- The newest come first. (`p_before`: the last of the page before.)
call define_read('sagas', 'p_status text, p_kind text, p_deployment uuid, p_before uuid, p_limit int', $read$
  with page as (
    select item, row_number() over (order by (item).id desc) as n
    from (
      select s as item from sagas.v1_sagas s
      where (p_status is null or s.status = p_status)
        and (p_kind is null or s.kind = p_kind)
        and (p_deployment is null or s.deployment_id = p_deployment)
        and (p_before is null or s.id < p_before)
      order by s.id desc limit p_limit + 1) found)
  select json_build_object(
    'sagas', coalesce(json_agg((item).saga order by n) filter (where n <= p_limit), '[]'),
    'count', count(*) filter (where n <= p_limit),
    'next', case when count(*) > p_limit then cursor_of((array_agg((item).id order by n))[p_limit]) end)
  from page
$read$);

call define_read('saga', 'p_id uuid', $read$
  select json_build_object(
    'saga', s.saga, 'plan', s.plan, 'inputs', s.inputs, 'context', s.context, 'deployment_id', s.deployment_id,
    'tenant_id', s.tenant_id, 'actor', s.actor, 'cancel_requested', s.cancel_requested, 'created_at', s.created_at,
    'finished_at', s.finished_at, 'version', s.version)
  from sagas.v1_sagas s where s.id = p_id
$read$);

-- What a saga about a deployment is to be told of it.
call define_read('deployment_to_change', 'p_id uuid', $read$
  select json_build_object(
    'tenant_id', d.tenant_id, 'slug', d.slug,
    'droplets', (
      select coalesce(json_agg(json_build_object('resource_id', r.id, 'droplet_id', r.provider_id::bigint) order by r.id),
        '[]')
      from inventory.v1_resources r
      where r.deployment_id = p_id and r.kind = 'droplet' and r.deleted_at is null))
  from deployments.v1_deployments d where d.id = p_id
$read$);

drop function tenant_deployment(text, uuid, int);
drop function operator_deployment(uuid, int);
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
    'saga', (
      select s.saga from sagas.v1_sagas s where s.deployment_id = p_id order by s.id desc limit 1))
  from deployments.v1_deployments d where d.id = p_id
$read$);

-- migrate:down
