-- migrate:up

-- A header per invoice of the provider. In cents; a credit is below zero.
create table cloud_invoices (
  id                   uuid primary key,
  provider             text not null,
  invoice_uuid         text not null,              -- the provider's
  number               text not null,              -- as the provider prints it
  period               date not null check (extract(day from period) = 1),
  currency             text not null,
  amount_cents         bigint not null,
  issued_at            timestamptz not null,
  discovered_at        timestamptz not null,
  -- What became of its file.
  ingest_status        text not null default 'pending' check (ingest_status in ('pending', 'ingested', 'failed')),
  ingest_error         jsonb,
  ingests              int not null default 0,     -- so often was its set of lines replaced
  ingested_at          timestamptz,
  lines                int,
  net_cents            bigint,
  tax_cents            bigint,
  matched              int,
  unmatched            jsonb not null default '{}',
  assigned             int not null default 0,
  reconciliation       jsonb,
  -- What became of it in finance.
  push_status          text not null default 'pending' check (push_status in ('pending', 'pushed', 'skipped', 'failed')),
  push_error           text,
  pushed_to_finance_at timestamptz,
  finance_invoice_id   text,
  version              bigint not null default 1,
  unique (provider, invoice_uuid),
  check ((ingests > 0) = (lines is not null)),
  check (ingest_status <> 'failed' or ingest_error is not null),
  check (push_status <> 'pushed' or (ingests > 0 and pushed_to_finance_at is not null))
);
create index cloud_invoices_period on cloud_invoices (period);

-- A line per line of an invoice's file. The set is replaced as a whole, in one transaction, which holds the header: there
-- is no foreign key to it (it would double the time of half a million lines), and no other row may be written.
create table cloud_cost_lines (
  invoice_id           uuid not null,
  line                 int not null,               -- its place in the file, from 1
  product              text,
  group_description    text,
  description          text,
  hours                numeric,                    -- as the file says; of some products a count
  starts_at            timestamptz,
  ends_at              timestamptz,                -- not included
  amount               numeric not null,           -- in the invoice's currency
  project_name         text,
  category             text,
  kind                 text,                       -- of the resource that is charged for
  provider_resource_id text,
  resource_id          uuid,                       -- which may be gone by now
  matched_by           text check (matched_by in ('id', 'name')),
  unmatched            text,                       -- why it means no resource that is there
  amount_cents         bigint generated always as (round(amount * 100)) virtual,
  primary key (invoice_id, line)
);

-- The sets that were replaced, where something was different.
create table superseded_cost_lines (
  ingest               int not null,               -- the set's number: the header's `ingests` while it counted
  superseded_at        timestamptz not null,
  like cloud_cost_lines including generated,
  primary key (invoice_id, ingest, line)
);
create index superseded_cost_lines_age on superseded_cost_lines (superseded_at);

-- Every attempt at a file, once per command.
create table ingest_attempts (
  id                   uuid primary key,           -- of the command
  invoice_id           uuid not null references cloud_invoices,
  ingest               int,                        -- the number of the set that it made; null: none
  actor                text,
  file_sha256          text,
  lines                int,
  cents                bigint,
  changes              jsonb,
  error                jsonb,
  ended_at             timestamptz not null,
  check ((ingest is null) = (error is not null))
);
create index ingest_attempts_invoice on ingest_attempts (invoice_id, ended_at desc);

-- What makes a line the same in another file of its invoice: all that it says but hours and amount.
create function line_key(
  product text, group_description text, description text, starts_at timestamptz, ends_at timestamptz
) returns text immutable language sql
  return coalesce(product, '') || chr(31) || coalesce(group_description, '') || chr(31) || coalesce(description, '')
    || chr(31) || coalesce(extract(epoch from starts_at)::text, '')
    || chr(31) || coalesce(extract(epoch from ends_at)::text, '');

-- Lines with what tells them apart: the key, and which of those that have it each is.
create view keyed_cost_lines as
  select l.*, line_key(product, group_description, description, starts_at, ends_at) as key,
         row_number() over (
           partition by invoice_id, product, group_description, description, starts_at, ends_at order by line) as nth
  from cloud_cost_lines l;

create view keyed_superseded_lines as
  select l.*, line_key(product, group_description, description, starts_at, ends_at) as key,
         row_number() over (
           partition by invoice_id, ingest, product, group_description, description, starts_at, ends_at
           order by line) as nth
  from superseded_cost_lines l;

-- What operators said of lines.
create table cost_line_assignments (
  id                   uuid primary key,           -- of the command
  invoice_id           uuid not null references cloud_invoices,
  line                 int,                        -- where it is now; null: the newest file has no such line
  key                  text not null,
  nth                  int not null,               -- of those that have the same key
  product              text,
  description          text,
  resource_id          uuid,
  deployment_id        uuid,
  note                 text,
  actor                text,
  assigned_at          timestamptz not null,
  ended_at             timestamptz,                -- when something else was said
  check (num_nonnulls(resource_id, deployment_id) = 1)
);
create unique index cost_line_assignments_line on cost_line_assignments (invoice_id, line) where ended_at is null;

-- What others own and this service needs to know: as their events tell.
create table resources (
  id                   uuid primary key,
  provider             text not null,
  kind                 text not null,
  provider_id          text not null,
  name                 text not null,
  tenant_id            text,
  deployment_id        uuid,
  created_at           timestamptz,                -- at the provider, where it says so
  deleted_at           timestamptz,
  version              bigint not null
);
create index resources_kind on resources (kind);

create table deployments (
  id                   uuid primary key,
  tenant_id            text not null,
  slug                 text not null,
  version              bigint not null
);

create view v1_all_invoices as
  select id, provider, invoice_uuid, number, period, currency, amount_cents, issued_at, discovered_at, ingest_status,
         ingest_error, ingests, ingested_at, lines, net_cents, tax_cents, matched, unmatched, assigned,
         reconciliation ->> 'status' as reconciliation, push_status, push_error, pushed_to_finance_at,
         finance_invoice_id, version
  from cloud_invoices;

create view v1_all_reconciliations as
  select id, reconciliation from cloud_invoices where reconciliation is not null;

create view v1_all_ingest_attempts as
  select id, invoice_id, ingest, actor, file_sha256, lines, cents, changes, error, ended_at from ingest_attempts;

create view v1_all_cost_lines as
  select l.invoice_id, l.line, i.period, i.currency, i.provider, i.invoice_uuid, i.ingests,
         coalesce(l.product, '') as product, coalesce(l.group_description, '') as group_description,
         coalesce(l.description, '') as description, l.hours::text as hours, l.starts_at, l.ends_at,
         l.amount::text as amount, l.amount_cents, coalesce(l.project_name, '') as project_name,
         coalesce(l.category, '') as category, l.kind, l.provider_resource_id,
         case when a.id is null then l.resource_id else a.resource_id end as resource_id,
         r.name as resource_name, r.kind as resource_kind, r.provider_id as resource_provider_id,
         a.deployment_id as assigned_deployment_id,
         case when a.id is null then l.matched_by else 'assigned' end as matched_by,
         case when a.id is not null or l.matched_by = 'id' then 'certain'
              when l.matched_by = 'name' then 'probable' end as confidence,
         case when a.id is null then l.unmatched end as unmatched,
         a.note, a.actor as assigned_by, a.assigned_at
  from cloud_cost_lines l
  join cloud_invoices i on i.id = l.invoice_id
  left join cost_line_assignments a on a.invoice_id = l.invoice_id and a.line = l.line and a.ended_at is null
  left join resources r on r.id = case when a.id is null then l.resource_id else a.resource_id end;

-- migrate:down
