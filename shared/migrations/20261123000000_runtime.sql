-- migrate:up

-- Claims commands by id, and says which were new, and whether anything is held back. One round trip for what is two
-- statements, so that the second sees what a consumer did for which the first had to wait.
create function claim_commands(
  ids uuid[], types text[], tenant_ids text[], correlation_ids uuid[], reply_tos text[], expiries timestamptz[],
  out fresh uuid[], out anything_held boolean)
language plpgsql as $$
begin
  with claimed as (
    insert into inbox (id, type, tenant_id, correlation_id, reply_to, expires_at)
    select * from unnest(ids, types, tenant_ids, correlation_ids, reply_tos, expiries)
    on conflict (id) do nothing
    returning inbox.id)
  select coalesce(array_agg(claimed.id), '{}') into fresh from claimed;
  anything_held := exists (select from dead_letters where status = 'held');
end
$$;

-- migrate:down
