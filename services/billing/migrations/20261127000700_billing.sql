-- migrate:up

-- What the provider said that it is owed, each time when it was asked. In cents; a credit is below zero.
create table cloud_balance_snapshots (
  id                          uuid primary key,     -- of the command that asked: a job that runs again keeps one
  version                     bigint generated always as identity unique,
  provider                    text not null,
  currency                    text not null,
  month_to_date_usage_cents   bigint not null,      -- what the running month has cost
  account_balance_cents       bigint not null,      -- what is owed of the months before it
  month_to_date_balance_cents bigint not null,      -- both together
  generated_at                timestamptz not null,
  polled_at                   timestamptz not null
);
create index cloud_balance_snapshots_newest on cloud_balance_snapshots (provider, version desc);

create view v1_all_balances as
  select provider, currency, month_to_date_usage_cents, account_balance_cents, month_to_date_balance_cents,
         generated_at, polled_at, version
  from cloud_balance_snapshots;

-- migrate:down
