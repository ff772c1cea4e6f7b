-- migrate:up

-- The ledger: a row for every write that was ever asked for, by the id that names its effect.
create table operations (
  id            uuid primary key,
  kind          text not null,                      -- the command's name; `unknown` where its undoing came first
  status        text not null check (status in ('pending', 'sent', 'done', 'refused', 'cancelled')),
  deployment_id uuid,
  tenant_id     text,
  target        text,                               -- what it is done to, once known
  request       jsonb not null,                     -- without its secrets
  result        jsonb,
  error         text,                               -- why it is refused, or will be once all is as it was before
  detail        jsonb,
  undone        boolean not null default false,
  before        jsonb,                              -- its target before its first write; never overwritten
  step          jsonb,                              -- the write that was begun last, until its outcome is known
  known         jsonb not null default '{}',        -- what answers to its writes have told
  sent_at       timestamptz,
  unsure_until  timestamptz,                        -- until then what was sent last may come to light
  held_until    timestamptz,                        -- until then other operations leave its target alone
  created_at    timestamptz not null,
  updated_at    timestamptz not null,
  version       bigint not null,                    -- moves with an event and never without
  check ((status = 'refused') <= (error is not null)),
  check ((status = 'done') <= (result is not null))
);
create index operations_target on operations (target, status);
create index operations_over on operations (updated_at) where status in ('done', 'refused', 'cancelled');

create view v1_all_operations as
  select id, kind, status, deployment_id, tenant_id, target, request, result, error, detail, undone, before, step,
         sent_at, created_at, updated_at, version
  from operations;

-- migrate:down
