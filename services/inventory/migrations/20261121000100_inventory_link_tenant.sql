-- migrate:up

-- A linked resource's `tenant_id` is its link's and no other's: there was nothing to remember beside it.
alter table cloud_resources drop column link_tenant_id;

-- migrate:down
