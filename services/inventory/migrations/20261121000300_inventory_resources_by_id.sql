-- migrate:up

-- The same rows in the order of their ids, for whoever reads page after page: `where id > last ... limit n`, without an
-- `order by` of its own. PostgreSQL plans a view with a barrier by itself, and tells it of an outer `limit` only where
-- no outer `order by` stands between; ordered from outside, every page read and sorted all of a tenant's rows.
-- `= any (array[...])` and `order by tenant_id` say nothing more than `=` does, but they leave one index with that order,
-- the tenant's; for `=` it may walk all ids there are until it has found enough of the tenant's.
create view v1_resources_by_id with (security_barrier) as
  select id, kind, provider, provider_id, name, region, state, size_slug, tags, attrs, project_id, tenant_id,
         deployment_id, first_seen_at, last_seen_at, stale_strike_count, deleted_at, version
  from cloud_resources where tenant_id = any (array[(select current_tenant())])
  order by tenant_id, id;

create view v1_all_resources_by_id as
  select id, kind, provider, provider_id, name, region, state, size_slug, tags, attrs, project_id, tenant_id,
         deployment_id, first_seen_at, last_seen_at, stale_strike_count, deleted_at, version
  from cloud_resources
  order by id;

-- migrate:down
