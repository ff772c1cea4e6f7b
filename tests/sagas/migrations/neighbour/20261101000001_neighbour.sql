-- migrate:up
-- No unique key: what is done twice must show.
create table done (saga_id uuid not null, way text not null, name text not null, at timestamptz default clock_timestamp());

-- migrate:down
