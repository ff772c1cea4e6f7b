-- migrate:up

-- A saga may have a deployment in hand in any state, not only while it is provisioned.
alter table cloud_deployments
  drop constraint cloud_deployments_check,
  add constraint cloud_deployments_provisioned_by check (state <> 'provisioning' or saga_id is not null),
  add column last_saga_id uuid;                     -- the saga that moved it last: it may ask for that again

-- migrate:down
