"""What the provider charges.

Owns        cloud_balance_snapshots, cloud_invoices, cloud_cost_lines (with the sets that were superseded, the attempts
            at files, and what operators said of lines); its own copies of resources and deployments
Accepts     PollBalance, DiscoverInvoices, IngestInvoice, PushInvoice, AssignCostLine
Announces   balances, at every poll; invoices, at every change
Invariants  a poll is one snapshot, however often its job runs; amounts are exact, in whole cents; an invoice's set of
            lines is that of one file, whole; finance is told of every set until it has taken it; what an operator said
            of a line outlasts ingests
Does not decide what anything should cost, or what of it is whose

Beside the usual files: `discovery.py` walks the billing history; `ingest.py` takes in an invoice, for which
`statement.py` reads its file, `matching.py` says what each line means, and `copying.py` writes rows as PostgreSQL's
COPY reads them; `push.py` passes it on, by `finance.py`; `assignment.py` is the operators' word on lines.
`invoice_store.py` and `line_store.py` have the statements about those. `provider.py` is the jobs' access to the
outside; `upkeep.py` keeps to the retention, and tells the state again; `metrics.py` says how many invoices are in which
state.
"""
