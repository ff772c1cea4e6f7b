-- migrate:up

-- Versions of plans, as the catalog tells of them; `version` is their plan's.
create table plan_versions (
  id               uuid primary key,
  plan_code        text not null,
  number           int not null,
  status           text not null,
  base_price_cents bigint not null,
  currency         text not null,
  items            jsonb not null,
  version          bigint not null
);
create index plan_versions_active on plan_versions (plan_code) where status = 'active';

create table addons (
  id            uuid primary key,
  code          text not null unique,
  resource_kind text not null,
  qty           bigint not null,
  price_cents   bigint not null,
  currency      text not null,
  version       bigint not null
);

-- All prices of a billing kind that no plan covers, the oldest first.
create table resource_prices (
  resource_kind text primary key,
  prices        jsonb not null,
  version       bigint not null
);

create table subscriptions (
  id              uuid primary key,
  deployment_id   uuid not null unique,
  tenant_id       text not null,
  status          text not null,
  plan_version_id uuid not null,
  trial_ends_at   timestamptz,
  version         bigint not null
);

-- Months of subscriptions, and what each is bound to. An event tells of two of them; all are kept.
create table subscription_periods (
  deployment_id   uuid not null,
  period          date not null check (extract(day from period) = 1),
  subscription_id uuid not null,
  plan_version_id uuid not null,
  version         bigint not null,
  primary key (deployment_id, period)
);
create index subscription_periods_by_version on subscription_periods (plan_version_id);

create table subscription_addons (
  id              uuid primary key,                -- of the attachment
  subscription_id uuid not null,
  addon_id        uuid not null,
  code            text not null,
  resource_kind   text not null,
  qty             bigint not null,
  price_cents     bigint not null,
  attached_at     timestamptz not null,
  detached_at     timestamptz,
  version         bigint not null
);
create index subscription_addons_of on subscription_addons (subscription_id);

-- Days of usage, as metering tells of them.
create table usage_days (
  deployment_id uuid not null,
  day           date not null,
  resource_kind text not null,
  used          numeric not null,
  observations  int not null,
  version       bigint not null,
  primary key (deployment_id, day, resource_kind)
);
create index usage_days_by_age on usage_days (day);

-- The same, added up by month as it comes: a quote is made of some rows, however many days there are.
create table usage_months (
  deployment_id uuid not null,
  period        date not null,
  resource_kind text not null,
  used          numeric not null,
  primary key (deployment_id, period, resource_kind)
) with (fillfactor = 80);
create index usage_months_by_age on usage_months (period);

-- What deployments owe for a month.
create table quotes (
  deployment_id   uuid not null,
  period          date not null check (extract(day from period) = 1),
  tenant_id       text not null,
  currency        text not null,
  plan_code       text not null,
  plan_version_id uuid not null,
  plan_version    int not null,
  lines           jsonb not null,
  total_cents     bigint not null,
  quoted_at       timestamptz not null,
  -- Begins with the time, in microseconds, and counts on: what is made anew after a rebuild is newer than what was told.
  version         bigint not null default (extract(epoch from now()) * 1000000)::bigint,
  primary key (deployment_id, period)
);
create index quotes_by_period on quotes (period);

-- Quotes of which something is known otherwise than when they were made. Whoever changes an input writes here last, and
-- whoever quotes takes the row away first: so none is forgotten.
create table stale_quotes (
  deployment_id   uuid not null,
  period          date not null,
  since           timestamptz not null,
  primary key (deployment_id, period)
);

-- Limits that were reached, and told: once for each month.
create table limits_reached (
  deployment_id   uuid not null,
  period          date not null,
  resource_kind   text not null,
  limit_reached   text not null check (limit_reached in ('soft_80', 'soft_100', 'hard_cap')),
  tenant_id       text not null,
  at              bigint not null,
  used            numeric not null,
  reached_at      timestamptz not null,
  primary key (deployment_id, period, resource_kind, limit_reached)
);
create index limits_reached_by_period on limits_reached (period);

