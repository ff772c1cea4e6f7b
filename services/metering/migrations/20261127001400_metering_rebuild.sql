-- migrate:up

-- Versions begin with the time, in microseconds, at which a day is first summed up, and count on from there: a service that
-- was rebuilt tells on with higher ones than those that others know.
alter table usage_days alter column version set default (extract(epoch from now()) * 1000000)::bigint;

alter table metering_config add column version bigint not null default 1;

-- migrate:down
