-- migrate:up

create table saga_runs (
  id               uuid primary key,
  kind             text not null,
  flow_version     integer not null,
  status           text not null check (status in (
    'pending', 'running', 'compensating', 'completed', 'rolled_back', 'failed')),
  deployment_id    uuid,
  tenant_id        text,
  actor            text,                            -- in whose name its commands are sent
  steps            text[] not null,                 -- their names, in order
  current_step     integer not null,
  inputs           jsonb not null,
  context          jsonb not null,
  engine           jsonb not null,                  -- each step's status, attempts at the current one: see store.py
  due_at           timestamptz,                     -- when its timer rings
  cancel_requested boolean not null,
  error            jsonb,
  created_at       timestamptz not null,
  finished_at      timestamptz,
  version          bigint not null,
  check ((finished_at is not null) = (status in ('completed', 'rolled_back', 'failed')))
) with (fillfactor = 50);
create unique index saga_runs_one_per_deployment on saga_runs (deployment_id) where finished_at is null;
-- Only of what does not change with each step, so that a step's update touches no index.
create index saga_runs_unfinished on saga_runs (id) where finished_at is null;
create index saga_runs_failed on saga_runs (id) where status = 'failed';
create index saga_runs_deployment on saga_runs (deployment_id, id);
create index saga_runs_tenant on saga_runs (tenant_id, id);

create table saga_step_results (
  saga_id       uuid not null references saga_runs,
  step_idx      integer not null,
  name          text not null,
  status        text not null check (status in (
    'running', 'completed', 'skipped', 'failed', 'compensated', 'compensation_failed')),
  output        jsonb,
  error         jsonb,
  attempts      integer not null,
  undo_attempts integer not null,
  started_at    timestamptz not null,
  finished_at   timestamptz,                        -- when it was done, or failed
  undone_at     timestamptz,                        -- when it was undone, or that failed
  primary key (saga_id, step_idx)
) with (fillfactor = 50);

-- `saga`: the run as callers of the API get it.
create view shown as
  select r.id, r.kind, r.status, r.deployment_id, r.tenant_id, r.actor, r.steps as plan, r.inputs, r.context,
         r.cancel_requested, r.created_at, r.finished_at, r.version, json_build_object(
    'id', r.id, 'kind', r.kind, 'status', r.status, 'current_step', r.current_step, 'error', r.error,
    'steps', (
      select coalesce(json_agg(json_build_object(
        'index', s.step_idx, 'name', s.name, 'status', s.status, 'attempts', s.attempts, 'started_at', s.started_at,
        'finished_at', s.finished_at, 'error', s.error) order by s.step_idx), '[]')
      from saga_step_results s where s.saga_id = r.id)) as saga
  from saga_runs r;

create view v1_sagas with (security_barrier) as
  select id, kind, status, deployment_id, tenant_id, actor, plan, inputs, context, cancel_requested, created_at,
         finished_at, version, saga
  from shown where tenant_id = (select current_tenant());

create view v1_all_sagas as
  select id, kind, status, deployment_id, tenant_id, actor, plan, inputs, context, cancel_requested, created_at,
         finished_at, version, saga
  from shown;

create view v1_all_saga_steps as
  select saga_id, step_idx, name, status, output, error, attempts, undo_attempts, started_at, finished_at, undone_at
  from saga_step_results;

-- migrate:down
