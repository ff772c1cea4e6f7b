-- migrate:up

-- What the runtime keeps in every service's schema. `arcadia migrate` applies it with that schema as search_path.

create table inbox (
  id             uuid primary key,                  -- the message's id: what was claimed once is never handled again
  type           text not null,
  tenant_id      text,
  correlation_id uuid,
  reply_to       text,
  status         text not null default 'pending' check (status in ('pending', 'ok', 'refused', 'failed')),
  result         jsonb,
  code           text,
  detail         jsonb,
  received_at    timestamptz not null default now(),
  decided_at     timestamptz,
  expires_at     timestamptz                        -- null: kept for good, as the answers to idempotency keys are
);
create index inbox_expired on inbox (expires_at) where expires_at is not null;

-- Column names are those of Debezium's outbox event router, so that it can take the relay's place.
create table outbox (
  position      bigint generated always as identity primary key,
  id            uuid not null,
  aggregatetype text not null,                      -- the topic
  aggregateid   text not null,                      -- the key
  type          text not null,
  payload       bytea,                              -- the whole envelope; null: a tombstone
  created_at    timestamptz not null default now()
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

create table relay_lease (
  only_row   boolean primary key default true check (only_row),
  holder     uuid not null,
  expires_at timestamptz not null
);

create table jobs (
  id            uuid primary key,                   -- the command's id
  position      bigint generated always as identity,
  name          text not null,
  key           text not null,                      -- jobs of one name and key run one at a time, in order
  envelope      bytea not null,
  topic         text not null,                      -- with partition and offset: where the command came from
  partition     integer not null,
  record_offset bigint not null,
  status        text not null default 'queued' check (status in ('queued', 'running', 'done', 'refused', 'failed')),
  attempts      integer not null default 0,         -- runs that ended in an error of ours
  put_offs      integer not null default 0,         -- runs that ended because the outside was away
  run_at        timestamptz not null default now(),
  holder        uuid,
  leased_until  timestamptz,
  progress      jsonb,
  error         text,
  created_at    timestamptz not null default now(),
  started_at    timestamptz,
  finished_at   timestamptz
) with (fillfactor = 80);
create index jobs_unfinished on jobs (name, key, position) where status in ('queued', 'running');
create unique index jobs_running on jobs (name, key) where status = 'running';
create index jobs_finished on jobs (finished_at) where finished_at is not null;

-- `held`: to be tried again, with everything of the same key behind it; `dead`: waits for an operator.
create table dead_letters (
  id              uuid primary key,                 -- derived from origin and content: one row however often it comes
  status          text not null check (status in ('held', 'dead', 'replayed', 'discarded')),
  position        bigint generated always as identity,
  topic           text not null,
  partition       integer not null,
  record_offset   bigint not null,
  key             text not null,
  raw             bytea not null,
  message_id      uuid,
  type            text,
  tenant_id       text,
  reason          text,
  detail          text,
  attempts        integer not null default 0,
  next_attempt_at timestamptz not null default now(),
  received_at     timestamptz not null default now(),
  given_up_at     timestamptz,
  decided_at      timestamptz,
  decided_by      text
);
create index dead_letters_held on dead_letters (topic, key, position) where status = 'held';
create index dead_letters_dead on dead_letters (given_up_at) where status = 'dead';

-- Who runs this service now, for `arcadia status`.
create table processes (
  id         uuid primary key,
  host       text not null,
  pid        integer not null,
  started_at timestamptz not null,
  seen_at    timestamptz not null,
  report     jsonb not null
);

-- An empty setting is an unset one: after a transaction PostgreSQL leaves '' where nothing was.
create function current_tenant() returns text stable parallel safe language sql
  return nullif(current_setting('arcadia.tenant_id', true), '');

create view v1_outcomes with (security_barrier) as
  select id, type, status, result, code, detail, received_at, decided_at
  from inbox where tenant_id = (select current_tenant());

create view v1_all_outcomes as
  select id, type, tenant_id, status, result, code, detail, received_at, decided_at from inbox;

create view v1_all_dead_letters as
  select id, status, topic, partition, record_offset, key, message_id, type, tenant_id, reason, detail, attempts,
         received_at, given_up_at, decided_at, decided_by
  from dead_letters;

create view v1_all_health as
  select
    (select count(*) from outbox) as outbox_depth,
    (select extract(epoch from now() - min(created_at)) from outbox) as outbox_age_s,
    (select count(*) from jobs where status = 'queued') as jobs_queued,
    (select count(*) from jobs where status = 'running') as jobs_running,
    (select count(*) from dead_letters where status = 'held') as held,
    (select count(*) from dead_letters where status = 'dead') as dead,
    (select coalesce(jsonb_agg(to_jsonb(p) order by started_at), '[]') from processes p
      where seen_at > now() - interval '1 minute') as processes;

-- migrate:down
