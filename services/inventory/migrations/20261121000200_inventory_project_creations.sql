-- migrate:up

-- What the provider was asked to create, written before it is asked: so that a process that dies meanwhile, or an answer
-- that is lost, does not lead to a second one.
create table project_creations (
  name     text primary key,
  asked_at timestamptz not null                     -- the last time
);

-- migrate:down
