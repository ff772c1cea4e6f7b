-- migrate:up

create table slots (
  name      text primary key,                       -- the schedule's
  cron      text not null,                          -- as it was when next_at was computed
  next_at   timestamptz not null,
  last_slot timestamptz,                            -- the newest slot whose command went out
  fired_at  timestamptz
);

create view v1_all_slots as select name, cron, next_at, last_slot, fired_at from slots;

-- migrate:down
