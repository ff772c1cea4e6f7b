-- migrate:up

-- What was refused to one message may be asked anew by another; the same one gets the same answer.
alter table operations add column refused_by uuid;

-- What may be deleted, by the delete's own condition.
create index operations_deletable on operations (updated_at)
  where status in ('pending', 'refused') or status = 'cancelled' and undone
    or status = 'done' and kind <> 'create-droplet';
drop index operations_over;

-- migrate:down
