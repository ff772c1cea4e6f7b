-- migrate:up

-- A page of resources costs what is on it, however many rows the tenant has. The view brings the order (it says why none
-- is asked for here); `id` is bounded from below also where no page came before; and all filters are one `case`, because
-- the planner guesses that each optional one leaves few rows, and would rather read and sort everything.
drop function tenant_resources(text, text, text, text, uuid, text, text, uuid, int);
drop function operator_resources(text, text, text, uuid, text, text, uuid, int);

call define_read('resources',
  'p_kind text, p_region text, p_state text, p_deployment uuid, p_tag text, p_q text, p_after uuid, p_limit int', $read$
  with page as materialized (
    select array(
      select r from inventory.v1_resources_by_id r
      where r.id > case when p_after is null then '00000000-0000-0000-0000-000000000000' else p_after end
        and case when
              (p_kind is null or r.kind = p_kind)
              and (p_region is null or r.region = p_region)
              and case when p_state = 'deleted' then r.deleted_at is not null
                       else r.deleted_at is null and (p_state is null or r.state = p_state) end
              and (p_deployment is null or r.deployment_id = p_deployment)
              and (p_tag is null or p_tag = any (r.tags))
              and (p_q is null or position(lower(p_q) in lower(r.name)) > 0 or r.provider_id = p_q)
            then true end
      limit p_limit + 1) as items)
  select json_build_object(
    'resources', items[:p_limit],
    'count', least(cardinality(items), p_limit),
    'next', case when cardinality(items) > p_limit then cursor_of((items[p_limit]).id) end)
  from page
$read$);

-- migrate:down
