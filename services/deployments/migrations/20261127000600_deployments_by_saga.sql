-- migrate:up

create index cloud_deployments_saga on cloud_deployments (saga_id) where saga_id is not null;

-- migrate:down
