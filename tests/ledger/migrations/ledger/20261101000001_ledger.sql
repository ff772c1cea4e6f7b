-- migrate:up
create table accounts (name text primary key, balance bigint not null, version bigint not null);
-- No unique key: a command that takes effect twice must show.
create table entries (command_id uuid not null, account text not null, amount bigint not null);
create table audits (command_id uuid not null, account text not null, entries bigint not null);

-- migrate:down