-- What a unit of a currency is in another from a day on. Whatever was said of a day is kept; the last counts.
create table fx_rates (
  from_currency   text not null,
  to_currency     text not null,
  effective_from  date not null,
  version         bigint not null,
  rate            numeric not null check (rate > 0),
  actor           text,
  set_at          timestamptz not null,
  primary key (from_currency, to_currency, effective_from, version),
  check (from_currency <> to_currency)
);

-- Whose resources were, and are: costs are of whoever held the resource in the line's own time.
create table resource_links (
  resource_id     uuid not null,
  since           timestamptz not null,
  until           timestamptz,
  deployment_id   uuid not null,
  primary key (resource_id, since)
);

alter table resources add column monthly_cents bigint;  -- the provider's list price, where it has one, in US dollars
update resources set version = 0;                -- `arcadia republish inventory` tells of price and holders as well

create view v1_quotes with (security_barrier) as
  select q.deployment_id, q.period, q.currency, q.plan_code, q.plan_version_id, q.plan_version, q.lines, q.total_cents,
         q.quoted_at, q.version
  from quotes q where q.tenant_id = (select current_tenant());

create view v1_all_quotes as
  select deployment_id, tenant_id, period, currency, plan_code, plan_version_id, plan_version, lines, total_cents,
         quoted_at, version
  from quotes;

-- What quotes were made of.
create view v1_quoted_usage with (security_barrier) as
  select u.deployment_id, u.day, u.resource_kind, u.used, u.observations
  from usage_days u join deployments d on d.id = u.deployment_id
  where d.tenant_id = (select current_tenant());

create view v1_all_quoted_usage as
  select deployment_id, day, resource_kind, used, observations from usage_days;

create view v1_limits_reached with (security_barrier) as
  select deployment_id, period, resource_kind, limit_reached, at, used, reached_at
  from limits_reached where tenant_id = (select current_tenant());

create view v1_all_limits_reached as
  select deployment_id, tenant_id, period, resource_kind, limit_reached, at, used, reached_at from limits_reached;

create view v1_all_fx_rates as
  select distinct on (from_currency, to_currency, effective_from)
         from_currency, to_currency, effective_from, rate, actor, set_at, version
  from fx_rates order by from_currency, to_currency, effective_from, version desc;

-- What the provider charges, each part by whose it is. A line about a resource is its holders' by the share of the
-- line's own time that each held it: a holder's part is the difference of cumulative shares, so that all parts together
-- are the line, to the cent. What nobody held, and what means no resource, has a reason instead of a deployment. Tax is
-- tax, whatever else is said of its line.
create view v1_all_costs as
  select p.period, p.currency, p.invoice_id, p.line, p.resource_id, part.deployment_id,
         case when part.deployment_id is null then r.tenant_id else d.tenant_id end as tenant_id,
         part.reason, part.cents, false as estimated
  from (
    select c.*, k.deployment_id as holder, h.held, sum(h.held) over w as upto, lead(c.line) over w is null as last
    from (
      select i.period, i.currency, l.invoice_id, l.line, l.amount_cents::numeric as amount, l.unmatched,
             case when a.id is null then l.resource_id else a.resource_id end as resource_id,
             case when l.unmatched is distinct from 'tax' then a.deployment_id end as assigned_to,
             coalesce(l.starts_at, i.period at time zone 'UTC') as since,
             coalesce(l.ends_at, (i.period + interval '1 month') at time zone 'UTC') as until
      from cloud_cost_lines l
      join cloud_invoices i on i.id = l.invoice_id
      left join cost_line_assignments a on a.invoice_id = l.invoice_id and a.line = l.line and a.ended_at is null) c
    left join resource_links k on k.resource_id = c.resource_id and c.unmatched is distinct from 'tax'
      and c.since < c.until and k.since < c.until and (k.until is null or k.until > c.since)
    cross join lateral (
      select case when k.since is null then 0
        else extract(epoch from least(k.until, c.until) - greatest(k.since, c.since))
          / extract(epoch from c.until - c.since) end as held) h
    window w as (partition by c.period, c.invoice_id, c.line, c.resource_id order by k.since)) p
  cross join lateral (
    select p.holder as deployment_id, null as reason,
           round(p.amount * p.upto) - round(p.amount * (p.upto - p.held)) as cents
    where p.holder is not null
    union all
    select p.assigned_to, case when p.unmatched = 'tax' then 'tax'
                               when p.assigned_to is not null then null
                               when p.resource_id is not null then 'not_linked'
                               else coalesce(p.unmatched, 'not_linked') end,
           p.amount - round(p.amount * p.upto)
    where p.last and p.amount <> round(p.amount * p.upto)) part
  left join deployments d on d.id = part.deployment_id
  left join resources r on r.id = p.resource_id and r.deployment_id is null;

