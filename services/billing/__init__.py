"""What the provider charges, what deployments owe, and what is left of it.

Owns        cloud_balance_snapshots, cloud_invoices, cloud_cost_lines (with the sets that were superseded, the attempts
            at files, and what operators said of lines); quotes, limits_reached, fx_rates; its own copies of resources
            with their holders, deployments, plans, addons, resource prices, subscriptions and usage
Accepts     PollBalance, DiscoverInvoices, IngestInvoice, PushInvoice, AssignCostLine, PreviewQuote, SetFxRate
Announces   balances, at every poll; invoices, quotes and rates, at every change; limits, once a month each
Invariants  a poll is one snapshot, however often its job runs; amounts are exact, in whole cents; an invoice's set of
            lines is that of one file, whole; finance is told of every set until it has taken it; what an operator said
            of a line outlasts ingests; a quote is what one pure function makes of terms and usage as they are known
            last, in whatever order they came; costs are the cost lines, each in whole cents, by whoever held the
            resource in the line's own time
Does not decide what anything should cost, who may use it, or what follows of a limit

Beside the usual files: `discovery.py` walks the billing history; `ingest.py` takes in an invoice, for which
`records.py` divides its file into columns, `statement.py` reads them, `matching.py` says what each line means, and
`copying.py` writes rows as PostgreSQL's COPY reads them; `push.py` passes it on, by `finance.py`; `assignment.py` is
the operators' word on lines.
`quoting.py` is the function that quotes; `terms.py` keeps what quotes are made of, `quotes.py` makes them when that
changes, `preview.py` tells what a change would mean. `holders.py` says who held resources (the sums of margin are
views, in the migrations), `rates.py` what currencies are worth.
`invoice_store.py`, `line_store.py`, `terms_store.py`, `quote_store.py` and `margin_store.py` have the statements about
those. `provider.py` is the jobs' access to the outside; `upkeep.py` keeps to the retention, and tells the state again;
`metrics.py` says how many invoices are in which state.
"""
