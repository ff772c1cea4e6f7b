-- migrate:up

-- The plan is the same for any ids, and making it anew takes as long as the rest of the call.
alter function lock_deployments(uuid[]) set plan_cache_mode = 'force_generic_plan';

-- migrate:down
