-- migrate:up
-- No unique key: what takes effect twice must show.
create table effects (
  position   bigint generated always as identity primary key,
  message_id uuid not null,
  name       text not null,
  note       text
);
create table seen (name text primary key, version bigint not null);

-- migrate:down
