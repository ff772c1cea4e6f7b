"""A stand-in for the finance service, which takes the provider's invoices: for tests, the demo and a laptop.

    python -m dev.finance --port 4021

It answers `POST /api/v1/integrations/cloud/import-invoice`. What it took and was asked, and what can go wrong, are
under `/_control/...`; `control.FinanceControl` is the typed client of that, and `running.running_finance` starts a
server on a free port for as long as a `with` block.

    app.py        the order in which a request is checked, the control routes
    tokens.py     whose a call is; books.py what an import has to be, and what is kept of it; journal.py what was
                  asked, and what goes wrong by switch

Nothing survives a restart, and the same imports give the same ids.
"""
