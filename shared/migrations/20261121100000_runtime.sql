-- migrate:up

alter table jobs
  add column record_key  text,                      -- the key that the command had in Kafka; null: queued before this
  add column contentions integer not null default 0; -- runs that ended because another transaction was in the way

-- There while the consumer has stopped because too many messages fail, and until the last of them is decided.
create table consumer_stop (
  only_row     boolean primary key default true check (only_row),
  counted_from timestamptz not null                 -- what was given up since then counts until it is decided
);

-- Only the answers to idempotency keys (whose commands' ids are derived) are kept for good.
update inbox set expires_at = received_at + interval '30 days'
where expires_at is null and uuid_extract_version(id) is distinct from 5;

-- migrate:down