create view v1_all_resource_links as
  select resource_id, since, until, deployment_id from resource_links;

-- What a month has cost for which no invoice is there: the newest balance of that month. Deployments bear the list price
-- of what they held of it, scaled down where that is more than the balance; the rest is nobody's.
create view month_balances as
  select b.provider, b.currency, b.period, b.month_to_date_usage_cents as cents, b.generated_at
  from (
    select distinct on (provider, date_trunc('month', generated_at at time zone 'UTC')::date)
           provider, currency, date_trunc('month', generated_at at time zone 'UTC')::date as period,
           month_to_date_usage_cents, generated_at
    from cloud_balance_snapshots
    order by provider, date_trunc('month', generated_at at time zone 'UTC')::date, version desc) b
  where not exists (
    select from cloud_invoices i where i.provider = b.provider and i.period = b.period and i.ingests > 0);

create view v1_all_estimated_costs as
  select period, currency, provider, deployment_id,
         round(listed * total / nullif(greatest(all_listed, total), 0)) as cents
  from (
    select b.period, b.currency, b.provider, k.deployment_id, b.cents as total,
           sum(r.monthly_cents * held.share) as listed,
           sum(sum(r.monthly_cents * held.share)) over (partition by b.period, b.currency, b.provider) as all_listed
    from month_balances b
    join resources r on r.provider = b.provider and r.monthly_cents > 0
    join resource_links k on k.resource_id = r.id
    cross join lateral (
      select extract(epoch from least(k.until, r.deleted_at, b.generated_at)
          - greatest(k.since, r.created_at, b.period at time zone 'UTC'))
        / extract(epoch from (b.period + interval '1 month') - b.period) as share) held
    where held.share > 0
    group by b.period, b.currency, b.provider, k.deployment_id, b.cents) listed;

-- Revenue and cost of every month by whose they are, each in its own currency and in Australian dollars: at the rate that
-- holds on the last day of the month, rounded half up; null where nobody has set one.
create view margin_entries as
  select 'revenue' as side, period, tenant_id, deployment_id, null as reason, currency, sum(total_cents) as cents,
         false as estimated
  from quotes group by period, tenant_id, deployment_id, currency
  union all
  select 'cost', period, tenant_id, deployment_id, reason, currency, sum(cents), false
  from v1_all_costs group by period, tenant_id, deployment_id, reason, currency
  union all
  select 'cost', e.period, d.tenant_id, e.deployment_id, null, e.currency, sum(e.cents), true
  from v1_all_estimated_costs e left join deployments d on d.id = e.deployment_id
  group by e.period, d.tenant_id, e.deployment_id, e.currency
  union all
  select 'cost', b.period, null, null, 'not_in_estimate', b.currency,
         b.cents - coalesce((
           select sum(e.cents) from v1_all_estimated_costs e
           where e.period = b.period and e.provider = b.provider and e.currency = b.currency), 0), true
  from month_balances b;

create view v1_all_margin_entries as
  select e.side, e.period, e.tenant_id, e.deployment_id, d.slug, e.reason, e.currency, e.cents,
         e.estimated, f.rate, f.effective_from as rate_from,
         case when e.currency = 'AUD' then e.cents else round(e.cents * f.rate) end as converted_cents
  from margin_entries e
  left join deployments d on d.id = e.deployment_id
  left join lateral (
    select r.rate, r.effective_from from v1_all_fx_rates r
    where r.from_currency = e.currency and r.to_currency = 'AUD' and r.effective_from < e.period + interval '1 month'
    order by r.effective_from desc limit 1) f on true;

-- migrate:down
