-- migrate:up

create view v1_all_superseded_cost_lines as
  select s.invoice_id, s.ingest, s.line, s.superseded_at, coalesce(s.product, '') as product,
         coalesce(s.group_description, '') as group_description, coalesce(s.description, '') as description,
         s.hours::text as hours, s.starts_at, s.ends_at, s.amount::text as amount,
         coalesce(s.project_name, '') as project_name, coalesce(s.category, '') as category, s.kind,
         s.provider_resource_id, s.resource_id, s.matched_by, s.unmatched
  from superseded_cost_lines s;

-- migrate:down
